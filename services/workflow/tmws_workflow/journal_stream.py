"""Journals as they grow: one query for all executions that anybody watches, and none while nobody does.

Each stream reads on from where its reader is, a page at a time, so that a slow reader costs no memory.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from uuid import UUID

from tmws_contracts.workflow import JournalEvent
from tmws_shared.auth import Principal
from tmws_shared.database import Database
from tmws_shared.problems import TooManyRequests, Unavailable
from tmws_shared.replies import dump
from tmws_shared.stopping import stopping
from tmws_shared.telemetry import Gauge
from tmws_workflow.lookups import find_execution
from tmws_workflow.repository.executions import ExecutionRepository, Progress, progress_of

_log = logging.getLogger(__name__)

POLL_S = 0.2
KEEP_ALIVE_S = 15.0
PAGE = 200
MAX_STREAMS = 1_000
_BEGIN = b"retry: 2000\n\n"
_STILL_HERE = b": still here\n\n"
STREAMS = Gauge("workflow_journal_streams", "Journals that somebody watches")


class TooManyStreams(TooManyRequests):
    """Too many journals are being watched."""


@dataclass(slots=True, eq=False)
class _Watch:
    """One reader of one execution; `progress` is what the database last said."""

    execution_id: UUID
    progress: Progress
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    is_stopping: bool = False

    def learn(self, progress: Progress) -> None:
        if progress != self.progress:
            self.progress = progress
            self.changed.set()

    def stop(self) -> None:
        self.is_stopping = True
        self.changed.set()

    async def wait(self, seconds: float) -> bool:
        """Wait until there is more to read; return whether there is."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self.changed.wait()
        return self.changed.is_set()


class JournalStreams:
    """The journals that are watched in this process."""

    def __init__(self, database: Database, keep_alive_s: float = KEEP_ALIVE_S) -> None:
        self._database = database
        self._keep_alive_s = keep_alive_s
        self._watches: set[_Watch] = set()
        self._polling: asyncio.Task[None] | None = None

    @property
    def is_idle(self) -> bool:
        """Whether nobody watches, and nothing is asked."""
        return not self._watches and (self._polling is None or self._polling.done())

    async def close(self) -> None:
        """End what polls."""
        if self._polling is not None:
            self._polling.cancel()
            await asyncio.gather(self._polling, return_exceptions=True)

    async def open(self, caller: Principal, execution_id: UUID, after_seq: int) -> AsyncGenerator[bytes] | None:
        """Return the journal after a seq as server-sent events; None when it has ended there.

        Raises:
            ExecutionNotFound: there is none.
            TooManyStreams: as many are being watched as this process can bear.
        """
        if len(self._watches) >= MAX_STREAMS:
            raise TooManyStreams("Ask again later, or read the journal a page at a time.", retry_after_s=5)
        async with self._database.connection() as connection:
            await find_execution(connection, caller, execution_id)
            progress = (await progress_of(connection, [execution_id])).get(execution_id, Progress(after_seq, True))
        if progress.has_ended and after_seq >= progress.last_seq:
            return None
        return self._stream(caller, _Watch(execution_id, progress), after_seq)

    async def _stream(self, caller: Principal, watch: _Watch, seq: int) -> AsyncGenerator[bytes]:
        with self._watching(watch):
            yield _BEGIN
            while not watch.is_stopping:
                watch.changed.clear()
                known = watch.progress
                events = await self._read(caller, watch.execution_id, seq)
                for event in events:
                    yield _sse(event)
                    seq = event.seq
                if events and seq < known.last_seq:
                    continue
                if known.has_ended:
                    return
                if not await watch.wait(self._keep_alive_s):
                    yield _STILL_HERE

    async def _read(self, caller: Principal, execution_id: UUID, after_seq: int) -> list[JournalEvent]:
        async with self._database.connection() as connection:
            return await ExecutionRepository(connection, caller.namespace).events(execution_id, after_seq, PAGE)

    @contextmanager
    def _watching(self, watch: _Watch) -> Generator[None]:
        self._watches.add(watch)
        STREAMS.set(len(self._watches))
        stopping.add(watch.stop)
        if self._polling is None or self._polling.done():
            self._polling = asyncio.create_task(self._poll(), name="watch journals")
        try:
            yield
        finally:
            stopping.discard(watch.stop)
            self._watches.discard(watch)
            STREAMS.set(len(self._watches))

    async def _poll(self) -> None:
        """Ask how far the watched executions are, for as long as any is watched."""
        while self._watches:
            watches = list(self._watches)
            try:
                async with self._database.connection() as connection:
                    found = await progress_of(connection, {watch.execution_id for watch in watches})
            except Unavailable:
                _log.warning("journals are not watched: the database is not available")
            else:
                for watch in watches:
                    # What was deleted has ended where it was.
                    watch.learn(found.get(watch.execution_id) or Progress(watch.progress.last_seq, True))
            await asyncio.sleep(POLL_S)


def _sse(event: JournalEvent) -> bytes:
    return b"id: %d\nevent: %s\ndata: %s\n\n" % (event.seq, event.type.encode(), dump(event))
