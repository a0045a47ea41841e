"""In what order candidates answer a query (pure).

BM25 (Robertson and Zaragoza 2009) with the idf of Lucene; fused with cosine by a weighted sum, which finds more than
reciprocal rank fusion; then a share of the better neighbour in the same session; then bounded boosts.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

# Flat on Cranfield and JSQuAD between 0.9 and 1.5, 0.6 and 0.75.
K1 = 1.2
B = 0.75
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
    neighbours: set[UUID] = field(default_factory=set[UUID])


@dataclass(frozen=True, slots=True)
class Ranked:
    """A candidate in its place; `signals` sum up to `score`."""

    id: UUID
    score: float
    similarity: float | None
    signals: dict[str, float]


def idf(total: int, having: int) -> float:
    """Return the weight of a term that `having` of `total` memories have."""
    return math.log(1 + (total - having + 0.5) / (having + 0.5))


def saturated(frequency: int, length: int, mean_length: float) -> float:
    """Return how much a term counts that occurs `frequency` times among `length` terms."""
    return frequency * (K1 + 1) / (frequency + K1 * (1 - B + B * length / mean_length))


def fuse(cosine: float | None, bm25: float | None, best_bm25: float, semantic: float) -> tuple[float, float]:
    """Return the shares of meaning and words in the relevance."""
    meaning = semantic * max(0.0, cosine or 0.0)
    words = (1 - semantic) * (bm25 or 0.0) / best_bm25 if best_bm25 > 0 else 0.0
    return meaning, words


def rank(candidates: Iterable[Candidate], weights: Weights, now: datetime) -> list[Ranked]:
    """Return the candidates, best first; ties by id."""
    by_id = {candidate.id: candidate for candidate in candidates}
    best_bm25 = max((candidate.bm25 or 0.0 for candidate in by_id.values()), default=0.0)
    relevance = {
        candidate.id: fuse(candidate.cosine, candidate.bm25, best_bm25, weights.semantic)
        for candidate in by_id.values()
    }
    ranked = [_score(candidate, relevance, weights, now) for candidate in by_id.values()]
    return sorted(ranked, key=lambda item: (-item.score, item.id))


def _score(
    candidate: Candidate, relevance: Mapping[UUID, tuple[float, float]], weights: Weights, now: datetime
) -> Ranked:
    meaning, words = relevance[candidate.id]
    beside = max((sum(relevance[other]) for other in candidate.neighbours if other in relevance), default=0.0)
    neighbour = weights.neighbour * beside
    found = meaning + words + neighbour
    signals = {
        "semantic": meaning,
        "keyword": words,
        "neighbour": neighbour,
        "importance": found * weights.importance * (2 * candidate.importance - 1),
        "recency": found * weights.recency * _freshness(candidate.happened_at, now, weights.half_life_days),
    }
    return Ranked(candidate.id, sum(signals.values()), candidate.cosine, signals)


def _freshness(happened_at: datetime | None, now: datetime, half_life_days: float) -> float:
    """1 for what happens now, half of it after each half-life."""
    if happened_at is None:
        return 0.0
    age_days = max(0.0, (now - happened_at).total_seconds() / _DAY_S)
    return 0.5 ** (age_days / half_life_days)
