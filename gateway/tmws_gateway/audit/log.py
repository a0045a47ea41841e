"""The way of an event: a ring in memory, then the chain in Postgres, or a file while that is away."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from tmws_gateway.audit.checkpoint_file import CheckpointFile
from tmws_gateway.audit.events import DENIALS, describe, is_audited
from tmws_gateway.audit.spool import Spool
from tmws_gateway.audit.writer import BATCH, ChainWriter
from tmws_gateway.chain.signing import Signer
from tmws_gateway.exchange import Exchange
from tmws_shared.database import Database
from tmws_shared.keys import derive_key
from tmws_shared.problems import Unavailable
from tmws_shared.telemetry import Gauge

_log = logging.getLogger(__name__)

CHECKPOINTS = Path("audit", "checkpoints.jsonl")
RING = 20_000
FLUSH_S = 0.1
RETRY_S = 1.0
# So long an event of another process, or a checkpoint that is due, may wait for the next round.
IDLE_S = 5.0
# A database that is slower counts as away: what waits goes to a file before the ring is full.
WRITE_TIMEOUT_S = 2.0
LAST_FLUSH_S = 1.0
OVER_LIMIT = 429
# So many events may wait before refusals of callers that nobody knows are counted instead of recorded.
FLOOD = 20
_WAITING = Gauge("tmws_audit_waiting", "Audit events not yet written")


class AuditLog:
    """Keeps every event until it is a record. Nothing that a request waits for happens here."""

    def __init__(self, database: Database, data_dir: Path, secret: str) -> None:
        self._spool = Spool(data_dir / "audit")
        self.checkpoints = CheckpointFile(data_dir / CHECKPOINTS)
        self._writer = ChainWriter(database, Signer(secret), self.checkpoints)
        self._digest_key = derive_key(secret, "audit field digests")
        self._ring: deque[dict[str, Any]] = deque()
        self._repeated: dict[tuple[str, str | None, str, int], dict[str, Any]] = {}
        self._arrived = asyncio.Event()

    def record(self, exchange: Exchange) -> None:
        """Record an answered request, if it is of the kind that is."""
        if not is_audited(exchange):
            return
        event = describe(exchange, self._digest_key)
        if self._may_be_one_of_many(exchange) and self._is_repeat(event):
            return
        self._ring.append(event)
        self._arrived.set()
        if len(self._ring) >= RING:
            self._spool.write(self._take(RING))

    def _may_be_one_of_many(self, exchange: Exchange) -> bool:
        """Whether it may be part of a flood, which must not become a flood of writes."""
        is_of_nobody = exchange.principal is None and exchange.status in DENIALS
        return exchange.status == OVER_LIMIT or (is_of_nobody and len(self._ring) >= FLOOD)

    def _is_repeat(self, event: dict[str, Any]) -> bool:
        """Count a refusal in a waiting event like it."""
        alike = (event["address"], event["key_id"], event["action"], event["status"])
        first = self._repeated.setdefault(alike, event)
        if first is event:
            return False
        first["repeats"] += 1
        return True

    def _take(self, count: int) -> list[dict[str, Any]]:
        self._repeated.clear()
        batch = [self._ring.popleft() for _ in range(min(count, len(self._ring)))]
        _WAITING.set(len(self._ring))
        return batch

    async def run(self) -> None:
        """Write until cancelled."""
        while True:
            if not self._spool.is_used:
                with suppress(TimeoutError):
                    async with asyncio.timeout(IDLE_S):
                        await self._arrived.wait()
            self._arrived.clear()
            await asyncio.sleep(FLUSH_S if await self.flush() else RETRY_S)

    async def flush(self) -> bool:
        """Write what waits, and return whether Postgres took it."""
        while True:
            if not await self._write(self._take(BATCH)):
                return False
            if not self._ring:
                return await self._write_spooled()

    async def _write(self, batch: list[dict[str, Any]]) -> bool:
        """Write a batch; whatever goes wrong, cancellation included, it is kept in a file."""
        is_written = False
        try:
            is_written = await self._chain(batch)
            if not is_written:
                batch += self._take(len(self._ring))
                await asyncio.to_thread(self._spool.write, batch)
                batch = []
        finally:
            if not is_written:
                self._spool.write(batch)
        return is_written

    async def _write_spooled(self) -> bool:
        for path in self._spool.files():
            events = await asyncio.to_thread(self._spool.read, path)
            for start in range(0, len(events), BATCH):
                if not await self._chain(events[start : start + BATCH]):
                    return False
            self._spool.forget(path)
        return True

    async def _chain(self, events: Sequence[dict[str, Any]]) -> bool:
        """Put events into the chain, and return whether Postgres took them in time."""
        try:
            async with asyncio.timeout(WRITE_TIMEOUT_S):
                has_more = await self._writer.append(events)
        except (Unavailable, TimeoutError):
            if events:
                _log.warning("the database does not take audit records; they wait in files")
            return False
        if has_more:
            self._arrived.set()
        return True

    async def close(self) -> None:
        """Write what waits, to Postgres when it answers in time, else to a file."""
        with suppress(TimeoutError):
            async with asyncio.timeout(LAST_FLUSH_S):
                await self.flush()
        self._spool.write(self._take(len(self._ring)))
