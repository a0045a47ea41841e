"""The order of candidates."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tmws_memory.ranking import Candidate, Weights, rank
from tmws_memory.words import idf, saturated

NOW = datetime(2026, 5, 1, tzinfo=UTC)
A, B, C = (UUID(int=number) for number in (1, 2, 3))
PLAIN = Weights(neighbour=0, importance=0, recency=0)


def order(*candidates: Candidate, weights: Weights = PLAIN) -> list[UUID]:
    return [item.id for item in rank(candidates, weights, NOW)]


def test_meaning_and_words_are_summed_by_weight() -> None:
    (first, second) = rank([Candidate(A, cosine=0.5, bm25=2.0), Candidate(B, cosine=0.8)], PLAIN, NOW)

    assert (first.id, first.score) == (A, pytest.approx(0.6 * 0.5 + 0.4))
    assert (second.id, second.score) == (B, pytest.approx(0.6 * 0.8))


def test_words_count_in_proportion_to_the_best() -> None:
    (_, second) = rank([Candidate(A, bm25=4.0), Candidate(B, bm25=1.0)], PLAIN, NOW)

    assert second.shares.keyword == pytest.approx(0.4 / 4)


def test_opposite_meaning_counts_as_none() -> None:
    (only,) = rank([Candidate(A, cosine=-0.4)], PLAIN, NOW)

    assert (only.score, only.similarity) == (0, -0.4)


def test_neighbour_of_a_strong_match_overtakes_a_weak_one() -> None:
    weights = Weights(neighbour=0.5, importance=0, recency=0)
    strong, beside = Candidate(A, cosine=0.9, neighbours={B}), Candidate(B, cosine=0.2, neighbours={A})

    assert order(strong, beside, Candidate(C, cosine=0.45), weights=weights) == [A, B, C]
    assert order(strong, beside, Candidate(C, cosine=0.45)) == [A, C, B]


def test_only_the_better_neighbour_counts() -> None:
    weights = Weights(neighbour=0.5, importance=0, recency=0)
    candidates = [Candidate(A, cosine=0.8), Candidate(B, cosine=0.0, neighbours={A, C}), Candidate(C, cosine=0.4)]

    middle = next(item for item in rank(candidates, weights, NOW) if item.id == B)

    assert middle.shares.neighbour == pytest.approx(0.5 * 0.6 * 0.8)


def test_importance_decides_between_equals() -> None:
    weights = Weights(recency=0)

    assert order(Candidate(A, 0.5, importance=0.2), Candidate(B, 0.5, importance=0.9), weights=weights) == [B, A]


def test_importance_never_replaces_relevance() -> None:
    assert order(Candidate(A, 0.3, importance=1.0), Candidate(B, 0.5, importance=0.0), weights=Weights()) == [B, A]


def test_freshness_halves_with_each_half_life() -> None:
    weights = Weights(importance=0, recency=0.1, half_life_days=10)
    (only,) = rank([Candidate(A, cosine=0.5, happened_at=NOW - timedelta(days=20))], weights, NOW)

    assert only.shares.recency == pytest.approx(0.3 * 0.1 / 4)


def test_what_happens_in_the_future_is_merely_fresh() -> None:
    (only,) = rank([Candidate(A, cosine=0.5, happened_at=NOW + timedelta(days=900))], Weights(importance=0), NOW)

    assert only.shares.recency == pytest.approx(0.3 * 0.05)


def test_ties_are_ordered_by_id() -> None:
    assert order(Candidate(B, cosine=0.5), Candidate(C, cosine=0.5), Candidate(A, cosine=0.5)) == [A, B, C]


def test_no_candidates_rank_to_nothing() -> None:
    assert order() == []


@given(
    st.lists(
        st.builds(
            Candidate,
            id=st.uuids(),
            cosine=st.none() | st.floats(-1, 1),
            bm25=st.none() | st.floats(0, 100),
            importance=st.floats(0, 1),
            happened_at=st.none() | st.datetimes(timezones=st.just(UTC)),
        )
    )
)
def test_signals_always_sum_up_to_the_score(candidates: list[Candidate]) -> None:
    ranked = list(rank(candidates, Weights(), NOW))

    assert [sum(item.shares) for item in ranked] == [pytest.approx(item.score) for item in ranked]


def test_rare_terms_weigh_more_than_common_ones() -> None:
    assert idf(100, 1) > idf(100, 50) > idf(100, 100) > 0


def test_repetition_saturates() -> None:
    assert saturated(1, 10, 10) == pytest.approx(1)
    assert saturated(1000, 10, 10) < 2.2


def test_long_memories_need_more_occurrences() -> None:
    assert saturated(2, 100, 10) < saturated(2, 10, 10)
