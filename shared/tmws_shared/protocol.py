"""uvicorn's HTTP protocol, whose answers leave in one write: a system call costs as much as the rest of sending."""

from __future__ import annotations

import asyncio
from time import monotonic
from typing import Any, cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

# From here on more is written than one system call takes, and the transport has to say when to wait.
FULL_BYTES = 64 * 1024


class OneWrite(asyncio.Transport):
    """A transport that keeps what is written until the end of the event loop's turn, and then writes it at once."""

    def __init__(self, transport: asyncio.Transport) -> None:
        super().__init__()
        self._transport = transport
        self._loop = asyncio.get_running_loop()
        self._kept: list[bytes] = []
        self._kept_bytes = 0
        self.is_closing = transport.is_closing
        self.get_extra_info = transport.get_extra_info
        self.pause_reading = transport.pause_reading
        self.resume_reading = transport.resume_reading

    def write(self, data: bytes | bytearray | memoryview[Any]) -> None:
        """Write soon."""
        if not self._kept:
            self._loop.call_soon(self._flush)
        self._kept.append(bytes(data))
        self._kept_bytes += len(data)
        if self._kept_bytes > FULL_BYTES:
            self._flush()

    def close(self) -> None:
        """Write what is kept, and close."""
        self._flush()
        self._transport.close()

    def abort(self) -> None:
        """Close at once."""
        self._kept.clear()
        self._transport.abort()

    def _flush(self) -> None:
        kept, self._kept, self._kept_bytes = self._kept, [], 0
        if kept and not self._transport.is_closing():
            self._transport.write(kept[0] if len(kept) == 1 else b"".join(kept))


class OneWriteProtocol(HttpToolsProtocol):
    """uvicorn's protocol over such a transport; `heard_at` is when the other side last sent something."""

    heard_at = 0.0

    def connection_made(self, transport: asyncio.Transport) -> None:  # pyright: ignore[reportIncompatibleMethodOverride] -- as uvicorn's own
        """Put the transport in between."""
        self.heard_at = monotonic()
        super().connection_made(OneWrite(transport))

    def data_received(self, data: bytes) -> None:
        """Note the time."""
        self.heard_at = monotonic()
        super().data_received(data)

    @property
    def is_answering(self) -> bool:
        """Whether a request is being answered."""
        cycle = cast("RequestResponseCycle | None", self.cycle)
        return cycle is not None and not cycle.response_complete
