"""Contents cut into what the model can read."""

from __future__ import annotations

from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from tmws_contracts.memory import NewMemory
from tmws_memory.parts import heading_of, split_content

SENTENCE = "The worker writes its journal before it starts the next step. "


def test_short_content_is_one_part() -> None:
    assert split_content("A short note.") == ["A short note."]


def test_long_content_is_cut_between_sentences() -> None:
    parts = split_content(SENTENCE * 100)

    assert len(parts) > 3
    assert all(part.endswith("step.") for part in parts)


def test_sentences_of_japanese_are_cut_after_their_stop() -> None:
    parts = split_content("梅雨は雨の多い季節である。" * 60)

    assert len(parts) > 2
    assert all(part.endswith("。") for part in parts)


def test_text_without_sentences_is_cut_between_words() -> None:
    parts = split_content("marmot " * 1000)

    assert set(" ".join(parts).split()) == {"marmot"}


def test_one_endless_word_is_cut_nowhere_but_counted() -> None:
    assert split_content("x" * 65_536) == ["x" * 65_536]


def test_64_kib_of_signs_become_a_bounded_number_of_parts() -> None:
    assert len(split_content("!" * 65_536)) == 263


@given(st.text(min_size=1, max_size=2000))
def test_no_letter_is_lost(content: str) -> None:
    kept = "".join("".join(split_content(content)).split())

    assert kept == "".join(content.split()) or not content.strip()


def test_every_part_stands_under_the_heading() -> None:
    parts = split_content(SENTENCE * 100, "Athena, 8 May 2023")

    assert all(part.startswith("Athena, 8 May 2023: The worker") for part in parts)


def test_heading_names_title_speaker_and_day() -> None:
    memory = NewMemory(
        content="It went well.",
        metadata={"speaker": "Melanie", "title": "Pottery"},
        occurred_at=datetime(2023, 5, 8, 13, tzinfo=UTC),
    )

    assert heading_of(memory, "muses") == "Pottery, Melanie, 8 May 2023"


def test_persona_is_the_speaker_of_a_session() -> None:
    assert heading_of(NewMemory(content="Yes.", session_id="s1"), "athena") == "athena"


def test_memory_outside_a_session_has_no_heading() -> None:
    assert heading_of(NewMemory(content="Yes."), "athena") == ""


def test_speaker_that_is_no_text_is_left_out() -> None:
    assert heading_of(NewMemory(content="Yes.", metadata={"speaker": {"name": "x"}, "title": " "}), None) == ""
