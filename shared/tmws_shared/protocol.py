"""uvicorn's HTTP protocol, whose answers leave in one write: a system call costs as much as the rest of sending."""

from __future__ import annotations

import asyncio
from time import monotonic
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import unquote

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from tmws_shared.cycle import Cycle

if TYPE_CHECKING:
    from uvicorn._types import ASGI3Application

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

    def on_headers_complete(self) -> None:
        """Begin a cycle of ours; as uvicorn does, without what we do not use: upgrades, a root path, its own limit."""
        parser = self.parser
        assert parser is not None  # noqa: S101 -- it calls us
        app = cast("ASGI3Application", self.app)
        target = httptools.parse_url(self.url)
        path = target.path.decode("ascii")
        version = parser.get_http_version()
        self.scope["http_version"] = version
        self.scope["method"] = parser.get_method().decode("ascii")
        self.scope["path"] = unquote(path) if "%" in path else path
        self.scope["raw_path"] = target.path
        self.scope["query_string"] = target.query or b""
        cycle = Cycle(
            scope=self.scope,
            transport=self.transport,
            flow=self.flow,
            logger=self.logger,
            access_logger=self.access_logger,
            access_log=False,
            default_headers=self.server_state.default_headers,
            message_event=asyncio.Event(),
            expect_100_continue=self.expect_100_continue,
            keep_alive=version != "1.0" and parser.should_keep_alive(),
            on_response=self.on_response_complete,
        )
        is_pipelined = self.is_answering
        self.cycle = cycle
        if is_pipelined:
            self.flow.pause_reading()
            self.pipeline.appendleft((cycle, app))
        else:
            self._start_asgi_task(cycle, app)

    @property
    def is_answering(self) -> bool:
        """Whether a request is being answered."""
        cycle = cast("Cycle | None", self.cycle)
        return cycle is not None and not cycle.response_complete
