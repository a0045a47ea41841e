"""In what order candidates answer a query (pure).

BM25 and cosine are fused by a weighted sum, which finds more than reciprocal rank fusion; then comes a share of the
better neighbour in the same session; then bounded boosts: recency halves with each half-life.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple, TypeAlias
from uuid import UUID

import numpy as np
from numpy.typing import NDArray

Signal: TypeAlias = NDArray[np.float64]
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


def relevance_of(candidates: Sequence[Candidate], weights: Weights) -> tuple[Signal, Signal]:
    """Return the shares of meaning and words in the relevance of each candidate."""
    cosines = np.array([candidate.cosine or 0.0 for candidate in candidates])
    words = np.array([candidate.bm25 or 0.0 for candidate in candidates])
    best = words.max(initial=0.0) or 1.0
    return weights.semantic * np.maximum(cosines, 0.0), (1 - weights.semantic) * (words / best)


def rank(candidates: Iterable[Candidate], weights: Weights, now: datetime) -> Iterator[Ranked]:
    """Yield the candidates, best first; ties by id."""
    candidates = list(candidates)
    meaning, words = relevance_of(candidates, weights)
    neighbour = weights.neighbour * _beside(candidates, meaning + words)
    found = meaning + words + neighbour
    lift = weights.importance * (2 * np.array([candidate.importance for candidate in candidates]) - 1)
    ages = np.array([_age_s(candidate.happened_at, now) for candidate in candidates])
    freshness = weights.recency * np.exp2(ages * (-1 / (_DAY_S * weights.half_life_days)))
    signals = np.stack([meaning, words, neighbour, found * lift, found * freshness])
    scores = signals.sum(axis=0).tolist()
    shares = signals.T.tolist()
    for place in sorted(range(len(candidates)), key=lambda place: (-scores[place], candidates[place].id)):
        candidate = candidates[place]
        yield Ranked(scores[place], candidate.id, candidate.cosine, Shares(*shares[place]))


def _beside(candidates: Sequence[Candidate], relevance: Signal) -> Signal:
    """The relevance of each candidate's better neighbour."""
    beside = np.zeros(len(candidates))
    if any(candidate.neighbours for candidate in candidates):
        own = {candidate.id: value for candidate, value in zip(candidates, relevance.tolist(), strict=True)}
        for place, candidate in enumerate(candidates):
            beside[place] = max((own[other] for other in candidate.neighbours if other in own), default=0.0)
    return beside


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


def _age_s(happened_at: datetime | None, now: datetime) -> float:
    """How long ago it happened; what has not happened yet is of now, what has no time is of long ago."""
    return math.inf if happened_at is None else max(0.0, (now - happened_at).total_seconds())
