"""Folds the words of fresh memories into blocks, and sweeps blocks of memories that are gone.

A store writes one small row of words; a search reads those of the fresh memories whole. Folding them in bulk costs a
tenth of keeping an inverted index up to date with every store.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from tmws_memory.words import (
    BLOCK_POSTINGS,
    POSTING,
    cut_blocks,
    length_of,
    numbers_in,
    postings_of,
    unpack_words,
    without,
)
from tmws_shared.database import Connection, Database

# Fewer fresh memories than this are read as fast as they would be found in blocks.
FOLD_MIN: Final = 256
# More at once touch each block less often, and hold the collection longer: a second or two.
FOLD_MOST: Final = 10_000
# After so many at once the planner's statistics, and the plans that are kept by them, are of another table.
ANALYZE_FROM: Final = 1_000
SWEEP_MIN: Final = 64
SWEEP_MOST: Final = 500
_TERMS_AT_ONCE: Final = 2_000

_CHANGED: Final = "SELECT collection, max(number) AS newest FROM memory_words WHERE number > $1 GROUP BY collection"
_COUNT_FRESH: Final = "SELECT count(*) FROM (SELECT FROM memory_fresh WHERE collection = $1 LIMIT $2) f"
_TO_SWEEP: Final = "SELECT collection FROM memory_forgotten GROUP BY collection HAVING count(*) >= $1"
# Whoever changes the blocks of a collection holds its row; another worker leaves it alone meanwhile, and whoever stores
# a memory, which refers to the row, does not notice.
_LOCK: Final = "SELECT shelf FROM memory_collections WHERE id = $1 FOR NO KEY UPDATE SKIP LOCKED"
_FRESH: Final = """
    SELECT f.number, w.words FROM memory_fresh f JOIN memory_words w ON w.number = f.number
    WHERE f.collection = $1 ORDER BY f.number LIMIT $2
"""
_NOT_FRESH: Final = "DELETE FROM memory_fresh WHERE collection = $1 AND number = ANY($2::bigint[]) RETURNING number"
_LATEST: Final = """
    SELECT t.term, b.block, b.postings FROM unnest($2::bigint[]) t (term)
    CROSS JOIN LATERAL (SELECT block, postings FROM memory_blocks
                        WHERE collection = $1 AND term = t.term ORDER BY block DESC LIMIT 1) b
"""
_WRITE: Final = """
    INSERT INTO memory_blocks (collection, term, block, low, high, postings)
    SELECT $1, * FROM unnest($2::bigint[], $3::integer[], $4::bigint[], $5::bigint[], $6::bytea[])
    ON CONFLICT (collection, term, block) DO UPDATE
        SET low = EXCLUDED.low, high = EXCLUDED.high, postings = EXCLUDED.postings
"""
_COUNT: Final = "UPDATE memory_collections SET folded = folded + $2, folded_length = folded_length + $3 WHERE id = $1"
_ANALYZE: Final = "ANALYZE memories, memory_words, memory_fresh, memory_blocks, memory_vectors_0"
_FORGOTTEN: Final = "SELECT number, words FROM memory_forgotten WHERE collection = $1 ORDER BY number LIMIT $2"
_HOLDING: Final = """
    SELECT b.term, b.block, b.postings FROM memory_blocks b
    WHERE b.collection = $1 AND b.term = ANY($2::bigint[])
      AND EXISTS (SELECT 1 FROM unnest($3::bigint[]) n (number) WHERE n.number BETWEEN b.low AND b.high)
"""
_EMPTY: Final = """
    DELETE FROM memory_blocks b USING unnest($2::bigint[], $3::integer[]) e (term, block)
    WHERE b.collection = $1 AND b.term = e.term AND b.block = e.block
"""
_SWEPT: Final = """
    WITH gone AS (DELETE FROM memory_forgotten WHERE collection = $1 AND number = ANY($2::bigint[]))
    DELETE FROM memory_vectors WHERE number = ANY($2::bigint[])
