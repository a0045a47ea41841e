"""SQL of memories as such: rows in, rows out. Finding them is the business of lexical.py and nearest.py."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final
from uuid import UUID

from tmws_contracts.memory import Memory, SearchFilters
from tmws_memory.drafts import Draft
from tmws_memory.history import Author
from tmws_memory.indexing import TERMS_VERSION, Index
from tmws_memory.visibility import IS_SHARED, OWNED, VISIBLE, Reader, add_filters
from tmws_shared.database import Connection, Row
from tmws_shared.pagination import Conditions, Keyset

FROM = """memories m LEFT JOIN memory_uses u ON u.memory_id = m.id LEFT JOIN memory_models e ON e.id = m.model"""
VIEW = """
    m.id, m.namespace, m.content, m.importance, m.metadata, m.persona_id, m.tags, m.session_id, m.occurred_at,
    m.tier::text, m.visibility::text, m.expires_at, u.last_used_at AS last_accessed_at,
    coalesce(u.uses, 0) AS access_count, m.store_count, m.source, e.name AS embedding_model,
    e.precision AS embedding_precision, m.version, m.created_at, m.updated_at, m.deleted_at
"""
_GET = f"SELECT {VIEW} FROM {FROM} WHERE {VISIBLE} AND m.id = $5"  # noqa: S608 -- our own fragments
_FETCH = f"SELECT {VIEW} FROM {FROM} WHERE {VISIBLE} AND m.id = ANY($5::uuid[])"  # noqa: S608 -- our own fragments

_OWNS = f"SELECT EXISTS (SELECT 1 FROM memories m WHERE {OWNED} AND m.id = $4)"  # noqa: S608 -- our own fragments

_KNOWN = """SELECT EXISTS (SELECT 1 FROM memories
    WHERE collection = $1 AND content_hash = $2 AND deleted_at IS NULL)"""
# The row, its words and its vectors in one statement; without vectors ($19 is empty) they are pending.
_INSERT = f"""
    WITH m AS (
        INSERT INTO memories (
            id, namespace, collection, content, content_hash, model, metadata, importance, persona_id, tags,
            session_id, occurred_at, tier, visibility, expires_at, source, terms_version)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12,
                $13::text::memory_tier, $14::text::memory_visibility, $15, $16, $17)
        ON CONFLICT (collection, content_hash) WHERE deleted_at IS NULL DO NOTHING
        RETURNING *
    ), words AS (
        INSERT INTO memory_words (number, collection, words) SELECT number, collection, $18 FROM m
    ), fresh AS (
        INSERT INTO memory_fresh (number, collection) SELECT number, collection FROM m
    ), vectors AS (
        INSERT INTO memory_vectors (shelf, collection, number, position, model, embedding)
        SELECT 0, m.collection, m.number, v.n - 1, m.model, v.embedding
        FROM m CROSS JOIN unnest($19::halfvec[]) WITH ORDINALITY v (embedding, n)
    )
    SELECT {VIEW} FROM {FROM.removeprefix("memories ")}
"""  # noqa: S608 -- our own fragments
# What is repeated is counted, gains weight, tags and life, and never loses any.
_REPEAT = f"""
    WITH m AS (
        UPDATE memories r SET
            store_count = r.store_count + 1,
            importance = greatest(r.importance, $3),
            tags = n.tags,
            tier = n.tier,
            expires_at = n.expires_at,
            version = r.version + n.is_changed::integer,
            updated_at = CASE WHEN n.is_changed THEN now() ELSE r.updated_at END
        FROM (
            SELECT o.id, n.*, (o.tags, o.tier, o.expires_at) IS DISTINCT FROM (n.tags, n.tier, n.expires_at)
                              OR o.importance < $3 AS is_changed,
                   o.tags AS old_tags, o.tier AS old_tier, o.expires_at AS old_end, o.importance AS old_importance
            FROM memories o CROSS JOIN LATERAL (
                SELECT CASE WHEN o.tags @> $4::text[] THEN o.tags
                            ELSE ARRAY(SELECT t FROM unnest(o.tags || $4) WITH ORDINALITY u (t, n)
                                       GROUP BY t ORDER BY min(n) LIMIT 50) END AS tags,
                       CASE WHEN $5::text = 'long_term' THEN 'long_term' ELSE o.tier END AS tier,
                       CASE WHEN $5::text = 'long_term' OR o.tier = 'long_term' THEN NULL
                            ELSE greatest(o.expires_at, $6) END AS expires_at
            ) n
            WHERE o.collection = $1 AND o.content_hash = $2 AND o.deleted_at IS NULL
            FOR UPDATE OF o
        ) n
        WHERE r.id = n.id
        RETURNING r.*, n.is_changed, n.old_tags, n.old_tier, n.old_end, n.old_importance
    ), noted AS (
        INSERT INTO memory_history (memory_id, version, action, author, persona, changes)
        SELECT id, version, 'repeated', $7, $8, (
            SELECT jsonb_object_agg(field, jsonb_build_object('from', old, 'to', new)) FROM (VALUES
                ('tags', to_jsonb(old_tags), to_jsonb(tags)), ('tier', to_jsonb(old_tier), to_jsonb(tier)),
                ('expires_at', to_jsonb(old_end), to_jsonb(expires_at)),
                ('importance', to_jsonb(old_importance), to_jsonb(importance))) f (field, old, new)
            WHERE old IS DISTINCT FROM new)
        FROM m WHERE is_changed
    )
    SELECT {VIEW} FROM {FROM.removeprefix("memories ")}
