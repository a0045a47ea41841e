"""Searching: what has the query's words, what lies near its meaning, what stands beside those; ranked as one."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from itertools import islice
from typing import Any, Final

import numpy as np
import orjson

from tmws_contracts.memory import MemorySearch, SearchMode
from tmws_memory.accesses import AccessLog
from tmws_memory.lexical import Scope, read_words
from tmws_memory.nearest import Wanted, beside, few_passing, find_candidates, passing
from tmws_memory.query_vectors import QueryVector, QueryVectors
from tmws_memory.ranking import Candidate, Ranked, Shares, Weights, rank, relevance_of, values_of
from tmws_memory.repository import MemoryRepository
from tmws_memory.settings import MemorySettings
from tmws_memory.terms import query_terms, term_key, unspaced_share
from tmws_memory.visibility import Reader, reader_for
from tmws_memory.words import Matches
from tmws_shared.auth import Principal
from tmws_shared.clock import now
from tmws_shared.database import Connection, Database
from tmws_shared.embedding import EmbeddingDown

POOL_MIN: Final = 50
# So many of the best candidates lend a share of their score to their neighbours.
LENDERS: Final = 30
# Under a filter that many pass, words are looked for among the best matches, then among so many, then among all.
FILTERED_MATCHES: Final = 2_000


class Searcher:
    """Answers searches."""

    def __init__(
        self, database: Database, vectors: QueryVectors, accesses: AccessLog, settings: MemorySettings
    ) -> None:
        self._database = database
        self._vectors = vectors
        self._accesses = accesses
        self._settings = settings

    async def search(self, caller: Principal, search: MemorySearch) -> bytes:
        """Return the memories that answer best, as the JSON of SearchResults.

        Raises:
            EmbeddingDown: only vectors can answer (mode semantic, or a threshold), and they cannot be had now.
        """
        reader = reader_for(caller)
        wanted, matches = await self._prepare(caller, reader, search)
        weights = self._weights(search, has_vectors=bool(wanted.vectors))
        async with self._database.connection() as connection:
            candidates = await _Pool(connection, wanted, matches, max(POOL_MIN, 3 * search.limit)).fill(weights)
            near = (item for item in rank(candidates, weights, now()) if _passes(item, search.threshold))
            best = list(islice(near, search.limit))
            found = await MemoryRepository(connection, reader).fetch([item.id for item in best]) if best else {}
        self._accesses.note(found)
        explained = weights if search.explain else None
        results = {
            "results": [_found(found[item.id], item, explained) for item in best if item.id in found],
            "mode": search.mode,
            "degraded": ["semantic"] if not wanted.vectors and search.mode is not SearchMode.KEYWORD else [],
        }
        # Rows as they come are ours to be trusted; checking them as models again would cost a tenth of the search.
        return orjson.dumps(results, option=orjson.OPT_UTC_Z, default=str)

    async def _prepare(self, caller: Principal, reader: Reader, search: MemorySearch) -> tuple[Wanted, Matches]:
        """Read words and embed the query at the same time."""
        words = asyncio.ensure_future(self._match(reader, search))
        try:
            vectors = await self._query_vectors(caller, search)
            scope, matches = await words
        finally:
            words.cancel()
        return Wanted(scope, search.filters, vectors), matches

    async def _match(self, reader: Reader, search: MemorySearch) -> tuple[Scope, Matches]:
        terms = [] if search.mode is SearchMode.SEMANTIC else query_terms(search.query)
        async with self._database.connection() as connection:
            return await read_words(connection, reader, [term_key(term) for term in terms])

    async def _query_vectors(self, caller: Principal, search: MemorySearch) -> Sequence[QueryVector]:
        if search.mode is SearchMode.KEYWORD:
            return []
        try:
            return await self._vectors.of(caller, search.query)
        except EmbeddingDown:
            if search.mode is SearchMode.SEMANTIC or search.threshold is not None:
                raise
            return []

    def _weights(self, search: MemorySearch, *, has_vectors: bool) -> Weights:
        s = self._settings
        unspaced = unspaced_share(search.query)
        hybrid = s.memory_semantic_weight * (1 - unspaced) + s.memory_unspaced_semantic_weight * unspaced
        alone = 1.0 if search.mode is SearchMode.SEMANTIC else 0.0
        return Weights(
            semantic=hybrid if search.mode is SearchMode.HYBRID and has_vectors else alone,
            neighbour=s.memory_neighbour_weight,
            importance=s.memory_importance_weight,
            recency=s.memory_recency_weight,
            half_life_days=s.memory_recency_half_life_days,
        )


class _Pool:
    """Gathers the candidates of one search: the best of each leg, then their neighbours."""

    def __init__(self, connection: Connection, wanted: Wanted, matches: Matches, size: int) -> None:
        self._connection = connection
        self._wanted = wanted
        self._matches = matches
        self._size = size
        self._candidates: dict[int, Candidate] = {}

    async def fill(self, weights: Weights) -> list[Candidate]:
        """Return the candidates, with all that is known of them."""
        few = await few_passing(self._connection, self._wanted) if self._wanted.is_filtered else None
        words = await self._best_words(few)
        self._add(await find_candidates(self._connection, self._wanted, self._size, words, few))
        await self._add_neighbours(weights)
        return list(self._candidates.values())

    async def _best_words(self, few: list[int] | None) -> list[int]:
        if few is not None:
            return self._matches.best(self._size, among=np.array(few, np.uint32)).numbers.tolist()
        if not self._wanted.is_filtered:
            return self._matches.best(self._size).numbers.tolist()
        return await self._best_passing_words()

    async def _best_passing_words(self) -> list[int]:
        """The best matches that pass a filter which leaves many: among the best ones, if need be among all."""
        best: list[int] = []
        for count in (4 * self._size, FILTERED_MATCHES, len(self._matches.numbers)):
            ranked = self._matches.best(count).numbers.tolist()
            passed = await passing(self._connection, self._wanted, ranked)
            best = [number for number in ranked if number in passed][: self._size]
            if len(best) == self._size or count >= len(self._matches.numbers):
                break
        return best

    async def _add_neighbours(self, weights: Weights) -> None:
        if not weights.neighbour or all(one.session_id is None for one in self._candidates.values()):
            return
        candidates = list(self._candidates.values())
        meaning, words = relevance_of(candidates, weights)
        best: list[int] = np.argsort(-(meaning + words), kind="stable").tolist()
        lenders = [candidates[place].number for place in best if candidates[place].session_id is not None]
        found = await beside(self._connection, self._wanted, lenders[:LENDERS])
        self._add([candidate for _, candidate in found if candidate.number not in self._candidates])
        for number, candidate in found:
            lender, neighbour = self._candidates[number], self._candidates[candidate.number]
            lender.neighbours.add(neighbour.id)
            neighbour.neighbours.add(lender.id)

    def _add(self, found: Sequence[Candidate]) -> None:
        scores = self._matches.scores_of([candidate.number for candidate in found])
        for candidate, bm25 in zip(found, scores, strict=True):
            candidate.bm25 = bm25
            self._candidates[candidate.number] = candidate


def _passes(item: Ranked, threshold: float | None) -> bool:
    return threshold is None or (item.similarity is not None and item.similarity >= threshold)


def _found(memory: dict[str, Any], item: Ranked, explained: Weights | None) -> dict[str, Any]:
    """Return the fields of a FoundMemory."""
    return {
        **memory,
        "score": round(item.score, 6),
        "similarity": None if item.similarity is None else round(item.similarity, 6),
        "signals": {name: round(share, 6) for name, share in zip(Shares._fields, item.shares, strict=True)},
        "explain": _explain(item, explained) if explained else None,
    }


def _explain(item: Ranked, weights: Weights) -> dict[str, dict[str, float | None]]:
    """Return the fields of an Explanation."""
    counts = Shares(weights.semantic, 1 - weights.semantic, weights.neighbour, weights.importance, weights.recency)
    signals: dict[str, dict[str, float | None]] = {
        name: {"value": round(value, 6), "weight": round(weight, 6), "share": round(share, 6)}
        for name, value, weight, share in zip(
            Shares._fields, values_of(item, weights), counts, item.shares, strict=True
        )
    }
    if item.similarity is None:
        signals["semantic"]["value"] = None
    return signals
