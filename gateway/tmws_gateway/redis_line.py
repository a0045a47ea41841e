"""A connection to Redis for one kind of call that every request makes: written at once, answered in order.

redis-py costs 70 to 150 µs a call; this a tenth of it. It understands what our scripts answer: a string, OK, or an
error.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from typing import Any, cast

from redis.asyncio import Redis

from tmws_shared.redis import OPERATION_TIMEOUT_S

_END = b"\r\n"


class CommandRefused(Exception):
    """Redis refuses a command."""


class LineLost(Exception):
    """The connection was closed."""


class LineLate(LineLost):
    """No answer came in time, and the connection was closed for that."""


def encode(parts: Sequence[str]) -> bytes:
    """Return a command as Redis reads it (RESP)."""
    encoded = [part.encode() for part in parts]
    return b"*%d\r\n" % len(encoded) + b"".join(b"$%d\r\n%b\r\n" % (len(part), part) for part in encoded)


class RedisLine(asyncio.Protocol):
    """One connection. An answer that does not come within 50 ms ends it."""

    def __init__(self) -> None:
        self.is_open = False
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._written: list[bytes] = []
        self._waiting: deque[tuple[float, asyncio.Future[bytes]]] = deque()
        self._received = b""
        self._timer: asyncio.TimerHandle | None = None

    def ask(self, command: bytes) -> asyncio.Future[bytes]:
        """Send an encoded command with all others of this turn of the event loop, and return what will be its answer.

        The future raises CommandRefused or LineLost.
        """
        answer: asyncio.Future[bytes] = self._loop.create_future()
        if not self.is_open:
            answer.set_exception(LineLost())
            return answer
        if not self._written:
            self._loop.call_soon(self._flush)
        self._written.append(command)
        self._waiting.append((self._loop.time(), answer))
        if self._timer is None:
            self._timer = self._loop.call_later(OPERATION_TIMEOUT_S * 0.8, self._look)
        return answer

    def close(self) -> None:
        """Close at once."""
        self._close(LineLost)

    def _close(self, reason: type[LineLost]) -> None:
        if self._transport is not None:
            self._transport.abort()
        self._end(reason)

    def connection_made(self, transport: asyncio.Transport) -> None:  # pyright: ignore[reportIncompatibleMethodOverride] -- streams only; uvloop's are no subclass
        """Keep the transport."""
        self._transport = transport
        self.is_open = True

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell whoever waits."""
        self._end(LineLost)

    def data_received(self, data: bytes) -> None:
        """Give each whole answer to whoever waits longest."""
        received = self._received + data if self._received else data
        start = 0
        while (end := received.find(_END, start)) >= 0:
            kind, line = received[start : start + 1], received[start + 1 : end]
            after = end + 2
            if kind == b"$":
                line_end = after + int(line)
                if len(received) < line_end + 2:
                    break
                line, after = received[after:line_end], line_end + 2
            start = after
            self._answer(kind, line)
        self._received = received[start:]

    def _answer(self, kind: bytes, line: bytes) -> None:
        if not self._waiting:
            self.close()
            return
        _, answer = self._waiting.popleft()
        if answer.done():
            return
        if kind == b"-":
            answer.set_exception(CommandRefused(line.decode()))
        else:
            answer.set_result(line)

    def _flush(self) -> None:
        written, self._written = self._written, []
        if self._transport is not None:
            self._transport.write(written[0] if len(written) == 1 else b"".join(written))

    def _look(self) -> None:
        """See whether the oldest answer is late; one that has arrived while the loop was busy is read before that."""
        self._timer = None
        if not self._waiting:
            return
        asked_at, answer = self._waiting[0]
        left_s = asked_at + OPERATION_TIMEOUT_S * 0.8 - self._loop.time()
        if left_s > 0:
            self._timer = self._loop.call_later(left_s, self._look)
        else:
            self._timer = self._loop.call_later(OPERATION_TIMEOUT_S * 0.2, self._give_up_on, answer)

    def _give_up_on(self, answer: asyncio.Future[bytes]) -> None:
        self._timer = None
        if self._waiting and self._waiting[0][1] is answer:
            self._close(LineLate)
        else:
            self._look()

    def _end(self, reason: type[LineLost]) -> None:
        self.is_open = False
        if self._timer is not None:
            self._timer.cancel()
        while self._waiting:
            _, answer = self._waiting.popleft()
            if not answer.done():
                answer.set_exception(reason())


@asynccontextmanager
async def patient_timeout(seconds: float) -> AsyncGenerator[None]:
    """A timeout for which what came in time is in time, although the event loop was busy elsewhere."""
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(None) as timeout:
        # When the first timer is late, what has arrived meanwhile is read before the second one.
        timer = loop.call_later(seconds * 0.8, lambda: timeout.reschedule(loop.time() + seconds * 0.2))
        try:
            yield
        finally:
            timer.cancel()


async def open_line(client: Redis) -> RedisLine:
    """Return a connection to the Redis that a client of redis-py is for.

    Raises:
        LineLost: it cannot be reached, or not in time.
        CommandRefused: it refuses the password or the database.
        OSError: it cannot be reached.
    """
    wanted = cast("dict[str, Any]", client.connection_pool.connection_kwargs)  # pyright: ignore[reportUnknownMemberType] -- untyped there
    line = await _connect(client, wanted)
    password, user, database = wanted.get("password"), wanted.get("username"), wanted.get("db") or 0
    greeting = [("AUTH", *([user] if user else []), password)] if password else []
    greeting += [("SELECT", str(database))] if database else []
    try:
        for answer in [line.ask(encode(command)) for command in greeting]:
            await answer
    except BaseException:
        line.close()
        raise
    return line


async def _connect(client: Redis, wanted: dict[str, Any]) -> RedisLine:
    loop = asyncio.get_running_loop()
    if "path" in wanted:
        return (await loop.create_unix_connection(RedisLine, wanted["path"]))[1]
    # The context that redis-py would use: the URL may say which certificates count.
    context = getattr(client.connection_pool.make_connection(), "ssl_context", None)
    host, port = wanted.get("host", "localhost"), int(wanted.get("port", 6379))
    return (await loop.create_connection(RedisLine, host, port, ssl=context.get() if context else None))[1]
