"""Text to terms."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tmws_memory.terms import MAX_TERM_LENGTH, count_terms, query_terms, stem, term_key, terms_of, unspaced_share


@pytest.mark.parametrize(
    ("text", "terms"),
    [
        ("Deploys at SIX", ["deploy", "at", "six"]),
        ("Müller's café", ["muller", "caf"]),
        ("TMWS_API_PORT=8000", ["tmw", "api", "port", "8000"]),
        ("\uff21\uff22\uff23\uff11", ["abc1"]),
        ("梅雨", ["梅", "雨", "梅雨"]),
        ("東京 tower", ["東", "京", "東京", "tower"]),
        ("がく", ["が", "く", "がく"]),
        ("한국어", ["한", "국", "어", "한국", "국어"]),
        ("हिन्दी में", ["हिन्दी", "में"]),
        ("שָׁלוֹם", ["שלום"]),
        ("مُحَمَّد", ["محمد"]),
        ("🎉🎉 done", ["🎉", "🎉", "don"]),
        ("  \t\n", []),
        ("?!…", []),
    ],
)
def test_text_becomes_terms(text: str, terms: list[str]) -> None:
    assert terms_of(text) == terms


@pytest.mark.parametrize(
    "forms",
    [
        ("painting", "paints", "painted", "paint"),
        ("baking", "bake", "baked", "bakes"),
        ("running", "runs", "run"),
        ("cities", "city"),
        ("quickly", "quick"),
        ("calling", "calls", "called", "call"),
    ],
)
def test_forms_of_a_word_share_a_stem(forms: tuple[str, ...]) -> None:
    assert len({stem(form) for form in forms}) == 1


@pytest.mark.parametrize("word", ["red", "sing", "bus", "glass", "his", "été"])
def test_short_and_foreign_words_keep_their_ending(word: str) -> None:
    assert stem(word) == word


def test_query_drops_function_words() -> None:
    assert query_terms("What did we decide about the queue?") == ["decid", "queu"]


def test_query_of_function_words_keeps_them() -> None:
    assert query_terms("to be or not to be") == ["to", "be", "or", "not"]


def test_key_of_a_term_fits_a_bigint() -> None:
    assert -(2**63) <= term_key("word") < 2**63


@pytest.mark.parametrize(
    ("text", "share"), [("hello", 0.0), ("梅雨とは", 1.0), ("東京ab", 0.5), ("", 0.0), ("!?", 0.0)]
)
def test_unspaced_share_is_that_of_the_letters(text: str, share: float) -> None:
    assert unspaced_share(text) == share


@given(st.text(max_size=300))
def test_any_text_has_terms_of_bounded_length(text: str) -> None:
    assert all(0 < len(term) <= MAX_TERM_LENGTH for term in count_terms(text))


@given(st.text(alphabet="abcdefghijklmnopqrstuvwxyz", min_size=1, max_size=20))
def test_no_word_is_stemmed_to_nothing(word: str) -> None:
    assert stem(word)
