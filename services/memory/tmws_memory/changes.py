"""Changing what is remembered: patch, delete, restore, history. Every change is a version."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import NoReturn, TypeVar
from uuid import UUID

from tmws_contracts.common import Page
from tmws_contracts.memory import Memory, Visibility
from tmws_contracts.memory_changes import MemoryChange, MemoryVersion
from tmws_memory.drafts import Drafts
from tmws_memory.errors import ContentKnown, MemoryNotFound, OnlyShared
from tmws_memory.history import NEWEST, Author, read_page
from tmws_memory.indexing import Index
from tmws_memory.repository import MemoryRepository
from tmws_memory.revisions import ContentTaken, Locked, Revisions
from tmws_memory.service import location_of
from tmws_memory.settings import MemorySettings
from tmws_memory.state import Passage, State, apply
from tmws_memory.visibility import check_persona, owner_of, reader_for
from tmws_shared.auth import Principal
from tmws_shared.clock import now
from tmws_shared.database import Connection, Database
from tmws_shared.idempotency import Attempt, Reply, do_once
from tmws_shared.pagination import Cursors
from tmws_shared.problems import Unavailable
from tmws_shared.replies import match_version, reply

ATTEMPTS = 5
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class _Target:
    """What must be known before a change is written: the text to index, and whose it becomes (None: as it is)."""

    passage: Passage
    owner: str | None


@dataclass(frozen=True, slots=True)
class _Prepared:
    """A target with its index, and the number of the new owner's collection."""

    target: _Target
    index: Index
    collection: int | None


class _Unprepared(Exception):
    """The change needs an index that is not there yet; nothing was written."""

    def __init__(self, target: _Target) -> None:
        super().__init__("not prepared")
        self.target = target


class MemoryChanges:
    """Changes memories for callers that own them."""

    def __init__(self, database: Database, drafts: Drafts, cursors: Cursors, settings: MemorySettings) -> None:
        self._database = database
        self._drafts = drafts
        self._cursors = cursors
        self._kept_for = timedelta(days=settings.memory_deleted_days)

    async def change(self, caller: Principal, memory_id: UUID, change: MemoryChange, if_match: str | None) -> Memory:
        """Set the fields that the change was given.

        Raises:
            MemoryNotFound: there is none that the caller may see.
            OnlyShared: it is another namespace's or persona's.
            PreconditionFailed: it is not the version that `if_match` names.
            ForeignPersona: it would become another persona's.
            ContentKnown: another memory has that content.
        """

        async def work(prepared: _Prepared | None) -> Memory:
            async with self._database.transaction() as connection:
                memory = await lock_owned(connection, caller, memory_id)
                match_version(if_match, memory.version)
                await self._change(connection, caller, memory, change, prepared)
                return await _view(connection, caller, memory_id)

        return await self._prepared_as_needed(caller, work)

    async def delete(self, caller: Principal, memory_id: UUID, if_match: str | None, *, purge: bool) -> None:
        """Hide a memory for the purge to take later, or erase it at once; a hidden one can still be erased.

        Raises:
            MemoryNotFound: there is none that the caller may see.
            OnlyShared: it is another namespace's or persona's.
            PreconditionFailed: it is not the version that `if_match` names.
        """
        async with self._database.transaction() as connection:
            memory = await lock_owned(connection, caller, memory_id, even_deleted=purge)
            match_version(if_match, memory.version)
            revisions = _revisions(connection, caller)
            if purge:
                await revisions.erase(memory, location_of(memory_id))
            else:
                await revisions.soft_delete(memory)

    async def restore(self, caller: Principal, memory_id: UUID, attempt: Attempt, if_match: str | None) -> Reply:
        """Bring a deleted or expired memory back; one that is there stays as it is.

        Raises:
            MemoryNotFound: there is none that the caller may restore.
            OnlyShared: it is another namespace's or persona's.
            PreconditionFailed: it is not the version that `if_match` names.
            ContentKnown: the same content was stored again meanwhile.
        """

        async def restore_once(connection: Connection, prepared: _Prepared | None) -> Reply:
            memory = await lock_owned(connection, caller, memory_id, even_deleted=True)
            if memory.deleted_at is not None and memory.deleted_at <= now() - self._kept_for:
                raise MemoryNotFound
            match_version(if_match, memory.version)
            if _is_gone(memory, now()):
                await self._restore(connection, caller, memory, prepared)
            return reply(await _view(connection, caller, memory_id), location=location_of(memory_id))

        async def work(prepared: _Prepared | None) -> Reply:
            return await do_once(self._database, attempt, lambda connection: restore_once(connection, prepared))

        return await self._prepared_as_needed(caller, work)

    async def history(self, caller: Principal, memory_id: UUID, cursor: str | None, limit: int) -> Page[MemoryVersion]:
        """Return a page of a memory's versions, newest first; also of a deleted one.

        Raises:
            MemoryNotFound: there is none that the caller may see.
            OnlyShared: it is another namespace's or persona's.
        """
        context = {"list": "history", "reader": reader_for(caller), "memory": memory_id}
        position = self._cursors.decode(cursor, **context)
        async with self._database.connection() as connection:
            await need_owned(connection, caller, memory_id)
            before = position[0] if position else NEWEST
            found = await read_page(connection, memory_id, Author.of(caller), before, limit + 1)
        return self._cursors.page([(version, [version.version]) for version in found], limit, **context)

    async def _change(
        self,
        connection: Connection,
        caller: Principal,
        memory: Locked,
        change: MemoryChange,
        prepared: _Prepared | None,
    ) -> None:
        before = memory.state
        after = apply(change, before, now(), self._drafts.short_life)
        if after == before:
            return
        _check_rights(caller, before, after)
        target = _Target(after.passage, _new_owner(caller, before, after))
        must_index = target.passage != before.passage or target.owner is not None
        if must_index and (prepared is None or prepared.target != target):
            raise _Unprepared(target)
        ready = prepared if must_index else None
        collection = ready.collection if ready and ready.collection is not None else memory.collection
        revisions = _revisions(connection, caller)
        await _refuse_same(revisions, memory, collection, after)
        await revisions.change(memory, after, collection, ready.index if ready else None)

    async def _restore(
        self, connection: Connection, caller: Principal, memory: Locked, prepared: _Prepared | None
    ) -> None:
        after = memory.state
        if after.expires_at is not None and after.expires_at <= now():
            after = replace(after, expires_at=now() + self._drafts.short_life)
        target = _Target(after.passage, None)
        if prepared is None or prepared.target != target:
            raise _Unprepared(target)
        revisions = _revisions(connection, caller)
        await _refuse_same(revisions, memory, memory.collection, after)
        await revisions.restore(memory, after, prepared.index)

    async def _prepared_as_needed(
        self, caller: Principal, work: Callable[[_Prepared | None], Awaitable[Result]]
    ) -> Result:
        """Work in a transaction; what it lacks is prepared outside of one, then it starts again."""
        prepared: _Prepared | None = None
        for _ in range(ATTEMPTS):
            try:
                return await work(prepared)
            except _Unprepared as lacking:
                prepared = await self._prepare(caller, lacking.target)
            except ContentTaken:
                # The next attempt sees the other one, and can say so.
                continue
        raise Unavailable("The memory is being changed by others all the time.")

    async def _prepare(self, caller: Principal, target: _Target) -> _Prepared:
        collection = None if target.owner is None else await self._drafts.collection(caller, target.owner)
        return _Prepared(target, await self._drafts.index(caller, target.passage), collection)


