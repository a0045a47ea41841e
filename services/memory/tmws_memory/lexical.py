"""Reads the words that a query needs, and scores the memories that have them.

Most words lie in blocks, read by term; those of the latest memories, and of those that others share, are read whole.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from tmws_memory.visibility import MINE, SHARED, Reader
from tmws_memory.words import Matches, length_of, postings_of, score, unpack_words
from tmws_shared.database import Connection, Row

# How much is read for one query, in blocks of 480 postings of 8 bytes. The commonest terms are left out beyond it:
# they tell the least, and a search in a million memories would read little else.
BLOCKS_BUDGET: Final = 600
FRESH_BUDGET: Final = 5_000

# All in one statement, so that it is one view of the index: a memory is fresh or in blocks, never both. Three kinds of
# rows: collections, postings by term, the words of single memories. $5 terms, $6 and $7 the budgets.
# The rarest terms come first, for as long as the budget lasts; the rarest one always.
_READ: Final = f"""
    WITH mine AS MATERIALIZED (
        SELECT c.id, c.folded, c.folded_length, c.shelf FROM memory_collections c WHERE {MINE}
    ), shared AS MATERIALIZED (
        SELECT m.number FROM memory_shares s JOIN memories m ON m.id = s.memory_id
        WHERE {SHARED} AND m.deleted_at IS NULL AND m.collection <> ALL(ARRAY(SELECT id FROM mine))
        ORDER BY m.number DESC LIMIT $7
    ), sizes AS MATERIALIZED (
        SELECT t.term, b.block + 1 AS blocks FROM mine CROSS JOIN unnest($5::bigint[]) t (term)
        CROSS JOIN LATERAL (SELECT block FROM memory_blocks WHERE collection = mine.id AND term = t.term
                            ORDER BY block DESC LIMIT 1) b
    ), terms AS MATERIALIZED (
        SELECT term, sum(blocks) AS blocks FROM sizes GROUP BY term
    ), chosen AS MATERIALIZED (
        SELECT term, sum(blocks) OVER (ORDER BY blocks, term) AS needed, blocks FROM terms
    ), single AS (
        (SELECT number FROM memory_fresh WHERE collection = ANY(ARRAY(SELECT id FROM mine)) AND $5 <> '{{}}'
         ORDER BY number DESC LIMIT $7)
        UNION SELECT number FROM shared
    )
    SELECT id, folded, folded_length, shelf, NULL::bigint AS term, NULL::bigint AS number, NULL::bytea AS packed
    FROM mine
    UNION ALL SELECT NULL, NULL, NULL, NULL, b.term, NULL, b.postings FROM memory_blocks b
    WHERE b.collection = ANY(ARRAY(SELECT id FROM mine))
      AND b.term = ANY(ARRAY(SELECT term FROM chosen WHERE needed <= $6 OR needed = blocks))
    UNION ALL SELECT NULL, NULL, NULL, NULL, NULL, w.number, w.words
    FROM single CROSS JOIN LATERAL (SELECT number, words FROM memory_words WHERE number = single.number LIMIT 1) w
    UNION ALL SELECT NULL, NULL, NULL, NULL, NULL, number, NULL FROM shared
"""  # noqa: S608 -- our own fragments


@dataclass(frozen=True, slots=True)
class Scope:
    """What a reader may search: whole collections, and single memories that others share with it."""

    collections: Sequence[int]
    shelves: Sequence[int]
    shared: Sequence[int]
    folded: int
    folded_length: int


async def read_words(connection: Connection, reader: Reader, terms: Sequence[int]) -> tuple[Scope, Matches]:
    """Return what the reader may search, and what of it has any of the terms (by key), with its BM25.

    Idf and mean length are those of exactly the collections the reader may see: they tell nothing about others.
    """
    rows = await connection.fetch(_READ, *reader.values, list(terms), BLOCKS_BUDGET, FRESH_BUDGET)
    scope = _scope(rows)
    postings: dict[int, list[bytes]] = {}
    for row in rows:
        if row["term"] is not None:
            postings.setdefault(row["term"], []).append(row["packed"])
    single = sorted((row["number"], row["packed"]) for row in rows if row["number"] is not None and row["packed"])
    for term, packed in postings_of(single, np.array(terms, np.int64)).items():
        postings.setdefault(term, []).append(packed)
    length = scope.folded_length + sum(length_of(unpack_words(words)) for _, words in single)
    total = max(1, scope.folded + len(single))
    return scope, score([b"".join(parts) for parts in postings.values()], total, length / total)


def _scope(rows: Sequence[Row]) -> Scope:
    collections = [row for row in rows if row["id"] is not None]
    return Scope(
        collections=[row["id"] for row in collections],
        shelves=[row["shelf"] for row in collections if row["shelf"]],
        shared=[row["number"] for row in rows if row["number"] is not None and row["packed"] is None],
        folded=sum(row["folded"] for row in collections),
        folded_length=sum(row["folded_length"] for row in collections),
    )
