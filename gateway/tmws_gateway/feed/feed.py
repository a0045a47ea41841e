"""Reads the stream of events once for everybody who listens, and not at all while nobody does."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Generator
from contextlib import contextmanager
from time import monotonic

from tmws_gateway.feed.channels import Channel
from tmws_gateway.feed.entries import BEGINNING, EntryId, View
from tmws_gateway.feed.listener import Listener
from tmws_gateway.feed.stream import EventStream, Page
from tmws_shared.cancellation import is_cancelled
from tmws_shared.problems import Unavailable
from tmws_shared.redis import RedisDown
from tmws_shared.telemetry import Gauge

_log = logging.getLogger(__name__)

MAX_LISTENERS = 5_000
RETRY_S = 1.0
TICK_S = 1.0
_LISTENERS = Gauge("tmws_event_listeners", "Open event feeds")


class Feed:
    """Who listens, and how far the stream was read for them."""

    def __init__(self, stream: EventStream) -> None:
        self._stream = stream
        self._channels: dict[str, Channel] = {}
        self._listeners: set[Listener] = set()
        self._is_wanted = asyncio.Event()
        # The last entry that was read; None while nobody listens.
        self._position: EntryId | None = None

    async def admit(self, view: View, after: EntryId | None) -> Listener:
        """Return a listener that begins after an id; None is now.

        Raises:
            Unavailable: Redis is out of reach, or too many listen.
        """
        if len(self._listeners) >= MAX_LISTENERS:
            raise Unavailable("Too many event feeds are open.", retry_after_s=10)
        try:
            first, last = await self._stream.bounds()
        except RedisDown as error:
            raise Unavailable("The event feed needs Redis, which is out of reach.", retry_after_s=5) from error
        # A stream that was lost begins anew with later ids than it had.
        last = max(last, self._position or BEGINNING)
        if after is None:
            return Listener(self._stream, view, last)
        if after > last or first > after > BEGINNING:
            return Listener(self._stream, view, BEGINNING, has_gap=True)
        return Listener(self._stream, view, after)

    @contextmanager
    def listening(self, listener: Listener) -> Generator[Channel]:
        """Yield the channel that wakes the listener for as long as the block."""
        namespace = listener.view.namespace
        channel = self._channels.setdefault(namespace, Channel(self._position))
        channel.listeners[listener.wake] = listener.view
        self._listeners.add(listener)
        self._is_wanted.set()
        _LISTENERS.set(len(self._listeners))
        try:
            yield channel
        finally:
            del channel.listeners[listener.wake]
            self._listeners.discard(listener)
            if not channel.listeners:
                del self._channels[namespace]
            if not self._listeners:
                self._is_wanted.clear()
            _LISTENERS.set(len(self._listeners))

    async def run(self) -> None:
        """Read while somebody listens, until cancelled; without Redis listeners are told, and wait."""
        while not is_cancelled():
            await self._is_wanted.wait()
            try:
                await self._read()
            except RedisDown:
                _log.warning("the event feed waits: Redis is out of reach")
                for listener in self._listeners:
                    listener.interrupt()
                await asyncio.sleep(RETRY_S)

    async def tick(self) -> None:
        """Wake each listener that has been silent for too long, until cancelled: one timer for all of them."""
        while True:
            await self._is_wanted.wait()
            await asyncio.sleep(TICK_S)
            current = monotonic()
            for listener in self._listeners:
                if listener.due_at <= current:
                    listener.wake()

    async def _read(self) -> None:
        _, last = await self._stream.bounds()
        if self._position is not None and last < self._position:
            for listener in self._listeners:
                listener.start_over()
        self._position = last
        for channel in self._channels.values():
            channel.restart(last)
        while self._is_wanted.is_set():
            page = await self._stream.wait(self._position)
            # After a silence: a stream that was lost may begin anew with earlier ids, if its server's clock is behind.
            if page.end == self._position and (await self._stream.bounds())[1] < self._position:
                return
            self._spread(page)
        self._position = None

    def _spread(self, page: Page) -> None:
        self._position = page.end
        for entry in page.entries:
            channel = self._channels.get(entry.namespace)
            if channel is not None:
                channel.add(entry)
        for channel in self._channels.values():
            channel.position = page.end
