"""SQL of making some memories one, and of taking that back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from tmws_contracts.memory_bulk import Consolidation, KeptState, RemovedMemory
from tmws_contracts.memory_changes import FieldChange, MemoryAction
from tmws_memory.history import Author, moved, record
from tmws_memory.indexing import forget
from tmws_memory.visibility import LIVE, MINE, OWNED, Reader
from tmws_shared.clock import new_id
from tmws_shared.database import Connection, Row

# In one order, so that two who name the same memories wait for each other.
_LOCK: Final = f"""
    SELECT m.id, m.number, m.version, m.collection, m.importance, m.store_count, m.tags, m.tier::text, m.expires_at,
           octet_length(m.content) AS size, m.created_at
    FROM memories m WHERE {OWNED} AND {LIVE} AND m.id = ANY($4::uuid[]) ORDER BY m.id FOR UPDATE OF m
"""  # noqa: S608 -- our own fragments
_SET: Final = """
    UPDATE memories SET tags = $2, importance = $3, store_count = $4, tier = $5::text::memory_tier, expires_at = $6,
        version = version + 1, updated_at = now()
    WHERE id = $1 RETURNING version
"""
_REMOVE: Final = """
    UPDATE memories SET deleted_at = now(), version = version + 1, updated_at = now(), model = NULL
    WHERE id = ANY($1::uuid[])
"""
_ADD: Final = """
    INSERT INTO memory_consolidations (id, collection, kept, kept_version, before, after, created_by)
    VALUES ($1, $2, $3, $4, $5, $6, $7) RETURNING created_at
"""
_ADD_REMOVED: Final = """
    INSERT INTO memory_consolidated (consolidation, memory_id, version)
    SELECT $1, * FROM unnest($2::uuid[], $3::integer[])
"""
_VIEW: Final = f"""
    SELECT o.id, o.collection, o.kept, o.kept_version, o.before, o.after, o.created_at, o.created_by, o.undone_at,
           o.undone_by, (SELECT array_agg(r.memory_id ORDER BY r.memory_id) FROM memory_consolidated r
                         WHERE r.consolidation = o.id) AS removed_ids,
           (SELECT array_agg(r.version ORDER BY r.memory_id) FROM memory_consolidated r
            WHERE r.consolidation = o.id) AS removed_versions
    FROM memory_consolidations o
    WHERE o.collection = ANY(ARRAY(SELECT c.id FROM memory_collections c WHERE {MINE}))
"""  # noqa: S608 -- our own fragments
_GET: Final = f"{_VIEW} AND o.id = $4"
_GET_LOCKED: Final = f"{_GET} FOR UPDATE OF o"
_PAGE: Final = f"""{_VIEW} AND ($4::timestamptz IS NULL OR (o.created_at, o.id) < ($4, $5::uuid))
    ORDER BY o.created_at DESC, o.id DESC LIMIT $6"""
_UNDONE: Final = "UPDATE memory_consolidations SET undone_at = now(), undone_by = $2 WHERE id = $1"


class ConsolidationRepository:
    """The consolidations among the memories that one reader owns, through one connection."""

    def __init__(self, connection: Connection, reader: Reader, author: Author) -> None:
        self._connection = connection
        self._reader = reader
        self._author = author

    async def lock_memories(self, ids: Sequence[UUID]) -> dict[UUID, Row]:
        """Lock those of the memories that the reader may change, until the transaction ends."""
        rows = await self._connection.fetch(_LOCK, *self._reader.owning, list(ids))
        return {row["id"]: row for row in rows}

    async def apply(self, plan: Consolidation, memories: Mapping[UUID, Row]) -> Consolidation:
        """Make locked memories one, as planned."""
        kept, removed = memories[plan.keep], [memories[each.id] for each in plan.removed]
        version = await self._set(plan.keep, plan.after)
        ids = [row["id"] for row in removed]
        changes = {**differences(plan.before, plan.after), "memories": moved([str(plan.keep)], _named(plan.keep, ids))}
        await record(self._connection, [plan.keep], MemoryAction.CONSOLIDATED, self._author, changes)
        await self._connection.execute(_REMOVE, ids)
        await forget(self._connection, [row["number"] for row in removed])
        into = {"consolidated_into": moved(None, str(plan.keep))}
        await record(self._connection, ids, MemoryAction.DELETED, self._author, into)
        return await self._add(plan, kept["collection"], version)

    async def get(self, consolidation_id: UUID, *, for_update: bool = False) -> Row | None:
        """Return a consolidation, or None."""
        statement = _GET_LOCKED if for_update else _GET
        return await self._connection.fetchrow(statement, *self._reader.owning, consolidation_id)

    async def list_page(self, after: tuple[datetime, UUID] | None, limit: int) -> list[Consolidation]:
        """Return up to `limit` consolidations after a position, newest first."""
        rows = await self._connection.fetch(_PAGE, *self._reader.owning, *(after or (None, None)), limit)
        return [consolidation_of(row) for row in rows]

    async def separate(self, done: Consolidation) -> None:
        """Give the kept memory back what it was, and note that the consolidation is undone."""
        await self._set(done.keep, done.before)
        ids = [each.id for each in done.removed]
        changes = {**differences(done.after, done.before), "memories": moved(_named(done.keep, ids), [str(done.keep)])}
        await record(self._connection, [done.keep], MemoryAction.SEPARATED, self._author, changes)
        await self._connection.execute(_UNDONE, done.id, self._author.subject)

    async def _set(self, memory_id: UUID, state: KeptState) -> int:
        s = state
        return await self._connection.fetchval(
            _SET, memory_id, s.tags, s.importance, s.store_count, s.tier.value, s.expires_at
        )

    async def _add(self, plan: Consolidation, collection: int, version: int) -> Consolidation:
        consolidation_id = new_id()
        created_at = await self._connection.fetchval(
            _ADD, consolidation_id, collection, plan.keep, version, _dumped(plan.before), _dumped(plan.after),
            self._author.subject,
        )  # fmt: skip
        ids, versions = [each.id for each in plan.removed], [each.version for each in plan.removed]
        await self._connection.execute(_ADD_REMOVED, consolidation_id, ids, versions)
        return plan.model_copy(
            update={"id": consolidation_id, "created_at": created_at, "created_by": self._author.subject}
        )


def differences(before: KeptState, after: KeptState) -> dict[str, FieldChange]:
    """Return what is different, by field."""
    old, new = _dumped(before), _dumped(after)
    return {name: moved(old[name], new[name]) for name in old if old[name] != new[name]}


def consolidation_of(row: Row) -> Consolidation:
    """Return a consolidation as the API shows it."""
    ids: list[UUID] = row["removed_ids"] or []
    versions: list[int] = row["removed_versions"] or []
    return Consolidation(
        id=row["id"],
        keep=row["kept"],
        before=KeptState.model_validate(row["before"]),
        after=KeptState.model_validate(row["after"]),
        removed=[
            RemovedMemory(id=memory_id, version=version) for memory_id, version in zip(ids, versions, strict=True)
        ],
        created_at=row["created_at"],
        created_by=row["created_by"],
        undone_at=row["undone_at"],
        undone_by=row["undone_by"],
    )


def _named(keep: UUID, removed: Sequence[UUID]) -> list[str]:
    return [str(memory_id) for memory_id in (keep, *removed)]


def _dumped(state: KeptState) -> dict[str, Any]:
    return state.model_dump(mode="json")
