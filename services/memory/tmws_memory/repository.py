"""All SQL of the memory service; but for searching (candidates.py)."""

from __future__ import annotations

from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any
from uuid import UUID

from tmws_contracts.memory import Memory, SearchFilters, Tier, Visibility
from tmws_memory.visibility import GRANTED, VISIBLE, Reader, add_filters
from tmws_shared.database import Connection, Database, Row
from tmws_shared.pagination import Conditions, Keyset

_VIEW = """
    m.id, m.namespace, m.content, m.importance, m.metadata, m.persona_id, m.tags, m.session_id, m.occurred_at,
    m.tier::text, m.visibility::text, m.expires_at, m.last_accessed_at, m.access_count, m.store_count, m.source,
    m.embedding_model, m.embedding_precision, m.version, m.created_at, m.updated_at
"""
_GET = f"SELECT {_VIEW} FROM memory_embeddings m WHERE {VISIBLE} AND m.id = $4"  # noqa: S608 -- our own fragments
_FETCH = f"SELECT {_VIEW} FROM memory_embeddings m WHERE {VISIBLE} AND m.id = ANY($4::uuid[])"  # noqa: S608 -- our own fragments
_LOCK = f"""SELECT m.version FROM memory_embeddings m
    WHERE {GRANTED} AND m.id = $4 AND (m.deleted_at IS NULL OR $5::boolean) FOR UPDATE"""  # noqa: S608 -- our own fragments

_KNOWN = """SELECT EXISTS (SELECT 1 FROM memory_embeddings
    WHERE namespace = $1 AND owner = $2 AND content_hash = $3 AND deleted_at IS NULL)"""
_INSERT = f"""
    INSERT INTO memory_embeddings AS m (
        id, namespace, owner, content, content_hash, embedding, embedding_model, embedding_precision, metadata,
        importance, persona_id, tags, session_id, occurred_at, tier, visibility, expires_at, source, length)
    VALUES ($1, $2, $3, $4, $5, $6::real[]::halfvec, $7, $8, $9, $10, $11, $12, $13, $14,
            $15::text::memory_tier, $16::text::memory_visibility, $17, $18, $19)
    ON CONFLICT (namespace, owner, content_hash) WHERE deleted_at IS NULL DO NOTHING
    RETURNING {_VIEW}
"""  # noqa: S608 -- our own fragments
# What is repeated is counted, gains weight, tags and life, and never loses any.
_REPEAT = f"""
    UPDATE memory_embeddings m SET
        store_count = m.store_count + 1,
        importance = greatest(m.importance, $4),
        tags = n.tags,
        tier = n.tier,
        expires_at = n.expires_at,
        version = m.version + n.is_changed::integer,
        updated_at = CASE WHEN n.is_changed THEN now() ELSE m.updated_at END
    FROM (
        SELECT o.id, n.*, (o.tags, o.tier, o.expires_at) IS DISTINCT FROM (n.tags, n.tier, n.expires_at)
                          OR o.importance < $4 AS is_changed
        FROM memory_embeddings o CROSS JOIN LATERAL (
            SELECT CASE WHEN o.tags @> $5::text[] THEN o.tags
                        ELSE ARRAY(SELECT t FROM unnest(o.tags || $5) WITH ORDINALITY u (t, n)
                                   GROUP BY t ORDER BY min(n) LIMIT 50) END AS tags,
                   CASE WHEN $6::text = 'long_term' THEN 'long_term' ELSE o.tier END AS tier,
                   CASE WHEN $6::text = 'long_term' OR o.tier = 'long_term' THEN NULL
                        ELSE greatest(o.expires_at, $7) END AS expires_at
        ) n
        WHERE o.namespace = $1 AND o.owner = $2 AND o.content_hash = $3 AND o.deleted_at IS NULL
        FOR UPDATE OF o
    ) n
    WHERE m.id = n.id
    RETURNING {_VIEW}
"""  # noqa: S608 -- our own fragments
_ADD_POSTINGS = """
    INSERT INTO memory_postings (term, memory_id, frequency, length)
    SELECT term, $1, frequency, $4 FROM unnest($2::bigint[], $3::smallint[]) p (term, frequency)
"""
_ADD_CHUNKS = """
    INSERT INTO memory_chunks (memory_id, position, namespace, embedding)
    SELECT $1, n, $2, ($3::real[])[(n - 1) * $4 + 1 : n * $4]::halfvec
    FROM generate_series(1, array_length($3::real[], 1) / $4::integer) n
"""
_SOFT_DELETE = (
    "UPDATE memory_embeddings SET deleted_at = now(), version = version + 1, updated_at = now() WHERE id = $1"
)
_ERASE = """
    WITH gone AS (DELETE FROM memory_embeddings WHERE id = $1),
         answers AS (DELETE FROM idempotency_keys WHERE headers ->> 'Location' = $2)
    DELETE FROM memory_postings WHERE memory_id = $1
"""
_COUNT_ACCESSES = """
    UPDATE memory_embeddings m
    SET access_count = m.access_count + a.uses, last_accessed_at = greatest(m.last_accessed_at, $3)
    FROM (SELECT l.id, u.uses FROM unnest($1::uuid[], $2::integer[]) u (id, uses)
          JOIN memory_embeddings l ON l.id = u.id ORDER BY l.id FOR UPDATE OF l) a
    WHERE m.id = a.id
    RETURNING m.tier = 'short_term' AS is_short
"""
_STATS = """
    SELECT count(*) FILTER (WHERE tier = 'short_term' AND deleted_at IS NULL) AS short_term,
           count(*) FILTER (WHERE tier = 'long_term' AND deleted_at IS NULL) AS long_term,
           count(*) FILTER (WHERE deleted_at IS NOT NULL) AS deleted,
           (SELECT count(*) FROM memory_chunks WHERE namespace = $1 AND position = 1) AS long_contents
    FROM memory_embeddings WHERE namespace = $1
"""

