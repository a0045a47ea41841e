"""Events between services: outbox table → Redis stream → inbox table.

The outbox row is written in the transaction of the change; a relay copies it to the stream and
then forgets it. A reader notes each event id in its inbox in the transaction of the effect, so a
repeated event changes nothing. Redis may lose the stream: readers reconcile by asking.
"""

# redis-py types its commands loosely; this is its border file.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false, reportUnknownLambdaType=false, reportUnknownParameterType=false
from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any

import orjson
from redis.exceptions import RedisError, ResponseError

from tmws_contracts.events import Event
from tmws_shared.cancellation import is_cancelled
from tmws_shared.clock import new_id
from tmws_shared.database import Connection, Database
from tmws_shared.problems import Unavailable
from tmws_shared.redis import open_redis

_log = logging.getLogger(__name__)

STREAM = "tmws:events"
STREAM_MAX_LENGTH = 100_000
RELAY_BATCH = 200
POLL_S = 1.0
RETRY_S = 1.0
BLOCK_MS = 2_000
INBOX_KEPT_DAYS = 7

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
# Rows are locked, not claimed: a relay that dies gives them back with its transaction.
_NEXT = """SELECT position, id, type, namespace, subject, data, occurred_at FROM outbox
           ORDER BY position LIMIT $1 FOR UPDATE SKIP LOCKED"""
_SENT = "DELETE FROM outbox WHERE position = ANY($1::bigint[])"
# The stream holds a few days at most; an event that is not in it cannot come again.
_FORGET = "DELETE FROM inbox WHERE seen_at < now() - make_interval(days => $1)"
_SEEN = "INSERT INTO inbox (event_id) VALUES ($1) ON CONFLICT DO NOTHING"

Handle = Callable[[Connection, Event], Awaitable[None]]


async def append_event(connection: Connection, kind: str, namespace: str, subject: str, data: dict[str, Any]) -> None:
    """Add an event to the outbox, in the caller's transaction."""
    await connection.execute(_APPEND, new_id(), kind, namespace, subject, data)


async def forget_old_events(database: Database) -> int:
    """Delete what the inbox has known for a week and return how many rows that were."""
    return await database.execute(_FORGET, INBOX_KEPT_DAYS)


class Relay:
    """Copies a service's outbox to the stream, in order."""

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
            if not rows:
                return 0
            async with self._redis.pipeline(transaction=False) as pipe:
                for row in rows:
                    pipe.xadd(STREAM, {"event": _encode(row)}, maxlen=STREAM_MAX_LENGTH, approximate=True)
                await pipe.execute()
            await connection.execute(_SENT, [row["position"] for row in rows])
        return len(rows)

    async def close(self) -> None:
        """Close the connection to Redis."""
        await self._redis.aclose()


def _encode(row: Any) -> bytes:
    event = Event(
        id=row["id"],
        type=row["type"],
        namespace=row["namespace"],
        subject=row["subject"],
        data=row["data"],
        occurred_at=row["occurred_at"],
    )
    return event.model_dump_json().encode()


class Reader:
    """Reads the stream as one of a group and gives each event to `handle` once."""

    def __init__(self, database: Database, url: str, group: str, types: frozenset[str], handle: Handle) -> None:
        self._database = database
        self._redis = open_redis(url, connect_timeout_s=1, timeout_s=BLOCK_MS / 1000 + 2)
        self._group = group
        self._name = str(new_id())
        self._types = types
        self._handle = handle

    async def run(self) -> None:
        """Read until cancelled; a lost server is a pause."""
        while not is_cancelled():
            try:
                await self._read_batch()
            except ResponseError:
                await self._create_group()
            except (RedisError, OSError, Unavailable):
                _log.warning("events wait: the database or Redis is out of reach")
                await asyncio.sleep(RETRY_S)

    async def _create_group(self) -> None:
        try:
            await self._redis.xgroup_create(STREAM, self._group, id="0", mkstream=True)
        except (RedisError, OSError):
            await asyncio.sleep(RETRY_S)

    async def _read_batch(self) -> None:
        streams = await self._redis.xreadgroup(self._group, self._name, {STREAM: ">"}, count=100, block=BLOCK_MS)
        for _, entries in streams or []:
            for entry, fields in entries:
                await self._take(Event.model_validate(orjson.loads(fields[b"event"])))
                await self._redis.xack(STREAM, self._group, entry)

    async def _take(self, event: Event) -> None:
        if event.type not in self._types:
            return
        async with self._database.transaction() as connection:
            if await connection.execute(_SEEN, event.id):
                await self._handle(connection, event)

    async def close(self) -> None:
        """Close the connection to Redis."""
        await self._redis.aclose()