async def lock_owned(
    connection: Connection, caller: Principal, memory_id: UUID, *, even_deleted: bool = False
) -> Locked:
    """Lock a memory that the caller may change until the transaction ends.

    Raises:
        MemoryNotFound: there is none that the caller may see.
        OnlyShared: it is another namespace's or persona's.
    """
    memory = await _revisions(connection, caller).lock(memory_id, even_deleted=even_deleted)
    if memory is None:
        await _refuse(connection, caller, memory_id)
    return memory


async def need_owned(connection: Connection, caller: Principal, memory_id: UUID) -> None:
    """Return when the caller owns a memory, be it deleted.

    Raises:
        MemoryNotFound: there is none that the caller may see.
        OnlyShared: it is another namespace's or persona's.
    """
    if not await MemoryRepository(connection, reader_for(caller)).owns(memory_id):
        await _refuse(connection, caller, memory_id)


async def _refuse(connection: Connection, caller: Principal, memory_id: UUID) -> NoReturn:
    if await MemoryRepository(connection, reader_for(caller)).get(memory_id) is not None:
        raise OnlyShared
    raise MemoryNotFound


async def _view(connection: Connection, caller: Principal, memory_id: UUID) -> Memory:
    memory = await MemoryRepository(connection, reader_for(caller)).get(memory_id)
    if memory is None:
        raise MemoryNotFound
    return memory


async def _refuse_same(revisions: Revisions, memory: Locked, collection: int, after: State) -> None:
    same = await revisions.find_same(memory, collection, after.hash)
    if same is not None:
        raise ContentKnown(same.id if same.is_seen else None)


def _revisions(connection: Connection, caller: Principal) -> Revisions:
    return Revisions(connection, reader_for(caller), Author.of(caller))


def _is_gone(memory: Locked, at: datetime) -> bool:
    ends = memory.state.expires_at
    return memory.deleted_at is not None or (ends is not None and ends <= at)


def _new_owner(caller: Principal, before: State, after: State) -> str | None:
    """Whose the memory becomes; None when it stays whose it is."""
    is_private = Visibility.PRIVATE in (before.visibility, after.visibility)
    if not is_private or (before.visibility, before.persona_id) == (after.visibility, after.persona_id):
        return None
    return owner_of(caller, after.visibility, after.persona_id)


def _check_rights(caller: Principal, before: State, after: State) -> None:
    """What takes a memory away from others, now or later, needs the right to delete it."""
    if after.persona_id != before.persona_id:
        check_persona(caller, after.persona_id)
    hides = before.visibility is Visibility.NAMESPACE and after.visibility is Visibility.PRIVATE
    if hides or (after.expires_at is not None and (before.expires_at is None or after.expires_at < before.expires_at)):
        caller.allow("memory:delete")
