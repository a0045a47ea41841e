"""In what order candidates answer a query (pure).

BM25 and cosine are fused by a weighted sum, which finds more than reciprocal rank fusion; then comes a share of the
better neighbour in the same session; then bounded boosts.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

_DAY_S = 86_400.0


@dataclass(frozen=True, slots=True)
class Weights:
    """How much each signal counts."""

    semantic: float = 0.6
    neighbour: float = 0.5
    importance: float = 0.1
    recency: float = 0.05
    half_life_days: float = 30.0


@dataclass(slots=True)
class Candidate:
    """What is known of a memory that may answer; None where a signal does not see it."""

    id: UUID
    cosine: float | None = None
    bm25: float | None = None
    importance: float = 0.5
    happened_at: datetime | None = None
    number: int = 0
    session_id: str | None = None
    neighbours: set[UUID] = field(default_factory=set[UUID])


class Shares(NamedTuple):
    """What each signal adds to a score."""

    semantic: float
    keyword: float
    neighbour: float
    importance: float
    recency: float


class Ranked(NamedTuple):
    """A candidate in its place; its shares sum up to `score`."""

    score: float
    id: UUID
    similarity: float | None
    shares: Shares


def fuse(cosine: float | None, bm25: float | None, best_bm25: float, semantic: float) -> tuple[float, float]:
    """Return the shares of meaning and words in the relevance."""
    meaning = semantic * max(0.0, cosine or 0.0)
    words = (1 - semantic) * (bm25 or 0.0) / best_bm25 if best_bm25 > 0 else 0.0
    return meaning, words


def relevance_of(candidates: Iterable[Candidate], weights: Weights) -> dict[UUID, tuple[float, float]]:
    """Return the shares of meaning and words in the relevance of each candidate."""
    candidates = list(candidates)
    best_bm25 = max((candidate.bm25 or 0.0 for candidate in candidates), default=0.0)
    return {
        candidate.id: fuse(candidate.cosine, candidate.bm25, best_bm25, weights.semantic) for candidate in candidates
    }


def rank(candidates: Iterable[Candidate], weights: Weights, now: datetime) -> list[Ranked]:
    """Return the candidates, best first; ties by id."""
    candidates = list(candidates)
    relevance = relevance_of(candidates, weights)
    ranked = [_score(candidate, relevance, weights, now) for candidate in candidates]
    return sorted(ranked, key=lambda item: (-item.score, item.id))


def _score(
    candidate: Candidate, relevance: Mapping[UUID, tuple[float, float]], weights: Weights, now: datetime
) -> Ranked:
    meaning, words = relevance[candidate.id]
    beside = max((sum(relevance[other]) for other in candidate.neighbours if other in relevance), default=0.0)
    neighbour = weights.neighbour * beside
    found = meaning + words + neighbour
    importance = found * weights.importance * (2 * candidate.importance - 1)
    recency = found * weights.recency * _freshness(candidate.happened_at, now, weights.half_life_days)
    shares = Shares(meaning, words, neighbour, importance, recency)
    return Ranked(sum(shares), candidate.id, candidate.cosine, shares)


def values_of(item: Ranked, weights: Weights) -> Shares:
    """Return what each signal saw, before its weight: the shares of a score taken back to where they came from."""
    shares = item.shares
    found = shares.semantic + shares.keyword + shares.neighbour
    return Shares(
        semantic=item.similarity or 0.0,
        keyword=_over(shares.keyword, 1 - weights.semantic),
        neighbour=_over(shares.neighbour, weights.neighbour),
        importance=_over(shares.importance, found * weights.importance),
        recency=_over(shares.recency, found * weights.recency),
    )


def _over(share: float, weight: float) -> float:
    return share / weight if weight else 0.0


def _freshness(happened_at: datetime | None, now: datetime, half_life_days: float) -> float:
    """1 for what happens now, half of it after each half-life."""
    if happened_at is None:
        return 0.0
    age_days = max(0.0, (now - happened_at).total_seconds() / _DAY_S)
    return 0.5 ** (age_days / half_life_days)
