"""Near duplicates as clusters: what hangs together by the pairs that were found, for one reader."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

from tmws_contracts.memory_bulk import (
    MAX_MEMBERS,
    DuplicateCluster,
    DuplicateMember,
    DuplicatePair,
    Duplicates,
    DuplicateScan,
)
from tmws_memory.counts import read_stats
from tmws_memory.visibility import LIVE, MINE, OWNED, Reader, reader_for
from tmws_shared.auth import Principal
from tmws_shared.database import Connection, Database, Row
from tmws_shared.pagination import Cursors

_COLLECTIONS: Final = f"p.collection = ANY(ARRAY(SELECT c.id FROM memory_collections c WHERE {MINE}))"  # noqa: S608 -- our own fragments
_ALIKE: Final = "p.similarity >= $4::float8 AND p.overlap >= $5::float8"
_SEEDS: Final = f"""
    SELECT DISTINCT p.collection, p.first FROM memory_pairs p
    WHERE {_COLLECTIONS} AND {_ALIKE} AND (p.collection, p.first) > ($6::integer, $7::bigint)
    ORDER BY p.collection, p.first LIMIT $8
"""  # noqa: S608 -- our own fragments
# Of one that is deleted or expired, or is indexed under another number now, nothing is told.
_AROUND: Final = f"""
    SELECT p.first, p.second, p.similarity, p.overlap FROM (
        SELECT * FROM memory_pairs p WHERE {_COLLECTIONS} AND {_ALIKE} AND p.first = ANY($6::bigint[])
        UNION SELECT * FROM memory_pairs p WHERE {_COLLECTIONS} AND {_ALIKE} AND p.second = ANY($6::bigint[])
    ) p
    WHERE EXISTS (SELECT 1 FROM memories m WHERE m.number = p.first AND m.collection = p.collection AND {LIVE})
      AND EXISTS (SELECT 1 FROM memories m WHERE m.number = p.second AND m.collection = p.collection AND {LIVE})
    ORDER BY p.first, p.second LIMIT $7
"""  # noqa: S608 -- our own fragments
_MEMBERS: Final = f"""
    SELECT m.number, m.id, left(m.content, 300) AS excerpt, octet_length(m.content) AS size, m.importance,
           m.store_count, m.tags, m.persona_id, m.visibility::text, m.tier::text, m.created_at, m.version
    FROM memories m WHERE {OWNED} AND {LIVE} AND m.number = ANY($4::bigint[])
"""  # noqa: S608 -- our own fragments
_WAITING: Final = f"""
    SELECT count(*) FROM (SELECT FROM memory_uncompared p WHERE {_COLLECTIONS} LIMIT $4) u
