"""What only the parser's side can refuse: targets and heads that ASGI does not show, or shows too late."""

from __future__ import annotations

import socket
from asyncio import TimerHandle, Transport

import httptools
from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from tmws_gateway.connections import Connections
from tmws_gateway.errors import HeadersTooLarge, RequestTimeout, TooManyConnections, UriTooLong
from tmws_gateway.guard import MAX_URL_BYTES
from tmws_gateway.parts import Parts
from tmws_shared.problems import MEDIA_TYPE, MalformedRequest, ProblemError
from tmws_shared.protocol import OneWriteProtocol

HEAD_TIMEOUT_S = 10.0
# Linux drops a connection on which nothing could be delivered for so long, also one that is being closed.
UNREAD_TIMEOUT_MS = 60_000
# Above the guard's own limit, whose refusal names the trace; this one only bounds memory.
MAX_HEAD_BYTES = 64 * 1024


class EdgeProtocol(OneWriteProtocol):
    """uvicorn's protocol; a head must end within 10 s, stay under 64 KiB and name a path."""

    _head_timer: TimerHandle | None = None
    _head_bytes = 0
    _in_head = True
    _connections: Connections

    def connection_made(self, transport: Transport) -> None:  # pyright: ignore[reportIncompatibleMethodOverride] -- as uvicorn's own
        """Give the first head its time, and the caller's system its own to take what is sent."""
        super().connection_made(transport)
        parts: Parts = self.app_state["parts"]
        self._connections = parts.connections
        if not self._connections.admit(self, self.client[0] if self.client else None):
            self._refuse(TooManyConnections())
            return
        self._start_timer()
        connected = transport.get_extra_info("socket")
        if connected is not None and hasattr(socket, "TCP_USER_TIMEOUT"):
            connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, UNREAD_TIMEOUT_MS)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget it, and the timer."""
        self._connections.forget(self)
        self._stop_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Feed the parser, as long as the head is not too large."""
        if self._in_head:
            self._head_bytes += len(data)
        super().data_received(data)
        # Most heads come whole, and need no timer.
        if self._in_head and self._head_bytes:
            self._await_rest()

    def _await_rest(self) -> None:
        if self._head_bytes > MAX_HEAD_BYTES:
            self._refuse(HeadersTooLarge())
        elif self._head_timer is None:
            self._start_timer()

    def on_message_begin(self) -> None:
        """Begin a new head."""
        super().on_message_begin()
        self._in_head = True

    def on_url(self, url: bytes) -> None:
        """Refuse a target that is too long before it is parsed."""
        super().on_url(url)
        if len(self.url) > MAX_URL_BYTES:
            self._refuse(UriTooLong())
            raise httptools.HttpParserError

    def on_headers_complete(self) -> None:
        """Refuse absolute-form targets: we are no proxy, and their host would not be seen (RFC 9112, section 3.2.2)."""
        self._stop_timer()
        self._in_head = False
        if not self.url.startswith(b"/"):
            raise httptools.HttpParserError
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """Expect the next head."""
        super().on_message_complete()
        self._in_head = True
        self._head_bytes = 0

    def send_400_response(self, msg: str) -> None:
        """Answer what is not HTTP."""
        self._refuse(MalformedRequest(msg))

    def hang_up(self) -> None:
        """Close, to make room for another connection."""
        self._stop_timer()
        self.transport.close()

    def _start_timer(self) -> None:
        late = RequestTimeout("The head must arrive within 10 seconds.")
        self._head_timer = self.loop.call_later(HEAD_TIMEOUT_S, self._refuse, late)

    def _stop_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _refuse(self, problem: ProblemError) -> None:
        """Answer once and close; an answer that is already on its way is cut off."""
        if self.transport.is_closing():
            return
        body = problem.body()
        head = (
            f"content-type: {MEDIA_TYPE}\r\ncontent-length: {len(body)}\r\nx-content-type-options: nosniff\r\n"
            "cache-control: no-store\r\nconnection: close\r\n\r\n"
        )
        self.transport.write(STATUS_LINE[problem.status] + head.encode() + body)
        self.transport.close()
