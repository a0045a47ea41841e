"""The answer of another of our processes, on its way.

UpstreamError
├── NotConnected      there is no connection; nothing was sent
│   ├── Busy          all connections are in use, and none became free in time
│   └── CircuitOpen   no process of the service works; it is not even tried
├── NotAnswered       it was closed before a byte of the answer was seen
└── BrokenAnswer      the answer was broken off, is malformed, or is larger than allowed
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from time import monotonic

from tmws_shared.framing import HeaderList

# An answer nobody reads waits in the kernel from here on, and then in the service.
MAX_WAITING_BYTES = 256 * 1024


class UpstreamError(Exception):
    """There is no whole answer."""


class NotConnected(UpstreamError):
    """There is no connection; nothing was sent."""


class Busy(NotConnected):
    """All connections are in use."""


class CircuitOpen(NotConnected):
    """No process of the service works."""

    def __init__(self, retry_after_s: int) -> None:
        super().__init__("no process of the service works")
        self.retry_after_s = retry_after_s


class NotAnswered(UpstreamError):
    """The connection was closed before a byte of the answer was seen."""


class BrokenAnswer(UpstreamError):
    """The answer was broken off, is malformed, or is larger than allowed."""


class Reply:
    """An answer; header names are in lower case.

    Whoever asked reads it to its end or closes it: a connection with half an answer on it is not used again.
    """

    __slots__ = ("_failure", "_give_up", "_is_paused", "_pieces", "_resume", "_timer", "_waiter",
                 "_waiting_bytes", "headers", "is_complete", "sending", "status")  # fmt: skip

    def __init__(self, give_up: Callable[[], None], resume: Callable[[], None]) -> None:
        self.status = 0
        self.headers: HeaderList = []
        self.is_complete = False
        self.sending: asyncio.Future[None] | None = None
        self._give_up = give_up
        self._resume = resume
        self._pieces: list[bytes] = []
        self._waiting_bytes = 0
        self._is_paused = False
        self._waiter: asyncio.Future[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._failure: Exception | None = None

    async def begin(self, deadline: float) -> None:
        """Wait for the head, until the moment `deadline`; when it does not come, the answer is given up.

        Raises:
            UpstreamError: it does not come.
            TimeoutError: not in time.
        """
        try:
            while not self.status or self._failure is not None:
                await self._news(deadline)
        except BaseException:
            await self.close()
            raise

    async def pieces(self, idle_timeout_s: float) -> AsyncGenerator[bytes]:
        """Yield the body as it comes.

        Raises:
            UpstreamError: it ends too early.
            TimeoutError: nothing came for so long.
        """
        while True:
            if self._pieces:
                yield self.take()
            elif self.is_complete:
                return
            else:
                await self._news(monotonic() + idle_timeout_s)

    async def read(self, timeout_s: float, limit_bytes: int) -> bytes:
        """Return the whole body.

        Raises:
            UpstreamError: it ends too early, or is larger than that.
            TimeoutError: it does not end in time.
        """
        body = self.take()
        if not self.is_complete:
            body = await self._collect(bytearray(body), monotonic() + timeout_s, limit_bytes)
        if len(body) > limit_bytes:
            raise BrokenAnswer(f"the body is larger than {limit_bytes} bytes")
        return body

    def take(self) -> bytes:
        """Return what has come of the body and was not taken yet."""
        taken = self._pieces[0] if len(self._pieces) == 1 else b"".join(self._pieces)
        self._pieces = []
        self._waiting_bytes = 0
        if self._is_paused:
            self._is_paused = False
            self._resume()
        return taken

    async def close(self) -> None:
        """Give up what has not come yet."""
        if self._timer is not None:
            self._timer.cancel()
        if not self.is_complete:
            self._give_up()
        if self.sending is not None:
            self.sending.cancel()
            await asyncio.gather(self.sending, return_exceptions=True)

    # The connection calls these.

    def add(self, piece: bytes) -> bool:
        """Take in a piece of the body, and return whether to pause."""
        self._pieces.append(piece)
        self._waiting_bytes += len(piece)
        if self._is_paused or self._waiting_bytes <= MAX_WAITING_BYTES:
            return False
        self._is_paused = True
        return True

    def end(self) -> None:
        """Note that the answer is whole; the connection is no longer ours."""
        self.is_complete = True
        self._is_paused = False
        self.wake()

    def fail(self, failure: Exception) -> None:
        """Note that no more will come."""
        if not self.is_complete and self._failure is None:
            self._failure = failure
            self.wake()

    def wake(self) -> None:
        """Let the reader look."""
        waiter, self._waiter = self._waiter, None
        if self._timer is not None:
            self._timer.cancel()
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    def _news(self, deadline: float) -> asyncio.Future[None]:
        """Return what is done when there is something new; no coroutine, because every request waits here."""
        if self._failure is not None:
            raise self._cause(self._failure)
        loop = asyncio.get_running_loop()
        self._waiter = loop.create_future()
        # A bare timer costs a third of `asyncio.timeout`, and the one who waits closes the reply in any case.
        self._timer = loop.call_later(deadline - monotonic(), self._expire)
        return self._waiter

    async def _collect(self, body: bytearray, deadline: float, limit_bytes: int) -> bytes:
        while not self.is_complete and len(body) <= limit_bytes:
            await self._news(deadline)
            body += self.take()
        return bytes(body)

    def _expire(self) -> None:
        self.fail(TimeoutError())

    def _cause(self, failure: Exception) -> BaseException:
        """Why there is no more: what broke off the request's body is the reason for whatever happened then."""
        if self.sending is not None and self.sending.done() and not self.sending.cancelled():
            return self.sending.exception() or failure
        return failure
