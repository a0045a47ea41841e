"""The audit log: records wait in a ring, then go to Postgres in batches, or to files while it is away."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from pathlib import Path
from typing import Any

import orjson

from tmws_contracts.gateway import Decision
from tmws_gateway.exchange import Exchange
from tmws_gateway.repository import add_events
from tmws_shared.clock import new_id, now
from tmws_shared.database import Database
from tmws_shared.problems import Unavailable
from tmws_shared.telemetry import Gauge

_log = logging.getLogger(__name__)

RING = 20_000
BATCH = 500
FLUSH_S = 0.1
RETRY_S = 1.0
LAST_FLUSH_S = 1.0
DENIALS = frozenset({401, 403, 421, 429})
OVER_LIMIT = 429
NOBODYS_NAMESPACE = "default"
_RESOURCE_MAX = 512
_WAITING = Gauge("tmws_audit_waiting", "Audit records not yet written")


def is_audited(exchange: Exchange) -> bool:
    """Whether a request is recorded: every change, every denial."""
    return exchange.status in DENIALS or bool(exchange.route and exchange.route.is_change)


def describe(exchange: Exchange) -> dict[str, Any]:
    """Return the record of an answered request."""
    principal = exchange.principal
    decision = Decision.DENIED if exchange.status in DENIALS else Decision.ALLOWED
    return {
        "id": str(new_id()),
        "occurred_at": now().isoformat(),
        "namespace": principal.namespace if principal else NOBODYS_NAMESPACE,
        "subject": principal.subject if principal else None,
        "key_id": principal.key_id if principal else None,
        "persona": principal.persona if principal else None,
        "address": exchange.address,
        "action": exchange.action,
        "resource": (exchange.location or exchange.resource)[:_RESOURCE_MAX],
        "decision": decision,
        "status": exchange.status,
        "request_id": exchange.request_id,
        "trace_id": exchange.trace_id,
        "changed_fields": exchange.changed_fields,
        "duration_ms": round(exchange.duration_s * 1000, 3),
        "repeats": 1,
    }


class AuditLog:
    """Keeps every record until it is in Postgres."""

    def __init__(self, database: Database, data_dir: Path) -> None:
        self._database = database
        self._spool = Spool(data_dir / "audit")
        self._ring: deque[dict[str, Any]] = deque()
        self._over_limit: dict[tuple[str, str | None, str], dict[str, Any]] = {}
        self._arrived = asyncio.Event()

    def record(self, exchange: Exchange) -> None:
        """Record an answered request, if it is of the kind that is."""
        if not is_audited(exchange):
            return
        event = describe(exchange)
        if exchange.status == OVER_LIMIT and self._is_repeat(event):
            return
        self._ring.append(event)
        self._arrived.set()
        if len(self._ring) >= RING:
            self._spool.write(self._take(RING))

    def _is_repeat(self, event: dict[str, Any]) -> bool:
        """Count a refusal in a waiting record like it: a flood must not become a flood of writes."""
        first = self._over_limit.setdefault((event["address"], event["key_id"], event["action"]), event)
        if first is event:
            return False
        first["repeats"] += 1
        return True

    def _take(self, count: int) -> list[dict[str, Any]]:
        self._over_limit.clear()
        return [self._ring.popleft() for _ in range(min(count, len(self._ring)))]

    async def run(self) -> None:
        """Write records until cancelled."""
        while True:
            if not self._ring and not self._spool.is_used:
                await self._arrived.wait()
            self._arrived.clear()
            await asyncio.sleep(FLUSH_S if await self.flush() else RETRY_S)

    async def flush(self) -> bool:
        """Write what waits, and return whether Postgres took it."""
        while self._ring:
            batch = self._take(BATCH)
            if not await self._write(batch):
                return False
            _WAITING.set(len(self._ring))
        return await self._write_spooled()

    async def _write(self, batch: list[dict[str, Any]]) -> bool:
        """Write a batch; whatever goes wrong, cancellation included, it is kept in a file."""
        written = False
        try:
            await add_events(self._database, batch)
            written = True
        except Unavailable:
            _log.warning("the database is not available; audit records go to files")
        finally:
            if not written:
                self._spool.write(batch)
        return written

    async def _write_spooled(self) -> bool:
        for path in self._spool.files():
            try:
                await add_events(self._database, self._spool.read(path))
            except Unavailable:
                return False
            path.unlink(missing_ok=True)
        return True

    async def close(self) -> None:
        """Write what waits, to Postgres when it answers in time, else to a file."""
        try:
            await asyncio.wait_for(self.flush(), LAST_FLUSH_S)
        except TimeoutError:
            _log.warning("the database did not take the last audit records in time")
        self._spool.write(self._take(len(self._ring)))


class Spool:
    """Batches of records in files. A file is complete when it has its name; reading one twice does no harm."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)

    @property
    def is_used(self) -> bool:
        """Whether a file waits to be read."""
        return any(True for _ in self._folder.glob("*.ndjson"))

    def write(self, batch: list[dict[str, Any]]) -> None:
        """Keep a batch."""
        if not batch:
            return
        path = self._folder / f"{new_id()}.ndjson"
        draft = path.with_suffix(".draft")
        try:
            draft.write_bytes(b"".join(orjson.dumps(event, option=orjson.OPT_APPEND_NEWLINE) for event in batch))
            draft.rename(path)
        except OSError:
            # The log is the last place left; a record there is found by its request id.
            _log.exception("audit records cannot be kept", extra={"lost": len(batch)})
            for event in batch:
                _log.error("audit record %s", orjson.dumps(event).decode())

    def files(self) -> list[Path]:
        """Return the files, the oldest first."""
        return sorted(self._folder.glob("*.ndjson"))

    def read(self, path: Path) -> list[dict[str, Any]]:
        """Return the batch in a file; nothing when another gateway has just written it to Postgres."""
        try:
            lines = path.read_bytes().splitlines()
        except FileNotFoundError:
            return []
        return [orjson.loads(line) for line in lines]
