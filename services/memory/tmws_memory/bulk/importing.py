"""Imports: a stream of records in, a stream of lines about them out, kept batch by batch.

A batch is one transaction, and so is whole or not there: rows, words, vectors, and how far the import is.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from pydantic import BaseModel

from tmws_contracts.common import FieldProblem
from tmws_contracts.memory_bulk import (
    EXPORT_FORMAT,
    FileState,
    ImportFault,
    ImportFormat,
    ImportProgress,
    ImportStarted,
    ImportSummary,
)
from tmws_memory.bulk.drafting import Batch, Draft, Rules, draft_batch, read_words
from tmws_memory.bulk.formats import Faulty, Found, read_record
from tmws_memory.bulk.loading import (
    Holds,
    Loaded,
    Progress,
    advance_import,
    begin_import,
    find_known,
    load,
    may_name_model,
    only_one,
)
from tmws_memory.bulk.splitting import PREFIX_BYTES, Record, splitter_for
from tmws_memory.directory import Directory
from tmws_shared.auth import Principal
from tmws_shared.clock import now
from tmws_shared.database import Database
from tmws_shared.problems import InvalidRequest, MalformedRequest, ProblemError
from tmws_shared.replies import dump

BATCH_RECORDS: Final = 1_000
BATCH_BYTES: Final = 4 * 1024 * 1024
MAX_NAMED: Final = 10_000
# Vectors of ever new models would fill the small table of models for everybody.
MAX_MODELS: Final = 64
# Whoever waits between us and the caller gives up after a minute of silence.
SILENCE_S: Final = 10.0
_BOM: Final = b"\xef\xbb\xbf"


class OtherFile(InvalidRequest):
    """This import was begun with another file."""


@dataclass(frozen=True, slots=True)
class Order:
    """What is asked for: who imports what, by which id, and how long a short-term memory lives by default."""

    caller: Principal
    wanted: ImportFormat
    key: str
    short_term: timedelta

    @property
    def owner(self) -> str:
        """Whose import it is; to others its id means nothing."""
        return f"{self.caller.subject}\n{self.caller.persona or ''}"


async def begin(database: Database, order: Order) -> Progress:
    """Return how far the import is."""
    return await begin_import(database, order.caller.namespace, order.owner, order.key, hashlib.sha256().digest())


async def run_import(
    database: Database, directory: Directory, order: Order, body: AsyncIterator[bytes]
) -> AsyncGenerator[bytes]:
    """Import a file, or go on with it, and yield the lines of the answer as they come."""
    try:
        async with only_one(database, f"import {order.caller.namespace}\n{order.owner}\n{order.key}") as holds:
            progress = await begin(database, order)
            rules = Rules(order.caller, order.wanted, now(), order.short_term)
            run = _Run(database, directory, rules, progress, holds)
            started = ImportStarted(import_id=order.key, resumed_after=progress.records)
            async with aclosing(run.lines(started, body)) as lines:
                async for line in lines:
                    yield line
    except ProblemError as problem:
        yield b'{"error":%b}\n' % problem.body()
        # Who is still sending would not hear of it otherwise.
        async for _ in body:
            continue


class _Run:
    """One request's share of an import."""

    def __init__(
        self, database: Database, directory: Directory, rules: Rules, progress: Progress, holds: Holds
    ) -> None:
        self._holds = holds
        self._database = database
        self._directory = directory
        self._rules = rules
        self._progress = progress
        self._skipped = progress.records
        self._seen = 0
        self._digest = hashlib.sha256()
        self._batch: list[Record] = []
        self._batch_bytes = 0
        self._writing: asyncio.Task[None] | None = None
        self._is_ours = False
        self._cut_off: ImportFault | None = None
        self._promised: int | None = None
        self._pending = 0
        self._models: dict[tuple[str, str], int | None] = {}
        # A caller that sends the whole file before it reads must not be waited for.
        self._said: asyncio.Queue[BaseModel | None] = asyncio.Queue()

    async def lines(self, started: ImportStarted, body: AsyncIterator[bytes]) -> AsyncGenerator[bytes]:
        """Import, and yield the lines of the answer as they come."""
        yield _line(started)
        for fault in self._progress.faults:
            yield _line(fault)
        importing = asyncio.create_task(self._import(body), name="import memories")
        try:
            while (said := await self._hear()) is not None:
                yield _line(said)
            await importing
        finally:
            importing.cancel()
            await asyncio.gather(importing, return_exceptions=True)

    async def _hear(self) -> BaseModel | None:
        try:
            async with asyncio.timeout(SILENCE_S):
                return await self._said.get()
        except TimeoutError:
            return self._report()

    async def _import(self, body: AsyncIterator[bytes]) -> None:
        try:
            is_whole = await self._read(body)
            self._said.put_nowait(self._summary(is_whole=is_whole))
        finally:
            if self._writing is not None:
                self._writing.cancel()
                await asyncio.gather(self._writing, return_exceptions=True)
            self._said.put_nowait(None)

    async def _read(self, body: AsyncIterator[bytes]) -> bool | None:
        beginning = await read_beginning(body)
        self._is_ours = EXPORT_FORMAT.encode() in beginning.partition(b"\n")[0]
        splitter = splitter_for(beginning[:PREFIX_BYTES])
        await self._take(splitter.feed(beginning))
        async for piece in body:
            await self._take(splitter.feed(piece))
        rest = list(splitter.end())
        cut_off = self._find_cut_off(rest)
        await self._take(rest if cut_off is None else [])
        if self._seen < self._skipped:
            raise OtherFile.of("?import_id", "must be used with the file that this import was begun with")
        await self._flush()
        await self._written()
        if cut_off is not None:
            self._cut_off = cut_off
            self._said.put_nowait(cut_off)
        return splitter.is_whole if cut_off is None else False

    def _find_cut_off(self, rest: Sequence[Record]) -> ImportFault | None:
        """The last record, when the end of the file cuts it off: it is read when the whole file is sent."""
        if self._seen < self._skipped or not rest:
            return None
        found = list(read_record(rest[-1], self._rules.wanted))
        if not found or not all(isinstance(each, Faulty) for each in found):
            return None
        return ImportFault(line=rest[-1].line, errors=[error for each in found for error in _errors(each)])

    async def _take(self, records: Iterable[Record]) -> None:
        for record in records:
            self._seen += 1
            self._digest.update(record.raw or b"\0")
            if self._seen > self._skipped:
                self._batch.append(record)
                self._batch_bytes += len(record.raw or b"")
            elif self._seen == self._skipped and self._digest.digest() != self._progress.digest:
                raise OtherFile.of("?import_id", "must be used with the file that this import was begun with")
            if len(self._batch) >= BATCH_RECORDS or self._batch_bytes >= BATCH_BYTES:
                await self._flush()

    async def _flush(self) -> None:
        """Hand what was gathered to the database; meanwhile the next batch is gathered."""
        if not self._batch:
            return
        records, self._batch, self._batch_bytes = self._batch, [], 0
        digest, seen = self._digest.digest(), self._seen
        batch = await asyncio.to_thread(draft_batch, records, self._rules)
        self._promised = self._promised if batch.promised is None else batch.promised
        memories = await self._prepare(batch.drafts)
        await self._written()
        self._writing = asyncio.create_task(self._write(batch, memories, (seen, records[-1].line, digest)))

    async def _written(self) -> None:
        writing, self._writing = self._writing, None
        if writing is not None:
            await writing

    async def _prepare(self, drafts: Sequence[Draft]) -> list[Loaded]:
        """Return what is new, ready to be stored."""
        namespace = self._rules.caller.namespace
        placed = [(await self._directory.collection(namespace, draft.owner), draft) for draft in drafts]
        await self._holds.hold(collection for collection, _ in placed)
        known = await find_known(self._database, [(collection, draft.digest) for collection, draft in placed])
        new = [each for place, each in enumerate(placed) if place not in known]
        words = await asyncio.to_thread(read_words, [draft for _, draft in new])
        return [
            Loaded(draft, collection, await self._model_of(draft), packed)
            for (collection, draft), packed in zip(new, words, strict=True)
        ]

    async def _model_of(self, draft: Draft) -> int | None:
        model = draft.model
        if model is None:
            return None
        if model not in self._models:
            may = await may_name_model(self._database, *model, MAX_MODELS)
            self._models[model] = await self._directory.model(*model) if may else None
        return self._models[model]

    async def _write(self, batch: Batch, memories: list[Loaded], reached: tuple[int, int, bytes]) -> None:
        p = self._progress
        faults = [ImportFault(line=fault.line, errors=fault.errors) for fault in batch.faults]
        named = faults[: max(0, MAX_NAMED - len(p.faults))]
        async with self._database.transaction() as connection:
            caller = self._rules.caller
            stored = await load(connection, caller.namespace, caller.subject, memories) if memories else []
            after = Progress(
                p.id, *reached, p.stored + len(stored), p.deduplicated + len(batch.drafts) - len(stored),
                p.failed + len(faults), p.unnamed + len(faults) - len(named), p.faults + named,
            )  # fmt: skip
            await advance_import(connection, after, p.records, named)
        self._progress = after
        self._pending += sum(memory.model is None for memory in stored)
        for fault in named:
            self._said.put_nowait(fault)
        self._said.put_nowait(self._report())

    def _report(self) -> ImportProgress:
        p = self._progress
        return ImportProgress(line=p.line, read=p.read, stored=p.stored, deduplicated=p.deduplicated, failed=p.failed)

    def _summary(self, *, is_whole: bool | None) -> ImportSummary:
        if self._is_ours or self._promised is not None:
            is_whole = self._promised == self._progress.read
        states = {True: FileState.WHOLE, False: FileState.TRUNCATED, None: FileState.UNKNOWN}
        report = self._report()
        if self._cut_off is not None:
            changed = {"line": self._cut_off.line, "read": report.read + 1, "failed": report.failed + 1}
            report = report.model_copy(update=changed)
        return ImportSummary(
            **dict(report),
            file=states[is_whole],
            pending=self._pending,
            faults_left_off=self._progress.unnamed,
        )


async def read_beginning(body: AsyncIterator[bytes]) -> bytes:
    """Read enough to see what kind of file it is: the first line, or the beginning of a long one.

    Raises:
        MalformedRequest: there is nothing, or it begins with a byte order mark.
    """
    beginning = b""
    async for piece in body:
        beginning += piece
        if b"\n" in beginning.lstrip() or len(beginning) >= PREFIX_BYTES:
            break
    if beginning.startswith(_BOM):
        raise MalformedRequest.of("", "must not start with a byte order mark")
    if not beginning.strip():
        raise MalformedRequest.of("", "must not be empty")
    return beginning


def _errors(found: Found) -> list[FieldProblem]:
    return found.errors if isinstance(found, Faulty) else []


def _line(model: BaseModel) -> bytes:
    return dump(model) + b"\n"