"""


class Folder:
    """Keeps the blocks of all collections."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def changed_since(self, number: int) -> dict[int, int]:
        """Return the newest number of every collection that has one above `number`."""
        return {row["collection"]: row["newest"] for row in await self._database.fetch(_CHANGED, number)}

    async def fold_when_due(self, collection: int) -> None:
        """Fold the fresh memories of a collection, if they are many."""
        if await self._database.fetchval(_COUNT_FRESH, collection, FOLD_MIN) < FOLD_MIN:
            return
        folded = last = await self.fold(collection)
        while last == FOLD_MOST:
            folded += (last := await self.fold(collection))
        if folded >= ANALYZE_FROM:
            await self._database.execute(_ANALYZE)

    async def sweep_due(self, *, least: int = SWEEP_MIN) -> None:
        """Sweep every collection of which at least so many memories are gone."""
        for row in await self._database.fetch(_TO_SWEEP, least):
            while await self.sweep(row["collection"]) == SWEEP_MOST:
                continue

    async def fold(self, collection: int) -> int:
        """Fold up to FOLD_MOST fresh memories of a collection; return how many."""
        async with self._database.transaction() as connection:
            if await connection.fetchval(_LOCK, collection) is None:
                return 0
            words = {row["number"]: row["words"] for row in await connection.fetch(_FRESH, collection, FOLD_MOST)}
            # One that was forgotten since is not fresh any more; what is ours now cannot be forgotten as fresh.
            taken = await connection.fetch(_NOT_FRESH, collection, list(words))
            memories = sorted((row["number"], words[row["number"]]) for row in taken)
            added = postings_of(memories)
            for terms in _portions(sorted(added)):
                await _append(connection, collection, {term: added[term] for term in terms})
            length = sum(length_of(unpack_words(packed)) for _, packed in memories)
            await connection.execute(_COUNT, collection, len(memories), length)
        return len(words)

    async def sweep(self, collection: int) -> int:
        """Take up to SWEEP_MOST forgotten memories out of the blocks of a collection; return how many."""
        async with self._database.transaction() as connection:
            if await connection.fetchval(_LOCK, collection) is None:
                return 0
            gone = await connection.fetch(_FORGOTTEN, collection, SWEEP_MOST)
            numbers = [row["number"] for row in gone]
            found: set[int] = set()
            for terms in _portions(sorted(postings_of((row["number"], row["words"]) for row in gone if row["words"]))):
                found |= await _take_out(connection, collection, terms, numbers)
            length = sum(length_of(unpack_words(row["words"])) for row in gone if row["number"] in found)
            await connection.execute(_COUNT, collection, -len(found), -length)
            await connection.execute(_SWEPT, collection, numbers)
        return len(numbers)


def _portions(terms: Sequence[int]) -> list[Sequence[int]]:
    return [terms[start : start + _TERMS_AT_ONCE] for start in range(0, len(terms), _TERMS_AT_ONCE)]


async def _append(connection: Connection, collection: int, added: dict[int, bytes]) -> None:
    """Put postings behind those that a collection has."""
    blocks: list[tuple[int, int, bytes]] = []
    latest = {row["term"]: row for row in await connection.fetch(_LATEST, collection, list(added))}
    for term, postings in added.items():
        known = latest.get(term)
        first, before = (known["block"], known["postings"]) if known else (0, b"")
        if len(before) >= BLOCK_POSTINGS * POSTING.itemsize:
            first, before = first + 1, b""
        blocks += [(term, first + place, block) for place, block in enumerate(cut_blocks(before + postings))]
    await _write(connection, collection, blocks)


async def _take_out(connection: Connection, collection: int, terms: Sequence[int], numbers: Sequence[int]) -> set[int]:
    """Rewrite the blocks of some terms without some numbers; return those that were there."""
    gone = np.array(numbers, np.uint32)
    found: set[int] = set()
    blocks: list[tuple[int, int, bytes]] = []
    for row in await connection.fetch(_HOLDING, collection, list(terms), list(numbers)):
        held, rest = numbers_in(row["postings"]), without(row["postings"], gone)
        if len(rest) < len(row["postings"]):
            found.update(held[np.isin(held, gone)].tolist())
            blocks.append((row["term"], row["block"], rest))
    await _write(connection, collection, [block for block in blocks if block[2]])
    empty = [block for block in blocks if not block[2]]
    await connection.execute(_EMPTY, collection, [term for term, _, _ in empty], [block for _, block, _ in empty])
    return found


async def _write(connection: Connection, collection: int, blocks: Sequence[tuple[int, int, bytes]]) -> None:
    numbers = [numbers_in(postings) for _, _, postings in blocks]
    await connection.execute(
        _WRITE,
        collection,
        [term for term, _, _ in blocks],
        [block for _, block, _ in blocks],
        [int(held.min()) for held in numbers],
        [int(held.max()) for held in numbers],
        [postings for _, _, postings in blocks],
    )
