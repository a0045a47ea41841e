"""Words of memories, packed, cut into blocks and scored."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tmws_memory.words import (
    BLOCK_POSTINGS,
    POSTING,
    cut_blocks,
    idf,
    length_of,
    numbers_in,
    pack_words,
    postings_of,
    saturated,
    score,
    unpack_words,
    without,
)

RED, BLUE = 7, -3
KEYS = st.integers(-(2**63), 2**63 - 1)


def postings(*memories: tuple[int, dict[int, int]]) -> dict[int, bytes]:
    return postings_of([(number, pack_words(words)) for number, words in memories])


@given(st.dictionaries(KEYS, st.integers(1, 65_535)))
def test_packed_words_come_back(words: dict[int, int]) -> None:
    unpacked = unpack_words(pack_words(words))

    assert dict(zip(unpacked["term"].tolist(), unpacked["frequency"].tolist(), strict=True)) == words


def test_more_repeats_than_fit_are_counted_as_the_most_that_fit() -> None:
    assert length_of(unpack_words(pack_words({RED: 1_000_000, BLUE: 1_000_000}))) == 65_535


def test_postings_are_by_term_and_in_the_order_of_the_memories() -> None:
    by_term = postings((4, {RED: 2}), (9, {RED: 1, BLUE: 1}))

    assert {term: numbers_in(packed).tolist() for term, packed in by_term.items()} == {RED: [4, 9], BLUE: [9]}


def test_only_terms_of_interest_are_read() -> None:
    by_term = postings_of([(1, pack_words({RED: 1, BLUE: 1}))], np.array([BLUE]))

    assert list(by_term) == [BLUE]


@pytest.mark.parametrize("words", [{}, {RED: 1}])
def test_memories_without_terms_of_interest_have_no_postings(words: dict[int, int]) -> None:
    assert postings_of([(1, pack_words(words))], np.array([BLUE])) == {}


def test_block_fits_twice_on_a_page() -> None:
    assert 2 * BLOCK_POSTINGS * POSTING.itemsize < 8_000


def test_cut_blocks_are_whole_again_together() -> None:
    packed = np.zeros(2 * BLOCK_POSTINGS + 1, POSTING).tobytes()

    blocks = cut_blocks(packed)

    assert b"".join(blocks) == packed
    assert [len(numbers_in(block)) for block in blocks] == [BLOCK_POSTINGS, BLOCK_POSTINGS, 1]


def test_swept_numbers_are_gone_and_no_others() -> None:
    packed = postings((1, {RED: 1}), (2, {RED: 1}), (3, {RED: 1}))[RED]

    assert numbers_in(without(packed, np.array([2, 8], np.uint32))).tolist() == [1, 3]


def test_score_is_the_sum_over_the_terms() -> None:
    by_term = postings((1, {RED: 2, BLUE: 1}), (2, {RED: 1}))

    matches = score(list(by_term.values()), total=10, mean_length=2.0)

    red, blue = idf(10, 2) * saturated(2.0, 3.0, 2.0), idf(10, 1) * saturated(1.0, 3.0, 2.0)
    assert matches.scores_of([1, 2, 3]) == [
        pytest.approx(red + blue),
        pytest.approx(idf(10, 2) * saturated(1.0, 1.0, 2.0)),
        None,
    ]


def test_numbers_far_apart_are_scored_like_close_ones() -> None:
    near = score(list(postings((1, {RED: 2}), (2, {RED: 1, BLUE: 1})).values()), 5, 1.5)
    far = score(list(postings((1, {RED: 2}), (4_000_000_000, {RED: 1, BLUE: 1})).values()), 5, 1.5)

    assert far.scores.tolist() == near.scores.tolist()
    assert far.numbers.tolist() == [1, 4_000_000_000]


def test_best_are_ordered_by_score_and_equals_by_number() -> None:
    matches = score(list(postings((5, {RED: 1}), (6, {RED: 3, BLUE: 1}), (7, {RED: 1})).values()), 10, 2.0)

    assert matches.best(2).numbers.tolist() == [6, 5]
    assert matches.best(9).numbers.tolist() == [6, 5, 7]


def test_best_among_some_leaves_out_the_others() -> None:
    matches = score(list(postings((5, {RED: 1}), (6, {RED: 3}), (7, {RED: 2})).values()), 10, 2.0)

    assert matches.best(5, among=np.array([5, 7, 99], np.uint32)).numbers.tolist() == [7, 5]


def test_nothing_matches_without_postings() -> None:
    assert score([], 0, 1.0).best(3).numbers.tolist() == []
    assert score([b""], 0, 1.0).scores_of([1]) == [None]


@given(st.integers(0, 10**9), st.integers(0, 10**9))
def test_weight_of_a_term_is_positive_whatever_the_counts(total: int, having: int) -> None:
    assert idf(total, having) > 0
