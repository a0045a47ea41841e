"""Server-sent events as an answer."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing

from starlette.responses import StreamingResponse
from starlette.types import Send

_HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}


class EventStream(StreamingResponse):
    """An answer that goes on for as long as its source and its reader do; the source is closed with it."""

    def __init__(self, source: AsyncGenerator[bytes]) -> None:
        super().__init__(source, media_type="text/event-stream", headers=_HEADERS)
        self._source = source

    async def stream_response(self, send: Send) -> None:
        """Send what comes; when the reader has gone, nothing of the source is left."""
        async with aclosing(self._source):
            await super().stream_response(send)
