"""Storing many memories at once: each item is kept or refused by itself, in chunks of one transaction each."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from time import monotonic
from typing import Final, TypeAlias

from tmws_contracts.common import Problem
from tmws_contracts.memory import NewMemory
from tmws_contracts.memory_changes import NewMemories, RefusedItem, StoredItem, StoredMemories
from tmws_memory.batch import Key, Newcomer, insert_all, known
from tmws_memory.drafts import Draft, Drafts
from tmws_memory.errors import ForeignPersona
from tmws_memory.history import Author
from tmws_memory.indexing import Index
from tmws_memory.repository import MemoryRepository
from tmws_memory.visibility import reader_for
from tmws_shared.app import explain
from tmws_shared.auth import Principal
from tmws_shared.clock import new_id
from tmws_shared.database import Connection, Database
from tmws_shared.http import remaining_s
from tmws_shared.idempotency import Attempt, Reply, do_once
from tmws_shared.problems import InvalidRequest, ProblemError, Unavailable
from tmws_shared.replies import reply

CHUNK: Final = 200
# Of the time a request has left; what is not embedded by then is stored, and left to the worker.
EMBEDDING_SHARE: Final = 0.5
STORE_ATTEMPTS: Final = 3
_SHOWN_FAULTS: Final = 3

Place: TypeAlias = int


class _Vanished(Exception):
    """A known content was deleted between looking and counting."""


@dataclass(frozen=True, slots=True)
class _Chunk:
    """Some items in a row: drafts, or why they were refused, by their place in the batch."""

    drafts: Mapping[Place, Draft]
    refused: Mapping[Place, StoredItem]

    @property
    def contents(self) -> dict[Key, Draft]:
        """The first draft of each content."""
        first: dict[Key, Draft] = {}
        for draft in self.drafts.values():
            first.setdefault(draft.key, draft)
        return first


class Batches:
    """Stores batches."""

    def __init__(self, database: Database, drafts: Drafts) -> None:
        self._database = database
        self._drafts = drafts

    async def store(self, caller: Principal, batch: NewMemories, attempt: Attempt) -> Reply:
        """Remember the items that are memories, in their order, and say what became of each.

        Every chunk is one transaction, and is kept under the caller's key by itself: a retry stores only what the
        first request did not come to.
        """
        until = monotonic() + EMBEDDING_SHARE * remaining_s()
        chunks = [await self._chunk(caller, batch, start) for start in range(0, len(batch.items), CHUNK)]
        kept: list[Reply] = []
        preparing = asyncio.ensure_future(self._index_new(caller, chunks[0], until))
        try:
            for number, chunk in enumerate(chunks):
                indexes = await preparing
                if number + 1 < len(chunks):
                    preparing = asyncio.ensure_future(self._index_new(caller, chunks[number + 1], until))
                kept.append(await self._store_chunk(caller, chunk, indexes, _part_of(attempt, number)))
        finally:
            preparing.cancel()
        return kept[0] if len(kept) == 1 else _joined(kept)

    async def _chunk(self, caller: Principal, batch: NewMemories, start: int) -> _Chunk:
        drafts: dict[Place, Draft] = {}
        refused: dict[Place, StoredItem] = {}
        for place, item in enumerate(batch.checked[start : start + CHUNK], start):
            try:
                drafts[place] = await self._draft(caller, item, place)
            except ProblemError as problem:
                document = Problem.model_validate(problem.document())
                refused[place] = StoredItem(status=problem.status, problem=document)
        return _Chunk(drafts, refused)

    async def _draft(self, caller: Principal, item: NewMemory | RefusedItem, place: Place) -> Draft:
        if isinstance(item, RefusedItem):
            raise _invalid(item, place)
        try:
            return await self._drafts.draft(caller, item)
        except ForeignPersona:
            raise ForeignPersona(f"/items/{place}") from None

    async def _index_new(self, caller: Principal, chunk: _Chunk, until: float) -> dict[Key, Index]:
        """Index the contents that are not known yet."""
        contents = chunk.contents
        async with self._database.connection() as connection:
            old = await known(connection, contents.keys())
        return await self._index(caller, {key: draft for key, draft in contents.items() if key not in old}, until)

    async def _index(self, caller: Principal, contents: Mapping[Key, Draft], until: float) -> dict[Key, Index]:
        passages = [draft.state.passage for draft in contents.values()]
        return dict(zip(contents, await self._drafts.index_many(caller, passages, until), strict=True))

    async def _store_chunk(
        self, caller: Principal, chunk: _Chunk, indexes: Mapping[Key, Index], attempt: Attempt
    ) -> Reply:
        for _ in range(STORE_ATTEMPTS):
            try:
                return await do_once(self._database, attempt, lambda c, i=indexes: _write(c, caller, chunk, i))
            except _Vanished:
                indexes = await self._index(caller, chunk.contents, monotonic() + EMBEDDING_SHARE * remaining_s())
        raise Unavailable("Contents are deleted as fast as they are stored.")


async def _write(connection: Connection, caller: Principal, chunk: _Chunk, indexes: Mapping[Key, Index]) -> Reply:
    newcomers = [Newcomer(new_id(), draft, indexes[key]) for key, draft in chunk.contents.items() if key in indexes]
    inserted = await insert_all(connection, caller.namespace, newcomers)
    stored = {newcomer.draft.key: newcomer for newcomer in newcomers if newcomer.id in inserted}
    items = dict(chunk.refused)
    again: list[tuple[Key, Place]] = []
    for place, draft in chunk.drafts.items():
        newcomer = stored.pop(draft.key, None)
        if newcomer is None:
            again.append((draft.key, place))
        else:
            items[place] = StoredItem(status=201, memory_id=newcomer.id, pending=newcomer.index.embedded is None)
    memories, author = MemoryRepository(connection, reader_for(caller)), Author.of(caller)
    # In the order of the contents, as they are inserted: see there.
    for _, place in sorted(again):
        memory = await memories.repeat(chunk.drafts[place], author)
        if memory is None:
            raise _Vanished
        is_pending = memory.embedding_model is None
        items[place] = StoredItem(status=200, memory_id=memory.id, deduplicated=True, pending=is_pending)
    return reply(_answer([items[place] for place in sorted(items)]))


def _answer(items: Sequence[StoredItem]) -> StoredMemories:
    statuses = Counter(item.status for item in items)
    refused = len(items) - statuses[201] - statuses[200]
    return StoredMemories(items=list(items), stored=statuses[201], deduplicated=statuses[200], refused=refused)


def _joined(kept: Sequence[Reply]) -> Reply:
    items = [item for part in kept for item in StoredMemories.model_validate_json(part.body).items]
    whole = reply(_answer(items))
    first, *others = (part.headers.items() for part in kept)
    # Replayed as a whole only when every part was.
    common = dict(header for header in first if all(header in headers for headers in others))
    return Reply(whole.status, whole.body, whole.headers | common)


def _part_of(attempt: Attempt, number: int) -> Attempt:
    """The attempt at one chunk; no key of a caller has a space."""
    if attempt.key is None or number == 0:
        return attempt
    return Attempt(attempt.owner, f"{attempt.key} {number}", attempt.request_hash)


def _invalid(item: RefusedItem, place: Place) -> InvalidRequest:
    problems = [explain({**error, "loc": ("body", "items", place, *error["loc"])}) for error in item.errors]
    detail = "; ".join(f"{problem.pointer}: {problem.detail}" for problem in problems[:_SHOWN_FAULTS])
    return InvalidRequest(detail, errors=problems)