"""  # noqa: S608 -- our own fragments


class MemoryOrder(StrEnum):
    """In which order memories are recalled."""

    NEWEST = "newest"
    OLDEST = "oldest"
    IMPORTANCE = "importance"
    USED = "used"


_MADE, _ID = ("m.created_at", "timestamptz"), ("m.id", "uuid")
# Only what was found by a search at all; the others come last in any case.
_MOST_USED = Keyset((("u.uses", "integer"), ("u.memory_id", "uuid")), descending=True)
_ORDERS = {
    MemoryOrder.NEWEST: Keyset((_MADE, _ID), descending=True),
    MemoryOrder.OLDEST: Keyset((_MADE, _ID)),
    MemoryOrder.IMPORTANCE: Keyset((("m.importance", "double precision"), _MADE, _ID), descending=True),
    MemoryOrder.USED: _MOST_USED,
}


class Which(StrEnum):
    """Which memories are recalled: all that are seen, those of others that are shared, or those deleted."""

    VISIBLE = "visible"
    SHARED = "shared"
    DELETED = "deleted"


# Shared ones may be of any namespace; for deleted ones $4 has no meaning, but needs a type.
_WHERE: Final = {
    Which.VISIBLE: f"{VISIBLE} AND m.namespace = $1",
    Which.SHARED: f"{VISIBLE} AND {IS_SHARED}",
    Which.DELETED: f"{OWNED} AND m.namespace = $1 AND m.deleted_at IS NOT NULL AND $4::text IS NOT NULL",
}
_GONE: Final = ("m.deleted_at", "timestamptz")
_DELETED_ORDERS: Final = {
    MemoryOrder.NEWEST: Keyset((_GONE, _ID), descending=True),
    MemoryOrder.OLDEST: Keyset((_GONE, _ID)),
}


@dataclass(frozen=True, slots=True)
class Recall:
    """Which memories to list, in which order."""

    filters: SearchFilters
    order: MemoryOrder = MemoryOrder.NEWEST
    which: Which = Which.VISIBLE

    @property
    def keyset(self) -> Keyset:
        """The order as SQL; deleted ones are ordered by when they were deleted."""
        return _DELETED_ORDERS[self.order] if self.which is Which.DELETED else _ORDERS[self.order]


class MemoryRepository:
    """The memories that one reader may see, through one connection."""

    def __init__(self, connection: Connection, reader: Reader) -> None:
        self._connection = connection
        self._reader = reader

    async def get(self, memory_id: UUID) -> Memory | None:
        """Return the memory, or None."""
        row = await self._connection.fetchrow(_GET, *self._reader.values, memory_id)
        return None if row is None else _memory(row)

    async def owns(self, memory_id: UUID) -> bool:
        """Whether the reader may change the memory, or could while it was not deleted."""
        return await self._connection.fetchval(_OWNS, *self._reader.owning, memory_id)

    async def fetch(self, ids: Sequence[UUID]) -> dict[UUID, dict[str, Any]]:
        """Return those of the memories that exist, as the fields of a Memory."""
        rows = await self._connection.fetch(_FETCH, *self._reader.values, list(ids))
        return {row["id"]: dict(row) for row in rows}

    async def knows(self, draft: Draft) -> bool:
        """Whether the content is remembered already."""
        return await self._connection.fetchval(_KNOWN, *draft.key)

    async def insert(self, memory_id: UUID, draft: Draft, index: Index) -> Memory | None:
        """Add a memory, findable by its words and vectors, and return it; None when its content is known."""
        s, embedded = draft.state, index.embedded
        row = await self._connection.fetchrow(
            _INSERT, memory_id, self._reader.namespace, draft.collection, s.content, s.hash,
            embedded and embedded.model, s.metadata, s.importance, s.persona_id, s.tags, s.session_id, s.occurred_at,
            s.tier, s.visibility, s.expires_at, draft.source, TERMS_VERSION, index.words,
            embedded.vectors if embedded else [],
        )  # fmt: skip
        return None if row is None else _memory(row)

    async def repeat(self, draft: Draft, author: Author) -> Memory | None:
        """Count another store of a known content and return the memory; None when it is not known."""
        s = draft.state
        row = await self._connection.fetchrow(
            _REPEAT, *draft.key, s.importance, s.tags, s.tier, s.expires_at, author.subject, author.persona
        )
        return None if row is None else _memory(row)

    async def list_page(self, wanted: Recall, after: list[str] | None, limit: int) -> list[tuple[Memory, list[str]]]:
        """Return up to `limit` memories after a position, each with its own position."""
        keyset = wanted.keyset
        where = Conditions(*self._reader.values)
        add_filters(where, wanted.filters)
        where.add_given(keyset.beyond("{}"), after)
        where.values.append(limit)
        source = FROM.replace("LEFT JOIN memory_uses", "JOIN memory_uses") if keyset is _MOST_USED else FROM
        sql = f"""SELECT {VIEW}, {keyset.position} AS position FROM {source}
            WHERE {_WHERE[wanted.which]} {where.sql()}
            ORDER BY {keyset.order_by} LIMIT ${len(where.values)}"""  # noqa: S608 -- fragments of this file, values are bound
        rows = [dict(row) for row in await self._connection.fetch(sql, *where.values)]
        return [(Memory.model_validate(row), position) for row in rows for position in [row.pop("position")]]


def _memory(row: Row) -> Memory:
    return Memory.model_validate(dict(row))
