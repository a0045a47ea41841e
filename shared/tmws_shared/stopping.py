"""Answers that have no end of their own, and end when the process is told to stop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from functools import partial

from starlette.types import Send

from tmws_shared.framing import HeaderList

_END_S = 1.0
EVENT_STREAM = b"text/event-stream"


def is_event_stream(headers: HeaderList) -> bool:
    """Whether an answer with these headers has no end of its own."""
    return any(name.lower() == b"content-type" and value.startswith(EVENT_STREAM) for name, value in headers)


async def send_end(send: Send) -> None:
    """End an answer that has begun; one that nobody takes is left to the server."""
    with suppress(TimeoutError):
        async with asyncio.timeout(_END_S):
            await send({"type": "http.response.body"})


class Interruption:
    """Cancels the task it is made in when it is called, and tells that apart from a cancellation by anybody else."""

    # By hand: `asyncio.timeout` costs a request three times as much.
    def __init__(self) -> None:
        self._task = asyncio.current_task()
        self._is_ours = False

    def __call__(self) -> None:
        """Cancel the task."""
        self._is_ours = True
        if self._task is not None:
            self._task.cancel()

    def is_ours(self) -> bool:
        """Whether it was our own doing that the task was cancelled; then it is not any more."""
        return self._is_ours and self._task is not None and self._task.uncancel() == 0


class Stopping:
    """Knows how to end what would keep the process from stopping."""

    def __init__(self) -> None:
        self._ends: dict[Callable[[], None], Callable[[], object]] = {}
        self._is_over = False

    @property
    def is_over(self) -> bool:
        """Whether the process was told to stop."""
        return self._is_over

    def add(self, end: Callable[[], None]) -> None:
        """Have `end` called on this event loop when the process is told to stop; at once when it was."""
        loop = asyncio.get_running_loop()
        self._ends[end] = partial(loop.call_soon_threadsafe, end)
        if self._is_over:
            loop.call_soon(end)

    def discard(self, end: Callable[[], None]) -> None:
        """Forget what has ended by itself."""
        self._ends.pop(end, None)

    def end_all(self) -> None:
        """End all of it; a signal handler may call this."""
        self._is_over = True
        for end in list(self._ends.values()):
            end()


stopping = Stopping()