"""  # noqa: S608 -- our own fragments
COUNTED: Final = 10_000
# What one page reads at most; a page may be shorter than asked for, and the next one goes on.
_ROUNDS: Final = 10
_HOPS: Final = 12
_PAIRS: Final = 5_000


@dataclass(frozen=True, slots=True)
class Alike:
    """How much alike is alike."""

    similarity: float
    overlap: float


@dataclass(frozen=True, slots=True)
class _Place:
    """A memory in the order of clusters: its collection, and its number."""

    collection: int
    number: int


class DuplicateFinder:
    """Shows near duplicates."""

    def __init__(self, database: Database, cursors: Cursors) -> None:
        self._database = database
        self._cursors = cursors

    async def list_page(self, caller: Principal, alike: Alike, cursor: str | None, limit: int) -> Duplicates:
        """Return a page of clusters among the memories that the caller owns, the oldest first.

        Raises:
            MalformedRequest: the cursor belongs to another list.
        """
        reader = reader_for(caller)
        context = {"list": "duplicates", "reader": reader, "alike": alike}
        position = self._cursors.decode(cursor, **context) or [0, 0]
        async with self._database.connection() as connection:
            search = _Search(connection, reader, alike)
            clusters, last = await search.clusters(_Place(*position), limit)
            scan = await _scan(connection, reader)
        next_cursor = None if last is None else self._cursors.encode([last.collection, last.number], **context)
        return Duplicates(items=clusters, next_cursor=next_cursor, scan=scan)


async def _scan(connection: Connection, reader: Reader) -> DuplicateScan:
    waiting: int = await connection.fetchval(_WAITING, *reader.owning, COUNTED)
    unembedded = min(COUNTED, max(0, (await read_stats(connection, reader)).pending))
    return DuplicateScan(waiting=waiting, unembedded=unembedded, is_complete=not waiting and not unembedded)


class _Search:
    """Gathers the clusters of one page: a cluster belongs to its oldest memory."""

    def __init__(self, connection: Connection, reader: Reader, alike: Alike) -> None:
        self._connection = connection
        self._reader = reader
        self._alike = (alike.similarity, alike.overlap)

    async def clusters(self, after: _Place, limit: int) -> tuple[list[DuplicateCluster], _Place | None]:
        """Return clusters, and after which place the next page goes on; None at the end."""
        found: list[DuplicateCluster] = []
        for _ in range(_ROUNDS):
            seeds = await self._seeds(after, limit + 1)
            groups = _groups(await self._pairs_around([seed.number for seed in seeds]))
            for seed in seeds:
                if len(found) == limit:
                    return found, after
                after = seed
                group = groups.get(seed.number)
                cluster = await self._cluster(group) if group else None
                found += [cluster] if cluster else []
            if len(seeds) <= limit:
                return found, None
        return found, after

    async def _seeds(self, after: _Place, count: int) -> list[_Place]:
        rows = await self._connection.fetch(
            _SEEDS, *self._reader.owning, *self._alike, after.collection, after.number, count
        )
        return [_Place(row["collection"], row["first"]) for row in rows]

    async def _pairs_around(self, seeds: Sequence[int]) -> list[Row]:
        """All pairs that hang together with the seeds, as far as the bounds go."""
        pairs: dict[tuple[int, int], Row] = {}
        known, frontier = set(seeds), set(seeds)
        for _ in range(_HOPS):
            if not frontier or len(pairs) >= _PAIRS:
                break
            rows = await self._connection.fetch(_AROUND, *self._reader.owning, *self._alike, list(frontier), _PAIRS)
            pairs |= {(row["first"], row["second"]): row for row in rows}
            frontier = {row[end] for row in rows for end in ("first", "second")} - known
            known |= frontier
        return list(pairs.values())

    async def _cluster(self, pairs: Sequence[Row]) -> DuplicateCluster | None:
        numbers = sorted({row[end] for row in pairs for end in ("first", "second")})
        rows = await self._connection.fetch(_MEMBERS, *self._reader.owning, numbers[:MAX_MEMBERS])
        ids: dict[int, UUID] = {row["number"]: row["id"] for row in rows}
        if len(ids) < 2:
            return None
        return DuplicateCluster(
            memories=[_member(row) for row in sorted(rows, key=lambda row: (row["created_at"], row["id"]))],
            pairs=[_pair(row, ids) for row in pairs if row["first"] in ids and row["second"] in ids],
            keep=max(rows, key=worth)["id"],
            is_truncated=len(numbers) > MAX_MEMBERS,
        )


def worth(row: Row) -> tuple[Any, ...]:
    """Return by what the memory to keep is chosen: long-term, important, often stored, long, old."""
    age = -row["created_at"].timestamp()
    return row["tier"] == "long_term", row["importance"], row["store_count"], row["size"], age, row["id"]


def _groups(pairs: Iterable[Row]) -> dict[int, list[Row]]:
    """The pairs that hang together, by the lowest number among them (union-find)."""
    pairs = list(pairs)
    parents: dict[int, int] = {}

    def root(number: int) -> int:
        while (parent := parents.setdefault(number, number)) != number:
            parents[number] = parents[parent]
            number = parent
        return number

    for row in pairs:
        low, high = sorted((root(row["first"]), root(row["second"])))
        parents[high] = low
    groups: dict[int, list[Row]] = {}
    for row in pairs:
        groups.setdefault(root(row["first"]), []).append(row)
    return groups


def _member(row: Row) -> DuplicateMember:
    return DuplicateMember.model_validate({name: row[name] for name in DuplicateMember.model_fields})


def _pair(row: Row, ids: dict[int, UUID]) -> DuplicatePair:
    return DuplicatePair(
        first=ids[row["first"]],
        second=ids[row["second"]],
        similarity=round(row["similarity"], 4),
        overlap=round(row["overlap"], 4),
    )
