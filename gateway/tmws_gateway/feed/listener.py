"""One open feed: how far it has been told, and what it is told next."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from time import monotonic

from tmws_gateway.feed.channels import Channel
from tmws_gateway.feed.entries import BEGINNING, Entry, EntryId, View, show_id
from tmws_gateway.feed.stream import EventStream
from tmws_shared.redis import RedisDown

KEEP_ALIVE_S = 15.0
RECONNECT_MS = 2_000
# More is sent in several pieces, so that a slow listener holds no more than one of them.
PIECE_BYTES = 64 * 1024
_GAP = b"event: gap\ndata: {}\n\n"
_INTERRUPTED = b": events wait, Redis is out of reach\n\n"


class Listener:
    """Follows its channel; what the channel has forgotten it reads from the stream."""

    def __init__(self, stream: EventStream, view: View, cursor: EntryId, *, has_gap: bool = False) -> None:
        self.view = view
        self.due_at = 0.0
        # When its caller's credentials expire; it must be awake then.
        self.ends_at = float("inf")
        self._stream = stream
        self._cursor = cursor
        self._has_gap = has_gap
        self._is_interrupted = False
        self._woken = asyncio.Event()

    def wake(self) -> None:
        """Look whether there is something to say."""
        self._woken.set()

    def interrupt(self) -> None:
        """Say that events wait."""
        self._is_interrupted = True
        self.wake()

    def start_over(self) -> None:
        """Begin with what there is; what was before is lost."""
        self._cursor, self._has_gap = BEGINNING, True
        self.wake()

    def greet(self) -> bytes:
        """Return the first piece: how soon to come back, and from where."""
        self._put_off()
        return b"retry: %d\n%b" % (RECONNECT_MS, self._place())

    async def next(self, channel: Channel) -> bytes:
        """Return the next piece as soon as there is one, or when something must be said."""
        while True:
            self._woken.clear()
            piece = self._notices() + await self._entries(channel)
            if not piece and monotonic() >= self.due_at:
                piece = b": keep-alive\n" + self._place()
            if piece:
                self._put_off()
                return piece
            await self._woken.wait()

    def _notices(self) -> bytes:
        notices = _GAP * self._has_gap + _INTERRUPTED * self._is_interrupted
        self._has_gap = self._is_interrupted = False
        return notices

    async def _entries(self, channel: Channel) -> bytes:
        while (entries := channel.since(self._cursor)) is None:
            if (piece := await self._catch_up(channel)) is None:
                return b""
            if piece:
                return piece
        end = channel.position
        piece = self._take(entries)
        if not piece and end is not None and end > self._cursor:
            self._cursor = end
        return piece

    async def _catch_up(self, channel: Channel) -> bytes | None:
        """Return what the stream has after the cursor; None while it is out of reach."""
        try:
            page = await self._stream.page(self._cursor)
        except RedisDown:
            return None
        gap = _GAP if page.has_gap else b""
        if page.end > self._cursor:
            piece = self._take(page.entries)
            self._cursor = self._cursor if piece else page.end
        elif channel.complete_after is not None and channel.complete_after > self._cursor:
            # It was read by us once, and is gone from the stream.
            self._cursor, piece, gap = channel.complete_after, b"", _GAP
        else:
            piece = b""
        return gap + piece

    def _take(self, entries: Iterable[Entry]) -> bytes:
        """Return those it sees, up to the size of a piece; the cursor is then at the last of them."""
        frames: list[bytes] = []
        size_bytes = 0
        for entry in entries:
            if self.view.sees(entry):
                frames.append(entry.frame)
                size_bytes += len(entry.frame)
                self._cursor = entry.id
                if size_bytes >= PIECE_BYTES:
                    break
        return b"".join(frames)

    def _place(self) -> bytes:
        """An id without an event: it is not told, but remembered as the last one."""
        return b"id: %b\n\n" % show_id(self._cursor).encode()

    def _put_off(self) -> None:
        self.due_at = min(monotonic() + KEEP_ALIVE_S, self.ends_at)
