"""What can be done with memories one by one: store, read, list."""

from __future__ import annotations

from uuid import UUID

from tmws_contracts.common import Page
from tmws_contracts.memory import Memory, MemoryStats, NewMemory, StoredMemory
from tmws_contracts.persona_figures import PersonaMemories
from tmws_memory.counts import count_for_persona, read_stats
from tmws_memory.drafts import Draft, Drafts
from tmws_memory.errors import MemoryNotFound
from tmws_memory.history import Author
from tmws_memory.indexing import Index
from tmws_memory.repository import MemoryRepository, Recall
from tmws_memory.visibility import reader_for
from tmws_shared.auth import Principal
from tmws_shared.clock import new_id
from tmws_shared.database import Connection, Database
from tmws_shared.idempotency import Attempt, Reply, do_once
from tmws_shared.pagination import Cursors
from tmws_shared.problems import Unavailable
from tmws_shared.replies import reply

STORE_ATTEMPTS = 3


class _Vanished(Exception):
    """The known content was deleted between looking and counting."""


class MemoryService:
    """The memories of all namespaces; a caller sees only those it may."""

    def __init__(self, database: Database, drafts: Drafts, cursors: Cursors) -> None:
        self._database = database
        self._drafts = drafts
        self._cursors = cursors

    async def store(self, caller: Principal, memory: NewMemory, attempt: Attempt) -> Reply:
        """Remember a content, or count that it was stored again.

        Raises:
            ForeignPersona: it would be another persona's.
        """
        draft = await self._drafts.draft(caller, memory)
        async with self._database.connection() as connection:
            is_known = await MemoryRepository(connection, reader_for(caller)).knows(draft)
        for _ in range(STORE_ATTEMPTS):
            index = None if is_known else await self._drafts.index(caller, draft.state.passage)
            try:
                return await self._store(caller, draft, index, attempt)
            except _Vanished:
                is_known = False
        raise Unavailable("The content is deleted as fast as it is stored.")

    async def _store(self, caller: Principal, draft: Draft, index: Index | None, attempt: Attempt) -> Reply:
        if attempt.key is not None:
            return await do_once(self._database, attempt, lambda connection: _write(connection, caller, draft, index))
        # Each of its statements is whole by itself, and beginning and ending are two round trips.
        async with self._database.connection() as connection:
            return await _write(connection, caller, draft, index)

    async def get(self, caller: Principal, memory_id: UUID) -> Memory:
        """Return a memory.

        Raises:
            MemoryNotFound: there is none that the caller may see.
        """
        async with self._database.connection() as connection:
            memory = await MemoryRepository(connection, reader_for(caller)).get(memory_id)
        if memory is None:
            raise MemoryNotFound
        return memory

    async def recall(self, caller: Principal, wanted: Recall, cursor: str | None, limit: int) -> Page[Memory]:
        """Return a page of memories by criteria.

        Raises:
            MalformedRequest: the cursor belongs to another list.
        """
        reader = reader_for(caller)
        filters = wanted.filters.model_dump()
        context = {"list": wanted.which, "reader": reader, "filters": filters, "order": wanted.order}
        after = self._cursors.decode(cursor, **context)
        async with self._database.connection() as connection:
            found = await MemoryRepository(connection, reader).list_page(wanted, after, limit + 1)
        return self._cursors.page(found, limit, **context)

    async def stats(self, caller: Principal) -> MemoryStats:
        """Count the namespace's memories, as far as the caller may see them."""
        async with self._database.connection() as connection:
            return await read_stats(connection, reader_for(caller))

    async def stats_of_persona(self, caller: Principal, persona_id: str) -> PersonaMemories:
        """Count a persona's memories, as far as the caller may see them."""
        async with self._database.connection() as connection:
            return await count_for_persona(connection, reader_for(caller), persona_id)


def location_of(memory_id: UUID) -> str:
    """Return the path of a memory."""
    return f"/api/v1/memory/{memory_id}"


async def _write(connection: Connection, caller: Principal, draft: Draft, index: Index | None) -> Reply:
    memories = MemoryRepository(connection, reader_for(caller))
    if index is not None:
        memory = await memories.insert(new_id(), draft, index)
        if memory is not None:
            return _stored(memory, 201, is_known=False)
    memory = await memories.repeat(draft, Author.of(caller))
    if memory is None:
        raise _Vanished
    return _stored(memory, 200, is_known=True)


def _stored(memory: Memory, status: int, *, is_known: bool) -> Reply:
    answer = StoredMemory.model_construct(**dict(memory), deduplicated=is_known)
    return reply(answer, status, location=location_of(memory.id))
