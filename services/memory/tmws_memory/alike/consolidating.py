"""Making near duplicates one, on request only: shown first, then done in one transaction, and taken back exactly."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from time import monotonic
from typing import Final
from uuid import UUID

from tmws_contracts.common import FieldProblem, Page
from tmws_contracts.memory import MAX_TAGS, Tier
from tmws_contracts.memory_bulk import (
    Consolidation,
    ConsolidationRequest,
    ConsolidationResult,
    KeptState,
    RemovedMemory,
)
from tmws_memory.alike.clusters import worth
from tmws_memory.alike.consolidations import ConsolidationRepository, consolidation_of
from tmws_memory.drafts import Drafts
from tmws_memory.errors import ChangedSince, ConsolidationNotFound, MemoryNotFound
from tmws_memory.history import Author
from tmws_memory.indexing import Index
from tmws_memory.revisions import ContentTaken, Locked, Revisions
from tmws_memory.visibility import reader_for
from tmws_shared.auth import Principal
from tmws_shared.database import Connection, Database, Row
from tmws_shared.idempotency import Attempt, Reply, do_once
from tmws_shared.pagination import Cursors
from tmws_shared.problems import InvalidRequest, Unavailable
from tmws_shared.replies import reply

ATTEMPTS: Final = 3
# What is not embedded by then is found by its words, until the worker has done it.
EMBED_WITHIN_S: Final = 8.0
_MOST_STORES: Final = 2**31 - 1


@dataclass(frozen=True, slots=True)
class _Choice:
    """A cluster, and where in the request it stands."""

    pointer: str
    ids: Sequence[UUID]
    keep: UUID | None


class Consolidator:
    """Makes memories one for callers that own them."""

    def __init__(self, database: Database, drafts: Drafts, cursors: Cursors) -> None:
        self._database = database
        self._drafts = drafts
        self._cursors = cursors

    async def consolidate(self, caller: Principal, request: ConsolidationRequest, attempt: Attempt) -> Reply:
        """Return what would be done, and unless it is a dry run, do it: all of it or nothing.

        Raises:
            Forbidden: it is no dry run, and the caller may not delete memories.
            MemoryNotFound: one of the memories is not there, or not the caller's.
            InvalidRequest: a memory is in two clusters, or those of one are not seen by the same.
        """
        if not request.dry_run:
            caller.allow("memory:delete")
        choices = _choices(request)
        return await do_once(self._database, attempt, lambda c: _consolidate(c, caller, choices, request.dry_run))

    async def list_page(self, caller: Principal, cursor: str | None, limit: int) -> Page[Consolidation]:
        """Return a page of what was consolidated, newest first.

        Raises:
            MalformedRequest: the cursor belongs to another list.
        """
        reader = reader_for(caller)
        context = {"list": "consolidations", "reader": reader}
        position = self._cursors.decode(cursor, **context)
        after = None
        async with self._database.connection() as connection:
            consolidations = _consolidations(connection, caller)
            if position is not None:
                row = await consolidations.get(UUID(position[0]))
                after = None if row is None else (row["created_at"], row["id"])
            found = await consolidations.list_page(after, limit + 1)
        return self._cursors.page([(item, [str(item.id)]) for item in found], limit, **context)

    async def undo(self, caller: Principal, consolidation_id: UUID, attempt: Attempt) -> Reply:
        """Bring everything back as it was; what is undone already stays as it is.

        Raises:
            ConsolidationNotFound: there is none that the caller may undo.
            ChangedSince: a memory of it has been changed, erased, or stored again since.
        """
        for _ in range(ATTEMPTS):
            indexes = await self._index(caller, consolidation_id)
            try:
                return await do_once(
                    self._database, attempt, lambda c, i=indexes: _undo(c, caller, consolidation_id, i)
                )
            except ContentTaken:
                # The next attempt sees the other one, and names it.
                continue
        raise Unavailable("The memories are being changed by others all the time.")

    async def _index(self, caller: Principal, consolidation_id: UUID) -> dict[UUID, Index]:
        """What will find the removed memories again; outside of the transaction, since embedding takes time."""
        async with self._database.transaction() as connection:
            row = await _consolidations(connection, caller).get(consolidation_id)
            if row is None:
                raise ConsolidationNotFound
            revisions = _revisions(connection, caller)
            removed = consolidation_of(row).removed
            found = [await revisions.lock(each.id, even_deleted=True) for each in removed]
        memories = [memory for memory in found if memory is not None]
        passages = [memory.state.passage for memory in memories]
        indexes = await self._drafts.index_many(caller, passages, monotonic() + EMBED_WITHIN_S)
        return {memory.id: index for memory, index in zip(memories, indexes, strict=True)}


def _choices(request: ConsolidationRequest) -> list[_Choice]:
    return [
        _Choice("" if request.clusters is None else f"/clusters/{place}", choice.memory_ids, choice.keep)
        for place, choice in enumerate(request.choices)
    ]


async def _consolidate(
    connection: Connection, caller: Principal, choices: Sequence[_Choice], is_dry_run: bool
) -> Reply:
    consolidations = _consolidations(connection, caller)
    _refuse_repeated(choices)
    memories = await consolidations.lock_memories([memory_id for choice in choices for memory_id in choice.ids])
    _refuse_missing(choices, memories)
    plans = [_plan(choice, [memories[memory_id] for memory_id in choice.ids]) for choice in choices]
    if not is_dry_run:
        plans = [await consolidations.apply(plan, memories) for plan in plans]
    return reply(ConsolidationResult(dry_run=is_dry_run, consolidations=plans), 200 if is_dry_run else 201)


def _refuse_repeated(choices: Sequence[_Choice]) -> None:
    seen: set[UUID] = set()
    for choice in choices:
        for place, memory_id in enumerate(choice.ids):
            if memory_id in seen:
                raise InvalidRequest.of(f"{choice.pointer}/memory_ids/{place}", "must not be in two clusters")
            seen.add(memory_id)


def _refuse_missing(choices: Sequence[_Choice], memories: Mapping[UUID, Row]) -> None:
    detail = "must be a memory that you may change"
    errors = [
        FieldProblem(pointer=f"{choice.pointer}/memory_ids/{place}", detail=detail)
        for choice in choices
        for place, memory_id in enumerate(choice.ids)
        if memory_id not in memories
    ]
    if errors:
        raise MemoryNotFound(f"{errors[0].pointer}: {detail}", errors=errors)


def _plan(choice: _Choice, rows: Sequence[Row]) -> Consolidation:
    if len({row["collection"] for row in rows}) > 1:
        raise InvalidRequest.of(f"{choice.pointer}/memory_ids", "must be memories that are visible to the same")
    kept = max(rows, key=worth) if choice.keep is None else next(row for row in rows if row["id"] == choice.keep)
    removed = [row for row in rows if row["id"] != kept["id"]]
    return Consolidation(
        id=None,
        keep=kept["id"],
        before=_state(kept),
        after=_united(kept, removed),
        removed=[RemovedMemory(id=row["id"], version=row["version"]) for row in removed],
        created_at=None,
        created_by=None,
        undone_at=None,
        undone_by=None,
    )


def _state(row: Row) -> KeptState:
    return KeptState.model_validate({name: row[name] for name in KeptState.model_fields})


def _united(kept: Row, removed: Sequence[Row]) -> KeptState:
    """What the kept memory becomes: with the tags of all, as important and as long-lived as any of them."""
    rows = [kept, *removed]
    expiries = [row["expires_at"] for row in rows]
    is_lasting = any(row["tier"] == Tier.LONG_TERM for row in rows)
    tags = dict.fromkeys(tag for row in rows for tag in row["tags"])
    return KeptState(
        tags=list(tags)[: max(MAX_TAGS, len(kept["tags"]))],
        importance=max(row["importance"] for row in rows),
        store_count=min(_MOST_STORES, sum(row["store_count"] for row in rows)),
        tier=Tier.LONG_TERM if is_lasting else Tier.SHORT_TERM,
        expires_at=None if is_lasting or None in expiries else max(expiries),
    )


async def _undo(
    connection: Connection, caller: Principal, consolidation_id: UUID, indexes: Mapping[UUID, Index]
) -> Reply:
    consolidations, revisions = _consolidations(connection, caller), _revisions(connection, caller)
    row = await consolidations.get(consolidation_id, for_update=True)
    if row is None:
        raise ConsolidationNotFound
    done = consolidation_of(row)
    if done.undone_at is None:
        await _refuse_changed(revisions, row, done, indexes)
        for removed in done.removed:
            memory = await revisions.lock(removed.id, even_deleted=True)
            assert memory is not None  # noqa: S101 -- found a moment ago, and locked since
            await revisions.restore(memory, memory.state, indexes[removed.id])
        await consolidations.separate(done)
    undone = await consolidations.get(consolidation_id)
    assert undone is not None  # noqa: S101 -- its row is locked
    return reply(consolidation_of(undone))


async def _refuse_changed(revisions: Revisions, row: Row, done: Consolidation, indexes: Mapping[UUID, Index]) -> None:
    changed: dict[UUID, str] = {}
    kept = await revisions.lock(done.keep, even_deleted=True)
    if kept is None or kept.deleted_at is not None:
        changed[done.keep] = "was deleted"
    elif kept.version != row["kept_version"]:
        changed[done.keep] = "was changed"
    for removed in done.removed:
        memory = await revisions.lock(removed.id, even_deleted=True)
        if why := await _what_happened(revisions, removed, memory, is_indexed=removed.id in indexes):
            changed[removed.id] = why
    if changed:
        raise ChangedSince(changed)


async def _what_happened(
    revisions: Revisions, removed: RemovedMemory, memory: Locked | None, *, is_indexed: bool
) -> str | None:
    if memory is None or not is_indexed:
        return "was erased"
    if memory.deleted_at is None or memory.version != removed.version + 1:
        return "was restored or changed"
    same = await revisions.find_same(memory, memory.collection, memory.state.hash)
    if same is not None:
        return f"was stored again as {same.id}" if same.is_seen else "was stored again"
    return None


def _consolidations(connection: Connection, caller: Principal) -> ConsolidationRepository:
    return ConsolidationRepository(connection, reader_for(caller), Author.of(caller))


def _revisions(connection: Connection, caller: Principal) -> Revisions:
    return Revisions(connection, reader_for(caller), Author.of(caller))
