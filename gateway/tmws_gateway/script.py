"""A Lua script in Redis, called over a connection of its own."""

from __future__ import annotations

import asyncio
import hashlib
from functools import lru_cache

from tmws_gateway.redis_line import CommandRefused, LineLate, LineLost, RedisLine, encode, open_line, patient_timeout
from tmws_shared.redis import OPERATION_TIMEOUT_S, OptionalRedis, RedisDown
from tmws_shared.telemetry import calling

KEPT_CALLS = 4096
# Nobody waits for it yet.
START_TIMEOUT_S = 1.0
Call = tuple[tuple[str, ...], tuple[str, ...]]
_SPAN = {"db.system.name": "redis", "db.operation.name": "EVALSHA"}


class Script:
    """Calls that come in the same turn of the event loop go together; each ends as soon as its answer is there."""

    def __init__(self, redis: OptionalRedis, source: str) -> None:
        self._redis = redis
        self._source = source
        self._sha = hashlib.sha1(source.encode(), usedforsecurity=False).hexdigest()
        self._line: RedisLine | None = None
        self._opening: asyncio.Task[RedisLine] | None = None
        # The same callers come again and again.
        self._command = lru_cache(KEPT_CALLS)(self._encode)

    async def prepare(self) -> None:
        """Connect, and load the script, so that the first call is as quick as the others.

        Raises:
            RedisDown: Redis failed or did not answer in time.
        """
        self._redis.require()
        self._opening = asyncio.create_task(self._connect(START_TIMEOUT_S))
        await self._redis.ask(self._load())

    async def call(self, call: Call) -> bytes:
        """Call the script with keys and arguments, and return its answer, a string.

        Raises:
            RedisDown: Redis failed or did not answer in time.
        """
        self._redis.require()
        with calling("EVALSHA", _SPAN):
            return await self._redis.ask(self._call(self._command(call)))

    async def close(self) -> None:
        """Close the connection."""
        if self._opening is not None:
            await asyncio.gather(self._opening, return_exceptions=True)
        if self._line is not None:
            self._line.close()
        # The event loop tells a connection that it is gone in its next round.
        await asyncio.sleep(0)

    def _encode(self, call: Call) -> bytes:
        keys, arguments = call
        return encode(("EVALSHA", self._sha, str(len(keys)), *keys, *arguments))

    async def _call(self, command: bytes) -> bytes:
        try:
            return await self._attempt(command)
        except LineLate as error:
            raise RedisDown from error
        except LineLost:
            # Redis was restarted since the last call. A request that was counted before is counted twice at worst.
            pass
        try:
            return await self._attempt(command)
        except LineLost as error:
            raise RedisDown from error

    async def _attempt(self, command: bytes) -> bytes:
        line = self._line
        if line is None or not line.is_open:
            line = await self._open()
        try:
            return await line.ask(command)
        except CommandRefused:
            # Redis forgot the script.
            await self._load()
        except LineLate:
            self._note_loss(line)
            raise
        try:
            return await line.ask(command)
        except CommandRefused as error:
            raise RedisDown from error

    def _note_loss(self, line: RedisLine) -> None:
        """Count one failure for all that waited."""
        if self._line is line:
            self._line = None
            self._redis.note_failure()

    async def _load(self) -> None:
        line = await self._open()
        try:
            await line.ask(encode(("SCRIPT", "LOAD", self._source)))
        except (LineLost, CommandRefused) as error:
            raise RedisDown from error

    async def _open(self) -> RedisLine:
        """Return the connection; all who need one wait for the same."""
        if self._line is not None and self._line.is_open:
            return self._line
        if self._opening is None or self._opening.done():
            self._opening = asyncio.create_task(self._connect(OPERATION_TIMEOUT_S))
        return await asyncio.shield(self._opening)

    async def _connect(self, timeout_s: float) -> RedisLine:
        try:
            async with patient_timeout(timeout_s):
                self._line = await open_line(self._redis.require())
        except (LineLost, CommandRefused, OSError) as error:
            self._redis.note_failure()
            raise RedisDown from error
        return self._line
