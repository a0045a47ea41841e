"""Which persona fits a piece of work, and why."""

from typing import Any

import pytest

from tmws_contracts.persona_match import PersonaMatch, PersonaSearch
from tmws_persona.ranking import Candidate, rank

ARTEMIS = Candidate(
    "artemis", "Artemis", "Finds what blocks most.", ["optimization", "performance", "code-quality"], 0.2
)
HESTIA = Candidate("hestia", "Hestia", "Reads the audit trail.", ["security", "audit", "risk-analysis"], 0.6)
MUSES = Candidate("muses", "Muses", None, [], None)
ALL = [ARTEMIS, HESTIA, MUSES]


def ranked(*, has_vectors: bool = False, **fields: Any) -> list[PersonaMatch]:
    return rank(PersonaSearch.model_validate(fields), ALL, has_vectors=has_vectors)


def ids(matches: list[PersonaMatch]) -> list[str]:
    return [match.id for match in matches]


def test_capability_of_the_same_name_counts_whole() -> None:
    (match,) = ranked(capabilities=["Code Quality"])
    assert (match.id, match.score, match.matched_capabilities) == ("artemis", 1.0, ["code-quality"])


def test_capability_with_a_word_in_common_counts_less() -> None:
    (match,) = ranked(capabilities=["risk-management"])
    assert match.id == "hestia"
    assert match.score == pytest.approx(0.5 / 3, abs=1e-6)


def test_persona_with_all_capabilities_goes_before_one_with_some() -> None:
    assert ids(ranked(capabilities=["audit", "security", "performance"])) == ["hestia", "artemis"]


def test_other_endings_of_a_word_are_the_same_word() -> None:
    assert ids(ranked(text="optimising the build")) == ["artemis"]


def test_words_of_a_capability_count_more_than_those_of_a_description() -> None:
    by_capability = ranked(text="performance")[0].score
    by_description = ranked(text="blocks")[0].score
    assert by_capability > by_description > 0


def test_text_without_a_word_in_common_fits_nobody_without_vectors() -> None:
    assert ranked(text="zzz") == []


def test_meaning_finds_what_no_word_says() -> None:
    assert ids(ranked(text="zzz", has_vectors=True)) == ["hestia", "artemis"]


def test_shares_sum_up_to_the_score_and_weights_to_one() -> None:
    match = ranked(text="audit the performance", capabilities=["security"], has_vectors=True)[0]
    used = [match.signals.capability, match.signals.words, match.signals.semantic]
    assert sum(signal.share for signal in used if signal) == pytest.approx(match.score, abs=1e-5)
    assert sum(signal.weight for signal in used if signal) == pytest.approx(1, abs=1e-5)


def test_signal_that_was_not_asked_for_is_null() -> None:
    signals = ranked(text="audit")[0].signals
    assert (signals.capability, signals.semantic) == (None, None)


def test_limit_cuts_the_worst() -> None:
    assert ids(ranked(text="zzz", has_vectors=True, limit=1)) == ["hestia"]


def test_scripts_without_spaces_are_found_by_neighbouring_letters() -> None:
    scribe = Candidate("scribe", "書記", "議事録を書く", ["文書管理"], None)
    found = rank(PersonaSearch(text="会議の文書を管理する"), [*ALL, scribe], has_vectors=False)
    assert ids(found) == ["scribe"]