_BATCH = 1000
_PROMOTE = """
    UPDATE memory_embeddings SET tier = 'long_term', expires_at = NULL, version = version + 1, updated_at = now()
    WHERE id IN (SELECT id FROM memory_embeddings WHERE expires_at IS NOT NULL AND deleted_at IS NULL
                     AND tier = 'short_term' AND (access_count >= $1 OR importance >= $2)
                 ORDER BY expires_at LIMIT $3 FOR UPDATE SKIP LOCKED)
"""
_EXPIRE = """
    UPDATE memory_embeddings SET deleted_at = now(), version = version + 1, updated_at = now()
    WHERE id IN (SELECT id FROM memory_embeddings WHERE expires_at <= now() AND deleted_at IS NULL
                     AND NOT (access_count >= $1 OR importance >= $2)
                 ORDER BY expires_at LIMIT $3 FOR UPDATE SKIP LOCKED)
"""
_PURGE = """
    WITH gone AS (DELETE FROM memory_embeddings WHERE id IN (
                      SELECT id FROM memory_embeddings WHERE deleted_at <= now() - $1::interval
                      ORDER BY deleted_at LIMIT $2 FOR UPDATE SKIP LOCKED) RETURNING id),
         words AS (DELETE FROM memory_postings WHERE memory_id IN (SELECT id FROM gone))
    SELECT count(*) FROM gone
"""


class MemoryOrder(StrEnum):
    """In which order memories are recalled."""

    NEWEST = "newest"
    OLDEST = "oldest"
    IMPORTANCE = "importance"
    USED = "used"


_MADE, _ID = ("m.created_at", "timestamptz"), ("m.id", "uuid")
_ORDERS = {
    MemoryOrder.NEWEST: Keyset((_MADE, _ID), descending=True),
    MemoryOrder.OLDEST: Keyset((_MADE, _ID)),
    MemoryOrder.IMPORTANCE: Keyset((("m.importance", "double precision"), _MADE, _ID), descending=True),
    MemoryOrder.USED: Keyset((("m.access_count", "integer"), _MADE, _ID), descending=True),
}


@dataclass(frozen=True, slots=True)
class Recall:
    """Which memories to list, in which order."""

    filters: SearchFilters
    order: MemoryOrder = MemoryOrder.NEWEST


@dataclass(frozen=True, slots=True)
class Content:
    """What makes two stores the same: owner is empty for what the namespace sees."""

    owner: str
    text: str
    hash: bytes


@dataclass(frozen=True, slots=True)
class Attributes:
    """What a memory has besides its content."""

    importance: float
    details: dict[str, Any]
    persona_id: str | None
    tags: list[str]
    session_id: str | None
    occurred_at: datetime | None
    tier: Tier
    visibility: Visibility
    expires_at: datetime | None
    source: str


@dataclass(frozen=True, slots=True)
class Index:
    """What finds a memory: vectors of its parts, and how often each term (by key) occurs."""

    vectors: Sequence[array[float]]
    model: str
    precision: str
    frequencies: Mapping[int, int]


