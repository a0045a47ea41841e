"""Compares new memories with the others of their collection, in the background, and keeps the pairs that are alike.

The nearest ones by meaning are candidates; a pair is kept when its words overlap, too.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from time import monotonic
from typing import Any, Final

import numpy as np

from tmws_contracts.memory_bulk import LEAST_OVERLAP, LEAST_SIMILARITY
from tmws_memory.words import unpack_words
from tmws_shared.database import Connection, Database

AT_ONCE: Final = 25
NEIGHBOURS: Final = 20
# Fresh vectors are compared one by one: with more of them than this, the shelf that they settle on is waited for.
FRESH_MOST: Final = 5_000
# For each second of comparing, so many without: searches come first.
PAUSE: Final = 10.0
SWEEP_AT_ONCE: Final = 5_000

_WAITING: Final = """
    SELECT c.id FROM memory_collections c
    WHERE EXISTS (SELECT 1 FROM memory_uncompared u WHERE u.collection = c.id)
      AND NOT EXISTS (SELECT 1 FROM memory_vectors_0 f WHERE f.collection = c.id OFFSET $1 LIMIT 1)
    ORDER BY c.id
"""
_SHELF: Final = "SELECT shelf FROM memory_collections WHERE id = $1"
# In the transaction that keeps the pairs: what is killed in between waits again.
_TAKE: Final = """
    DELETE FROM memory_uncompared WHERE collection = $1 AND number = ANY(ARRAY(
        SELECT number FROM memory_uncompared WHERE collection = $1 ORDER BY number LIMIT $2 FOR UPDATE SKIP LOCKED))
    RETURNING number
"""
_NEAREST: Final = """(SELECT v.number, v.position, v.model, -(v.embedding <#> q.embedding) AS cosine
    FROM {vectors} v {chosen} ORDER BY v.embedding <#> q.embedding LIMIT $3)"""
_CANDIDATES: Final = """
    WITH q AS MATERIALIZED (
        SELECT DISTINCT ON (number) number, model, embedding FROM memory_vectors
        WHERE number = ANY($2::bigint[]) AND position = 0 AND shelf IN ({shelves}) ORDER BY number)
    SELECT DISTINCT least(q.number, n.number) AS first, greatest(q.number, n.number) AS second,
           least(n.cosine, 1) AS similarity
    FROM q CROSS JOIN LATERAL ({legs}) n
    JOIN memories m ON m.number = n.number AND m.collection = $1 AND m.deleted_at IS NULL
    WHERE n.number <> q.number AND n.model = q.model AND n.position = 0 AND n.cosine >= $4
"""
_WORDS: Final = "SELECT number, words FROM memory_words WHERE collection = $1 AND number = ANY($2::bigint[])"
_KEEP: Final = """
    INSERT INTO memory_pairs (collection, first, second, similarity, overlap)
    SELECT DISTINCT ON (first, second) $1::integer, first, second, similarity, overlap
    FROM unnest($2::bigint[], $3::bigint[], $4::real[], $5::real[]) p (first, second, similarity, overlap)
    ORDER BY first, second
    ON CONFLICT (collection, first, second) DO UPDATE
        SET similarity = EXCLUDED.similarity, overlap = EXCLUDED.overlap
"""
_SWEEP: Final = """
    DELETE FROM memory_pairs p WHERE p.ctid = ANY(ARRAY(
        SELECT g.ctid FROM memory_pairs g
        WHERE NOT EXISTS (SELECT 1 FROM memories m WHERE m.number = g.first AND m.deleted_at IS NULL)
           OR NOT EXISTS (SELECT 1 FROM memories m WHERE m.number = g.second AND m.deleted_at IS NULL)
        LIMIT $1))
"""


class Comparer:
    """Looks for near duplicates of what is new."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def compare_all(self, *, pause: float = PAUSE) -> int:
        """Compare everything that waits, unhurriedly; return how many memories."""
        done = 0
        for row in await self._database.fetch(_WAITING, FRESH_MOST):
            while compared := await self._compare_timed(row["id"], pause):
                done += compared
        return done

    async def sweep(self) -> None:
        """Forget pairs of which one is gone."""
        while await self._database.execute(_SWEEP, SWEEP_AT_ONCE):
            continue

    async def _compare_timed(self, collection: int, pause: float) -> int:
        started = monotonic()
        async with self._database.transaction() as connection:
            compared = await _compare(connection, collection)
        await asyncio.sleep(pause * (monotonic() - started))
        return compared


async def _compare(connection: Connection, collection: int) -> int:
    numbers = [row["number"] for row in await connection.fetch(_TAKE, collection, AT_ONCE)]
    if not numbers:
        return 0
    # Asked each time: the collection may have got another shelf meanwhile.
    shelf = await connection.fetchval(_SHELF, collection)
    rows = await connection.fetch(_statement(shelf), collection, numbers, NEIGHBOURS, LEAST_SIMILARITY)
    words = await _words_of(connection, collection, {row[end] for row in rows for end in ("first", "second")})
    pairs = [
        (row["first"], row["second"], row["similarity"], _overlap(words, row["first"], row["second"])) for row in rows
    ]
    kept = [pair for pair in pairs if pair[3] >= LEAST_OVERLAP]
    if kept:
        await connection.execute(_KEEP, collection, *(list(column) for column in zip(*kept, strict=True)))
    return len(numbers)


def _statement(shelf: int) -> str:
    legs = [_NEAREST.format(vectors="memory_vectors_0", chosen="WHERE v.collection = $1")]
    if shelf:
        legs.append(_NEAREST.format(vectors=f"memory_vectors_{int(shelf)}", chosen=""))
    return _CANDIDATES.format(shelves=f"0, {int(shelf)}", legs=" UNION ALL ".join(legs))


async def _words_of(connection: Connection, collection: int, numbers: set[int]) -> dict[int, Any]:
    rows = await connection.fetch(_WORDS, collection, list(numbers))
    return {row["number"]: unpack_words(row["words"])["term"] for row in rows}


def _overlap(words: Mapping[int, Any], first: int, second: int) -> float:
    """The Jaccard index of the terms of two memories."""
    if first not in words or second not in words:
        return 0.0
    both = len(np.intersect1d(words[first], words[second], assume_unique=True))
    return both / max(1, len(words[first]) + len(words[second]) - both)
