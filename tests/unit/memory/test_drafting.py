"""What is stored of many memories at once is what would be stored of each."""

from __future__ import annotations

import string
from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from tmws_memory import terms
from tmws_memory.bulk.drafting import pack_all
from tmws_memory.words import pack_words

COUNTS = st.dictionaries(st.integers(-(2**63), 2**63 - 1), st.integers(1, 100_000), max_size=6)


@given(st.lists(COUNTS, max_size=5))
def test_words_packed_together_are_those_packed_singly(counts: list[dict[int, int]]) -> None:
    assert pack_all(counts) == [pack_words(each) for each in counts]


@given(st.text(st.sampled_from(string.printable + "sed''"), max_size=80))
def test_words_of_ascii_are_counted_as_those_of_any_text(text: str) -> None:
    assert terms.count_terms(text) == Counter(terms.terms_of(text))
