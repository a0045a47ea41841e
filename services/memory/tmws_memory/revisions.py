"""SQL of changing one memory: it is locked, changed, indexed anew where need be, and the change is recorded."""

# asyncpg has no type stubs; this file knows one of its errors.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any, Final
from uuid import UUID

import asyncpg

from tmws_contracts.memory import Tier, Visibility
from tmws_contracts.memory_changes import FieldChange, MemoryAction
from tmws_memory.history import Author, record
from tmws_memory.indexing import TERMS_VERSION, Index, add_words, forget, new_number, replace_vectors
from tmws_memory.state import State, differences
from tmws_memory.visibility import LIVE, OWNED, Reader
from tmws_shared.database import Connection, Row

_LOCK: Final = f"""
    SELECT m.id, m.number, m.version, m.collection, m.deleted_at, m.content, m.importance, m.metadata, m.persona_id,
           m.tags, m.session_id, m.occurred_at, m.tier::text, m.expires_at, m.visibility::text
    FROM memories m WHERE {OWNED} AND m.id = $4 AND ($5::boolean OR {LIVE}) FOR UPDATE OF m
"""  # noqa: S608 -- our own fragments
_SAME: Final = """
    SELECT id, expires_at > now() IS NOT FALSE AS is_seen FROM memories
    WHERE collection = $1 AND content_hash = $2 AND deleted_at IS NULL AND id <> $3
"""
_CHANGE: Final = """
    UPDATE memories SET content = $2, content_hash = $3, importance = $4, metadata = $5, persona_id = $6, tags = $7,
        session_id = $8, occurred_at = $9, tier = $10::text::memory_tier, expires_at = $11,
        visibility = $12::text::memory_visibility, collection = $13, deleted_at = NULL,
        version = version + 1, updated_at = now()
    WHERE id = $1
"""
_INDEXED: Final = "UPDATE memories SET model = $2, terms_version = $3 WHERE id = $1"
_TOUCH: Final = "UPDATE memories SET version = version + 1, updated_at = now() WHERE id = $1"
_SOFT_DELETE: Final = """
    UPDATE memories SET deleted_at = now(), version = version + 1, updated_at = now(), model = NULL WHERE id = $1
"""
# The kept answers show the memory, or what is below it ('0' comes right after '/').
_ERASE: Final = """
    WITH gone AS (DELETE FROM memories WHERE id = $1)
    DELETE FROM idempotency_keys WHERE (headers ->> 'Location') COLLATE "C" = $2
        OR ((headers ->> 'Location') COLLATE "C" >= $2 || '/' AND (headers ->> 'Location') COLLATE "C" < $2 || '0')
"""


class ContentTaken(Exception):
    """Another memory with the same content has come in between."""


@dataclass(frozen=True, slots=True)
class Same:
    """Another memory with the same content; whether the caller sees it, or it has expired."""

    id: UUID
    is_seen: bool


@dataclass(frozen=True, slots=True)
class Locked:
    """A memory that nobody else can change until the transaction ends."""

    id: UUID
    number: int
    version: int
    collection: int
    deleted_at: datetime | None
    state: State


class Revisions:
    """Changes the memories that one reader may change, through one connection."""

    def __init__(self, connection: Connection, reader: Reader, author: Author) -> None:
        self._connection = connection
        self._reader = reader
        self._author = author

    async def lock(self, memory_id: UUID, *, even_deleted: bool = False) -> Locked | None:
        """Lock a memory that the reader may change until the transaction ends, or return None."""
        row = await self._connection.fetchrow(_LOCK, *self._reader.owning, memory_id, even_deleted)
        return None if row is None else _locked(row)

    async def find_same(self, memory: Locked, collection: int, content_hash: bytes) -> Same | None:
        """Return the other memory of a collection that has this content, if there is one."""
        row = await self._connection.fetchrow(_SAME, collection, content_hash, memory.id)
        return None if row is None else Same(row["id"], row["is_seen"])

    async def change(self, memory: Locked, after: State, collection: int, index: Index | None) -> None:
        """Set the state of a memory and index it anew, if there is an index.

        Raises:
            ContentTaken: another one got the same content first; the transaction is lost.
        """
        await self._set(memory, after, collection, index)
        await self._record(memory, MemoryAction.CHANGED, differences(memory.state, after))

    async def restore(self, memory: Locked, after: State, index: Index) -> None:
        """Bring a deleted memory back and index it.

        Raises:
            ContentTaken: another one got the same content first; the transaction is lost.
        """
        await self._set(memory, after, memory.collection, index)
        await self._record(memory, MemoryAction.RESTORED, differences(memory.state, after))

    async def soft_delete(self, memory: Locked) -> None:
        """Hide the memory and find it no more; the purge takes it later."""
        await self._connection.execute(_SOFT_DELETE, memory.id)
        await forget(self._connection, [memory.number])
        await self._record(memory, MemoryAction.DELETED)

    async def erase(self, memory: Locked, location: str) -> None:
        """Delete the memory, what finds it, its history and shares, and the kept answers that show it."""
        await self._connection.execute(_ERASE, memory.id, location)
        await forget(self._connection, [memory.number])

    async def note(self, memory: Locked, action: MemoryAction, changes: Mapping[str, FieldChange]) -> None:
        """Make a version of something that is not a field of the memory."""
        await self._connection.execute(_TOUCH, memory.id)
        await self._record(memory, action, changes)

    async def _set(self, memory: Locked, after: State, collection: int, index: Index | None) -> None:
        a = after
        try:
            await self._connection.execute(
                _CHANGE, memory.id, a.content, a.hash, a.importance, a.metadata, a.persona_id, a.tags, a.session_id,
                a.occurred_at, a.tier, a.expires_at, a.visibility, collection,
            )  # fmt: skip
        except asyncpg.UniqueViolationError as error:
            raise ContentTaken from error
        if index is not None:
            await self._index(memory, collection, index)

    async def _index(self, memory: Locked, collection: int, index: Index) -> None:
        await forget(self._connection, [memory.number])
        number = await new_number(self._connection, memory.id)
        await add_words(self._connection, collection, number, index.words)
        if index.embedded is not None:
            await replace_vectors(self._connection, collection, number, index.embedded)
        model = index.embedded.model if index.embedded else None
        await self._connection.execute(_INDEXED, memory.id, model, TERMS_VERSION)

    async def _record(
        self, memory: Locked, action: MemoryAction, changes: Mapping[str, FieldChange] | None = None
    ) -> None:
        await record(self._connection, [memory.id], action, self._author, changes)


def _locked(row: Row) -> Locked:
    values: dict[str, Any] = {field.name: row[field.name] for field in fields(State)}
    values |= {"tier": Tier(row["tier"]), "visibility": Visibility(row["visibility"])}
    return Locked(row["id"], row["number"], row["version"], row["collection"], row["deleted_at"], State(**values))
