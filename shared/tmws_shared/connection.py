"""One keep-alive connection to another of our processes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import httptools

from tmws_shared.framing import LAST_CHUNK, HeaderList, Request, chunk
from tmws_shared.reply import BrokenAnswer, NotAnswered, Reply

MAX_HEAD_BYTES = 64 * 1024
_BODILESS = frozenset({204, 304})
_CHUNKED = [b"chunked"]


class Connection(asyncio.Protocol):
    """Sends one request at a time and parses its answer; `on_free` hears when it can be used again, or is gone."""

    def __init__(self, on_free: Callable[[Connection], None]) -> None:
        self.idle_since = 0.0
        self._on_free = on_free
        self._transport: asyncio.Transport | None = None
        self._parser = httptools.HttpResponseParser(self)
        self._reply: Reply | None = None
        self._is_head = False
        self._is_sent = True
        self._is_ended = False
        self._is_kept = False
        self._head_bytes = 0
        self._can_write: asyncio.Future[None] | None = None

    @property
    def is_usable(self) -> bool:
        """Whether a request can be sent now."""
        return self._reply is None and self._transport is not None and not self._transport.is_closing()

    def ask(self, request: Request, encoded: bytes) -> Reply:
        """Send a request, or begin to, and return the answer to wait for."""
        assert self._transport is not None  # noqa: S101 -- connected before it is given out
        reply = self._reply = Reply(self.drop, self._resume_reading)
        self._is_head = request.method == "HEAD"
        self._is_sent = not request.is_streamed
        self._is_ended = self._is_kept = False
        self._head_bytes = 0
        self._transport.write(encoded)
        if not self._is_sent:
            reply.sending = asyncio.create_task(self._send_body(request, reply))
        return reply

    def drop(self) -> None:
        """Close at once."""
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.Transport) -> None:  # pyright: ignore[reportIncompatibleMethodOverride] -- streams only; uvloop's are no subclass
        """Keep the transport."""
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Parse what came; bytes nobody asked for end the connection."""
        reply = self._reply
        if reply is None:
            self.drop()
            return
        if not reply.status:
            self._head_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            self._break(reply, f"the answer is malformed: {error.__context__ or error}")
            return
        if not reply.status and self._head_bytes > MAX_HEAD_BYTES:
            self._break(reply, "the head of the answer is too large")
        elif self._is_ended:
            self._end(reply)
        else:
            reply.wake()

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell whoever waits."""
        reply, self._reply, self._transport = self._reply, None, None
        if reply is not None:
            reply.fail(BrokenAnswer("the answer was broken off") if self._head_bytes else NotAnswered(str(exc or "")))
        self.resume_writing()
        self._on_free(self)

    def pause_writing(self) -> None:
        """Let a streamed body wait."""
        self._can_write = asyncio.get_running_loop().create_future()

    def resume_writing(self) -> None:
        """Let a streamed body go on."""
        if self._can_write is not None and not self._can_write.done():
            self._can_write.set_result(None)
        self._can_write = None

    # The parser calls these; what they raise makes the answer malformed.

    def on_message_begin(self) -> None:
        """Refuse a second answer."""
        if self._is_ended:
            raise BrokenAnswer("a second answer")

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep a header of the head; trailers are dropped."""
        if self._reply is not None and not self._reply.status:
            self._reply.headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        """Begin the answer, unless this is the head of an interim one (RFC 9110, section 15.2)."""
        reply, status = self._reply, self._parser.get_status_code()
        assert reply is not None  # noqa: S101 -- nothing is parsed that was not asked for
        if 100 <= status < 200 and status != 101:
            reply.headers.clear()
            return
        if not 200 <= status < 600:
            raise BrokenAnswer("a status that cannot be passed on")
        if sum(len(name) + len(value) + 4 for name, value in reply.headers) > MAX_HEAD_BYTES:
            raise BrokenAnswer("the head is too large")
        if not self._is_head and status not in _BODILESS:
            _check_end(reply.headers, self._parser.get_http_version())
        reply.status = status
        if self._is_head:
            self._finish()

    def on_body(self, body: bytes) -> None:
        """Hand on a piece of the body."""
        if self._is_ended or self._reply is None:
            raise BrokenAnswer("a body where none may be")
        if self._reply.add(body) and self._transport is not None:
            self._transport.pause_reading()

    def on_message_complete(self) -> None:
        """End the answer; after an interim one the parser goes on by itself."""
        if self._reply is not None and self._reply.status and not self._is_ended:
            self._finish()

    def _finish(self) -> None:
        self._is_ended = True
        # Asked now: afterwards the parser has forgotten.
        self._is_kept = self._parser.should_keep_alive()

    def _end(self, reply: Reply) -> None:
        """Let go of a complete answer; the connection is free, if it may be used again."""
        self._reply = None
        self._resume_reading()
        if self._is_head:
            # The old one waits for the body that Content-Length promised.
            self._parser = httptools.HttpResponseParser(self)
        reply.end()
        if self._is_kept and self._is_sent:
            self._on_free(self)
        else:
            self.drop()

    def _break(self, reply: Reply, reason: str) -> None:
        reply.fail(BrokenAnswer(reason))
        self.drop()

    def _resume_reading(self) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.resume_reading()

    async def _send_body(self, request: Request, reply: Reply) -> None:
        """Send a streamed body, no faster than it is taken; a body that is not as announced breaks the connection."""
        try:
            self._is_sent = await self._send_pieces(request, reply)
        finally:
            if not self._is_sent and not reply.is_complete:
                self.drop()

    async def _send_pieces(self, request: Request, reply: Reply) -> bool:
        sent_bytes = 0
        assert not isinstance(request.body, bytes | None)  # noqa: S101 -- only streamed bodies come here
        async for piece in request.body:
            sent_bytes += len(piece)
            if self._transport is None or reply.is_complete or sent_bytes > (request.length or sent_bytes):
                return False
            self._transport.write(chunk(piece) if request.is_chunked else piece)
            if self._can_write is not None:
                await self._can_write
        if self._transport is not None and request.is_chunked:
            self._transport.write(LAST_CHUNK)
        return request.is_chunked or sent_bytes == request.length


def _check_end(headers: HeaderList, version: str) -> None:
    """Refuse a body of which only the end of the connection would say whether it is whole.

    The parser has refused Content-Length twice, or beside Transfer-Encoding.
    """
    codings = [value.lower() for name, value in headers if name == b"transfer-encoding"]
    if codings:
        if codings != _CHUNKED or version != "1.1":
            raise BrokenAnswer("a transfer coding other than chunked in HTTP/1.1")
    elif not any(name == b"content-length" for name, _ in headers):
        raise BrokenAnswer("its length is not given")
