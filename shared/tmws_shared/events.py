"""Events between services: outbox table → Redis stream → inbox table.

The outbox row is written in the transaction of the change; a relay copies it to the stream and
then forgets it. A reader (event_reader.py) notes each event id in its inbox in the transaction of the
effect, so a repeated event changes nothing. Redis may lose the stream: readers reconcile by asking.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from time import time
from typing import Any

import orjson
from redis.exceptions import RedisError

from tmws_shared.background import Loop, every
from tmws_shared.cancellation import is_cancelled
from tmws_shared.clock import new_id
from tmws_shared.database import Connection, Database, Row
from tmws_shared.problems import Unavailable
from tmws_shared.redis import open_redis, run_script
from tmws_shared.telemetry import Counter, Gauge

_log = logging.getLogger(__name__)

STREAM = "tmws:events"
STREAM_MAX_LENGTH = 100_000
RELAY_BATCH = 200
ADD_BATCH = 500
# The type of a row whose data is a list of events, each with `id type namespace subject data`.
BUNDLE = "bundle"
POLL_S = 1.0
RETRY_S = 1.0
BETWEEN_BATCHES_S = 0.05
DROP_EVERY_S = 10.0
_RELAYED = Counter("tmws_events_relayed_total", "Events copied from the outbox to the stream")
_LAG = Gauge("tmws_events_relay_lag_seconds", "Age of the oldest event in the outbox when it was last looked at")

OUTBOX_DDL = """
CREATE TABLE outbox (
    position bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    id uuid NOT NULL,
    type text NOT NULL,
    namespace text NOT NULL,
    subject text NOT NULL,
    data jsonb NOT NULL,
    occurred_at timestamptz NOT NULL DEFAULT now()
);
"""
INBOX_DDL = """
CREATE TABLE inbox (
    event_id uuid PRIMARY KEY,
    seen_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX inbox_seen_at ON inbox (seen_at);
"""

_APPEND = "INSERT INTO outbox (id, type, namespace, subject, data) VALUES ($1, $2, $3, $4, $5)"
# One relay at a time, or the order would be lost. Rows are locked as well: what another relay sent between this
# statement's snapshot and its turn is skipped. A relay that dies gives everything back with its transaction.
_NEXT = """
    WITH turn AS MATERIALIZED (
        SELECT pg_try_advisory_xact_lock(hashtextextended('outbox of ' || current_schema(), 0)) AS is_ours)
    SELECT o.position, o.id, o.type, o.namespace, o.subject, o.data::text AS data, o.occurred_at
    FROM outbox o, turn WHERE turn.is_ours ORDER BY o.position LIMIT $1 FOR UPDATE OF o SKIP LOCKED
"""
_DROP = "DELETE FROM outbox WHERE occurred_at < now() - interval '1 minute'"
_SENT = "DELETE FROM outbox WHERE position = ANY($1::bigint[])"
# All of a batch in one command: as commands of their own they cost six times as much.
_ADD = """
for number = 2, #ARGV do redis.call('XADD', KEYS[1], 'MAXLEN', '~', ARGV[1], '*', 'event', ARGV[number]) end
"""


async def append_event(connection: Connection, kind: str, namespace: str, subject: str, data: dict[str, Any]) -> None:
    """Add an event to the outbox, in the caller's transaction."""
    await connection.execute(_APPEND, new_id(), kind, namespace, subject, data)


class Relay:
    """Copies a service's outbox to the stream, in the order of its rows."""

    def __init__(self, database: Database, url: str) -> None:
        self._database = database
        self._redis = open_redis(url, connect_timeout_s=1, timeout_s=2)
        self._woken = asyncio.Event()

    def wake(self) -> None:
        """Look at the outbox now instead of at the next poll."""
        self._woken.set()

    async def run(self) -> None:
        """Relay until cancelled; a lost server is a pause."""
        while not is_cancelled():
            try:
                moved = await self._move_batch()
            except (RedisError, OSError, Unavailable):
                _log.warning("events wait: the database or Redis is out of reach")
                await asyncio.sleep(RETRY_S)
                continue
            if moved < RELAY_BATCH:
                # Under load a batch is worth more than its last few milliseconds.
                await asyncio.sleep(BETWEEN_BATCHES_S)
                await self._wait()

    async def _wait(self) -> None:
        try:
            async with asyncio.timeout(POLL_S):
                await self._woken.wait()
        except TimeoutError:
            return
        self._woken.clear()

    async def _move_batch(self) -> int:
        async with self._database.transaction() as connection:
            rows = await connection.fetch(_NEXT, RELAY_BATCH)
            _LAG.set(time() - rows[0]["occurred_at"].timestamp() if rows else 0)
            if not rows:
                return 0
            events = [event for row in rows for event in _encode(row)]
            for start in range(0, len(events), ADD_BATCH):
                await run_script(self._redis, _ADD, STREAM, STREAM_MAX_LENGTH, *events[start : start + ADD_BATCH])
            await connection.execute(_SENT, [row["position"] for row in rows])
        _RELAYED.inc(len(events))
        return len(rows)

    async def close(self) -> None:
        """Close the connection to Redis."""
        await self._redis.aclose()


@asynccontextmanager
async def relaying(database: Database, url: str) -> AsyncGenerator[tuple[dict[str, Loop], Callable[[], None]]]:
    """Yield the loops that empty an outbox, and what wakes them; without Redis nobody hears, and events are dropped."""
    if not url:
        yield {"drop events": lambda: every(DROP_EVERY_S, lambda: database.execute(_DROP))}, lambda: None
        return
    relay = Relay(database, url)
    try:
        yield {"relay events": relay.run}, relay.wake
    finally:
        await relay.close()


def _encode(row: Row) -> list[bytes]:
    """The row's events, each as a `tmws_contracts.events.Event`."""
    moment = {"occurred_at": row["occurred_at"]}
    if row["type"] == BUNDLE:
        return [orjson.dumps({**event, **moment}, option=orjson.OPT_UTC_Z) for event in orjson.loads(row["data"])]
    fields: dict[str, Any] = {name: row[name] for name in ("type", "namespace", "subject")} | moment
    fields |= {"id": str(row["id"]), "data": orjson.Fragment(row["data"])}
    return [orjson.dumps(fields, option=orjson.OPT_UTC_Z)]
