"""The reading end of events: a group of readers takes each event from the stream, and each takes effect once.

An event is pending until it has taken effect. What a reader that died had pending goes to another; what nobody can take
is tried a few times and then set aside in a stream of its own, so that it never stops the others.
"""

# redis-py types its commands loosely; this is its border file.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false, reportUnknownLambdaType=false, reportUnknownParameterType=false
from __future__ import annotations

import asyncio
import logging
from collections import Counter as Tally
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from time import monotonic, time
from typing import Any, TypeAlias

import orjson
from redis.exceptions import RedisError, ResponseError

from tmws_contracts.events import Event
from tmws_shared.cancellation import is_cancelled
from tmws_shared.clock import new_id
from tmws_shared.database import Connection, Database
from tmws_shared.events import RETRY_S, STREAM
from tmws_shared.problems import Unavailable
from tmws_shared.redis import open_redis, run_script
from tmws_shared.telemetry import Counter, Gauge

_log = logging.getLogger(__name__)

SET_ASIDE = "tmws:events:set-aside"
SET_ASIDE_MAX_LENGTH = 10_000
READ_BATCH = 100
BLOCK_MS = 5_000
# Longer than an event ever takes: what is pending for so long has lost its reader, or failed.
TAKE_OVER_AFTER_S = 15.0
ATTEMPTS = 5
FORGOTTEN_AFTER_MS = 600_000
INBOX_KEPT_DAYS = 7
# The stream holds a few days at most; an event that is not in it cannot come again.
_FORGET = "DELETE FROM inbox WHERE seen_at < now() - make_interval(days => $1)"
_SEEN = "INSERT INTO inbox (event_id) VALUES ($1) ON CONFLICT DO NOTHING"
# Every start makes a new reader; those that left nothing behind are deleted, one that lives comes back with its next
# event. In one step: a reader's pending events would be deleted with it.
_FORGET_READERS = """
for _, reader in ipairs(redis.call('XINFO', 'CONSUMERS', KEYS[1], ARGV[1])) do
    local name, pending, idle_ms = reader[2], reader[4], reader[6]
    if pending == 0 and idle_ms > tonumber(ARGV[2]) then
        redis.call('XGROUP', 'DELCONSUMER', KEYS[1], ARGV[1], name)
    end
end
"""
_TAKEN = Counter("tmws_events_taken_total", "Events that took effect")
_FAILED = Counter("tmws_events_failed_total", "Attempts at an event that failed")
_ASIDE = Counter("tmws_events_set_aside_total", "Events set aside after their last attempt")
_LAG = Gauge("tmws_events_read_lag_seconds", "Age of the latest event when it was taken")

Handle = Callable[[Connection, Event], Awaitable[None]]
Fields: TypeAlias = Mapping[bytes, bytes]


async def forget_old_events(database: Database) -> int:
    """Delete what the inbox has known for a week and return how many rows that were."""
    return await database.execute(_FORGET, INBOX_KEPT_DAYS)


class Reader:
    """Reads the stream as one of a group and gives each event of its `types` to `handle` once."""

    def __init__(
        self,
        database: Database,
        url: str,
        group: str,
        types: frozenset[str],
        handle: Handle,
        take_over_after_s: float = TAKE_OVER_AFTER_S,
    ) -> None:
        self._database = database
        self._redis = open_redis(url, connect_timeout_s=1, timeout_s=BLOCK_MS / 1000 + 2)
        self._group = group
        self._name = str(new_id())
        self._types = types
        self._handle = handle
        self._take_over_after_s = take_over_after_s
        self._takes_over_at = 0.0
        self._waiting: deque[tuple[bytes, Fields]] = deque()
        self._done: list[bytes] = []
        self._failures: Tally[bytes] = Tally()

    async def run(self) -> None:
        """Read until cancelled; a lost server is a pause."""
        while not is_cancelled():
            try:
                await self._work()
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

    async def _work(self) -> None:
        """Take a batch of events; what is left of it when a server is lost comes first the next time."""
        if not self._waiting:
            self._waiting.extend(await self._next())
        while self._waiting:
            entry, fields = self._waiting[0]
            if await self._attempt(entry, fields):
                self._done.append(entry)
            self._waiting.popleft()
        if self._done:
            await self._redis.xack(STREAM, self._group, *self._done)
            self._done.clear()

    async def _next(self) -> list[tuple[bytes, Fields]]:
        if monotonic() >= self._takes_over_at:
            taken_over = await self._take_over()
            self._takes_over_at = 0.0 if taken_over else monotonic() + self._take_over_after_s
            if taken_over:
                return taken_over
        wait_ms = min(BLOCK_MS, int(self._take_over_after_s * 1000))
        streams = await self._redis.xreadgroup(self._group, self._name, {STREAM: ">"}, count=READ_BATCH, block=wait_ms)
        return [entry for _, entries in streams or [] for entry in entries]

    async def _take_over(self) -> list[tuple[bytes, Fields]]:
        """Make what has been pending for too long ours, and return it; drop what the stream has forgotten."""
        idle_ms = int(self._take_over_after_s * 1000)
        ids = await self._redis.xautoclaim(STREAM, self._group, self._name, idle_ms, count=READ_BATCH, justid=True)
        if not ids:
            await run_script(self._redis, _FORGET_READERS, STREAM, self._group, FORGOTTEN_AFTER_MS)
            return []
        async with self._redis.pipeline(transaction=False) as pipe:
            for entry in ids:
                pipe.xrange(STREAM, entry, entry)
            found = [entry for entries in await pipe.execute() for entry in entries]
        self._done += set(ids) - {entry for entry, _ in found}
        return found

    async def _attempt(self, entry: bytes, fields: Fields) -> bool:
        """Take an event and return whether it is done with: it took effect, or was set aside."""
        try:
            await self._take(Event.model_validate(orjson.loads(fields[b"event"])))
        except (RedisError, OSError, Unavailable):
            raise
        except Exception:  # noqa: BLE001 -- the job wrapper
            _FAILED.inc()
            self._failures[entry] += 1
            _log.exception("event %s failed in %s", _name_of(fields), self._group, extra={"entry": entry.decode()})
            if self._failures[entry] < ATTEMPTS:
                return False
            await self._set_aside(entry, fields)
        self._failures.pop(entry, None)
        return True

    async def _take(self, event: Event) -> None:
        if event.type not in self._types:
            return
        async with self._database.transaction() as connection:
            if await connection.execute(_SEEN, event.id):
                await self._handle(connection, event)
        _TAKEN.inc()
        _LAG.set(time() - event.occurred_at.timestamp())

    async def _set_aside(self, entry: bytes, fields: Fields) -> None:
        kept: dict[Any, Any] = {**fields, b"entry": entry, b"group": self._group}
        await self._redis.xadd(SET_ASIDE, kept, maxlen=SET_ASIDE_MAX_LENGTH, approximate=True)
        _ASIDE.inc()
        _log.error("event %s is set aside by %s after %d attempts", _name_of(fields), self._group, ATTEMPTS)

    async def close(self) -> None:
        """Close the connection to Redis."""
        await self._redis.aclose()


def _name_of(fields: Fields) -> str:
    """The event's id and type, as far as they can be read."""
    try:
        event = orjson.loads(fields.get(b"event", b"{}"))
        return f"{event['type']} {event['id']}"
    except (orjson.JSONDecodeError, KeyError, TypeError):
        return "without an id"