class MemoryRepository:
    """The memories that one reader may see, through one connection."""

    def __init__(self, connection: Connection, reader: Reader) -> None:
        self._connection = connection
        self._reader = reader

    async def get(self, memory_id: UUID) -> Memory | None:
        """Return the memory, or None."""
        row = await self._connection.fetchrow(_GET, *self._reader.values, memory_id)
        return None if row is None else _memory(row)

    async def fetch(self, ids: Sequence[UUID]) -> dict[UUID, Memory]:
        """Return those of the memories that exist."""
        rows = await self._connection.fetch(_FETCH, *self._reader.values, list(ids))
        return {row["id"]: _memory(row) for row in rows}

    async def knows(self, content: Content) -> bool:
        """Whether the content is remembered already."""
        return await self._connection.fetchval(_KNOWN, self._reader.namespace, content.owner, content.hash)

    async def insert(self, memory_id: UUID, content: Content, attributes: Attributes, index: Index) -> Memory | None:
        """Add a memory with its vectors and terms and return it; None when its content is known."""
        a, length = attributes, sum(index.frequencies.values())
        row = await self._connection.fetchrow(
            _INSERT, memory_id, self._reader.namespace, content.owner, content.text, content.hash, index.vectors[0],
            index.model, index.precision, a.details, a.importance, a.persona_id, a.tags, a.session_id, a.occurred_at,
            a.tier, a.visibility, a.expires_at, a.source, length,
        )  # fmt: skip
        if row is None:
            return None
        frequencies = [min(count, 32_767) for count in index.frequencies.values()]
        await self._connection.execute(_ADD_POSTINGS, memory_id, list(index.frequencies), frequencies, length)
        if len(index.vectors) > 1:
            flat = [number for vector in index.vectors[1:] for number in vector]
            size = len(index.vectors[0])
            await self._connection.execute(_ADD_CHUNKS, memory_id, self._reader.namespace, flat, size)
        return _memory(row)

    async def repeat(self, content: Content, attributes: Attributes) -> Memory | None:
        """Count another store of a known content and return the memory; None when it is not known."""
        row = await self._connection.fetchrow(
            _REPEAT, self._reader.namespace, content.owner, content.hash, attributes.importance, attributes.tags,
            attributes.tier, attributes.expires_at,
        )  # fmt: skip
        return None if row is None else _memory(row)

    async def lock(self, memory_id: UUID, *, even_deleted: bool) -> int | None:
        """Lock the memory until the transaction ends and return its version, or None."""
        return await self._connection.fetchval(_LOCK, *self._reader.values, memory_id, even_deleted)

    async def soft_delete(self, memory_id: UUID) -> None:
        """Hide the memory; the purge takes it later."""
        await self._connection.execute(_SOFT_DELETE, memory_id)

    async def erase(self, memory_id: UUID, location: str) -> None:
        """Delete the memory, its vectors and terms, and the kept answers that show it."""
        await self._connection.execute(_ERASE, memory_id, location)

    async def list_page(self, wanted: Recall, after: list[str] | None, limit: int) -> list[tuple[Memory, list[str]]]:
        """Return up to `limit` memories after a position, each with its own position."""
        keyset = _ORDERS[wanted.order]
        where = Conditions(*self._reader.values)
        add_filters(where, wanted.filters)
        where.add_given(keyset.beyond("{}"), after)
        where.values.append(limit)
        sql = f"""SELECT {_VIEW}, {keyset.position} AS position FROM memory_embeddings m WHERE {VISIBLE} {where.sql()}
            ORDER BY {keyset.order_by} LIMIT ${len(where.values)}"""  # noqa: S608 -- fragments of this file, values are bound
        rows = [dict(row) for row in await self._connection.fetch(sql, *where.values)]
        return [(Memory.model_validate(row), position) for row in rows for position in [row.pop("position")]]

    async def stats(self) -> Row | None:
        """Return the namespace's counts."""
        return await self._connection.fetchrow(_STATS, self._reader.namespace)


class MemoryKeeping:
    """What happens to memories of all namespaces with time."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def count_accesses(self, uses: Mapping[UUID, int], at: datetime) -> bool:
        """Add to the counts; return whether a short-term memory is among them."""
        rows = await self._database.fetch(_COUNT_ACCESSES, list(uses), list(uses.values()), at)
        return any(row["is_short"] for row in rows)

    async def promote(self, uses: int, importance: float) -> int:
        """Make short-term memories long-term that are used or important enough; return how many."""
        return await self._in_batches(_PROMOTE, uses, importance)

    async def expire(self, uses: int, importance: float) -> int:
        """Delete short-term memories whose time is over, save those to be promoted; return how many."""
        return await self._in_batches(_EXPIRE, uses, importance)

    async def purge(self, kept_for: timedelta) -> int:
        """Erase what was deleted longer ago; return how many."""
        done = 0
        while erased := await self._database.fetchval(_PURGE, kept_for, _BATCH):
            done += erased
        return done

    async def _in_batches(self, statement: str, uses: int, importance: float) -> int:
        done = 0
        while changed := await self._database.execute(statement, uses, importance, _BATCH):
            done += changed
        return done


def _memory(row: Row) -> Memory:
    return Memory.model_validate(dict(row))
