"""Puts events behind the head of the chain. Any gateway may; an advisory lock lets one at a time."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Sequence

from tmws_gateway.audit.checkpoint_file import CheckpointFile
from tmws_gateway.chain.records import Event, Head, extend
from tmws_gateway.chain.signing import Checkpoint, Signer
from tmws_gateway.repository.audit import (
    LAST,
    add_checkpoint,
    add_records,
    find_beginning,
    find_hash,
    known_ids,
    last_checkpoint,
    lock_chain,
    read_checkpoints,
    take_waiting,
)
from tmws_shared.database import Connection, Database
from tmws_shared.telemetry import Counter, Gauge

_log = logging.getLogger(__name__)

BATCH = 500
CHECKPOINT_RECORDS = 1000
CHECKPOINT_US = 60 * 1_000_000
_COPIED = 1000
_WRITTEN = Counter("tmws_audit_written_total", "Audit records that this process has put into the chain")
_BROKEN = Gauge("tmws_audit_broken", "1 when records that this process has seen are not in the audit chain any more")
_HEAD = Gauge("tmws_audit_head", "The last record of the audit chain, as far as this process knows")


class ChainWriter:
    """Writes records and checkpoints, and copies checkpoints into the file."""

    def __init__(self, database: Database, signer: Signer, file: CheckpointFile) -> None:
        self._database = database
        self._signer = signer
        self._file = file
        # One connection waits for the chain, not as many as the pool has.
        self._writing = asyncio.Lock()
        self._is_broken = False

    async def append(self, events: Sequence[Event]) -> bool:
        """Chain what waits in the database, then `events`; those that are there already stay where they are.

        Returns whether more may wait.

        Raises:
            Unavailable: the database does not take them; none of them is in the chain.
        """
        async with self._writing:
            return await self._append(events)

    async def _append(self, events: Sequence[Event]) -> bool:
        async with self._database.transaction() as connection:
            head = await lock_chain(connection)
            is_ours = await self._has_what_we_saw(connection)
            waiting = await take_waiting(connection, BATCH)
            records = extend(head, await _fresh(connection, [*waiting, *events]))
            if records:
                await add_records(connection, records)
                head = Head(records[-1].seq, records[-1].hash)
            last = await self._sign_when_due(connection, head)
        _WRITTEN.inc(len(records))
        _HEAD.set(head.seq)
        if last is not None and last.seq > self._file.last_seq:
            await self._copy()
        await self._note(head, is_ours=is_ours)
        return len(waiting) == BATCH

    async def _has_what_we_saw(self, connection: Connection) -> bool:
        noted = self._file.head.noted
        if noted is None or await find_hash(connection, noted.seq) == noted.hash:
            return True
        beginning = await find_beginning(connection)
        if beginning is None or beginning.seq < noted.seq:
            return False
        return self._signer.verifier.is_our_beginning(beginning)

    async def _note(self, head: Head, *, is_ours: bool) -> None:
        """Note the head; the note that shows that something was cut off stays."""
        noted = self._file.head.noted
        _BROKEN.set(not is_ours)
        if not is_ours:
            if not self._is_broken:
                _log.error("the audit chain has not the record any more that it ended with; run `audit verify`")
            self._is_broken = True
        elif head.seq > (0 if noted is None else noted.seq):
            try:
                await asyncio.to_thread(self._file.head.write, self._signer.checkpoint(head, time.time_ns() // 1000))
            except OSError:
                _log.exception("the head of the audit chain cannot be noted")

    async def _sign_when_due(self, connection: Connection, head: Head) -> Checkpoint | None:
        """Return the last checkpoint, which may be a new one."""
        last = await last_checkpoint(connection)
        made_at = time.time_ns() // 1000
        if not is_due(last, head, made_at):
            return last
        checkpoint = self._signer.checkpoint(head, made_at)
        await add_checkpoint(connection, checkpoint)
        return checkpoint

    async def _copy(self) -> None:
        """Copy into the file what other gateways have signed, too."""
        while missing := await read_checkpoints(self._database, self._file.last_seq, LAST, _COPIED):
            try:
                await asyncio.to_thread(self._file.append, missing)
            except OSError:
                _log.exception("audit checkpoints cannot be copied to a file")
                return
            # Logs are kept elsewhere: one more place where the end of the chain is known.
            for checkpoint in missing:
                _log.info("audit checkpoint %s", checkpoint.line().decode().rstrip())


async def _fresh(connection: Connection, events: Sequence[Event]) -> list[Event]:
    """The events that are not in the chain yet, each of them once."""
    by_id = {event["id"]: event for event in events}
    known = await known_ids(connection, list(by_id)) if by_id else set[str]()
    return [event for event_id, event in by_id.items() if event_id not in known]


def is_due(last: Checkpoint | None, head: Head, made_at: int) -> bool:
    """Whether the head is to be signed at a time (µs since 1970), `last` being the last one that was."""
    if last is None:
        return head.seq > 0
    # A clock that was set back must not keep checkpoints away.
    is_old = abs(made_at - last.made_at) >= CHECKPOINT_US
    return head.seq - last.seq >= (1 if is_old else CHECKPOINT_RECORDS)
