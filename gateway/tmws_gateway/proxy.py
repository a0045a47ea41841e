"""Passes a request on to a service, and its answer back: both streamed, with an internal token and a deadline."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Mapping
from functools import lru_cache

from starlette.types import Message, Receive, Scope, Send

from tmws_gateway.body import ClientGone, has_body, until_gone
from tmws_gateway.errors import UpstreamTimeout
from tmws_gateway.exchange import Exchange, encode_headers, exchange_of
from tmws_gateway.identity.address_notes import HEADER, AddressNotes
from tmws_shared.auth import InternalTokens
from tmws_shared.framing import HeaderList, Request
from tmws_shared.http import DEADLINE_HEADER, REQUEST_ID_HEADER
from tmws_shared.problems import Unavailable
from tmws_shared.reply import CircuitOpen, Reply, UpstreamError
from tmws_shared.stopping import EVENT_STREAM
from tmws_shared.telemetry import calling, carry_trace
from tmws_shared.upstream import Upstream

_log = logging.getLogger(__name__)

# Longest silence within an answer; services that stream send something more often.
IDLE_TIMEOUT_S = 60.0
# A whole answer whose length is known; streams last as long as they like.
WHOLE_TIMEOUT_S = 300.0
_HOP_BY_HOP = frozenset(
    b"connection keep-alive proxy-authenticate proxy-authorization proxy-connection te trailer transfer-encoding "
    b"upgrade".split()
)
# What a caller says of itself is not passed on: we know it, or it is not its to say. We do not pass on its
# preference for compression, either: an answer is compressed at the outside or not at all.
_NOT_FORWARDED = _HOP_BY_HOP | frozenset(
    b"host origin authorization cookie accept-encoding content-length expect forwarded traceparent tracestate baggage "
    b"x-request-id".split()
)
_NOT_RETURNED = _HOP_BY_HOP | frozenset(b"date server x-request-id traceparent tracestate".split())
_OURS = (b"x-tmws-", b"x-forwarded-")
_TOKEN, _DEADLINE, _REQUEST_ID = b"authorization", DEADLINE_HEADER.encode(), REQUEST_ID_HEADER.encode()


class Proxy:
    """One service, as an ASGI app."""

    def __init__(self, service: str, upstream: Upstream, tokens: InternalTokens) -> None:
        self.service = service
        self._upstream = upstream
        self._tokens = tokens

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request with the service's answer.

        Raises:
            Unavailable: the service could not be reached.
            UpstreamTimeout: it did not answer before the request's deadline.
        """
        exchange = exchange_of(scope)
        attributes = {"http.request.method": scope["method"], "server.address": self.service}
        with calling(f"{scope['method']} {self.service}", attributes) as span:
            # A call whose span nobody records has none of its own.
            trace = encode_headers(carry_trace()) if span.is_recording() else exchange.trace
            request = self._request(scope, exchange, trace)
            if has_body(exchange.given):
                await _give_body(request, exchange.given, receive)
            reply = await self._ask(request, exchange)
            span.set_attribute("http.response.status_code", reply.status)
        try:
            self._check(reply)
            await _copy(reply, receive, send, is_head=exchange.method == "HEAD")
        except (UpstreamError, TimeoutError) as error:
            raise Unavailable(f"The {self.service} service broke off its answer.") from error
        finally:
            await reply.close()

    def _request(self, scope: Scope, exchange: Exchange, trace: HeaderList) -> Request:
        headers = [
            *forwarded(scope["headers"]),
            *trace,
            *self._credential(scope, exchange),
            (_DEADLINE, b"%d" % (exchange.remaining_s * 1000)),
            (_REQUEST_ID, exchange.request_id.encode()),
        ]
        query = scope["query_string"]
        target = scope["raw_path"] + b"?" + query if query else scope["raw_path"]
        return Request(scope["method"], target, headers)

    def _credential(self, scope: Scope, exchange: Exchange) -> HeaderList:
        return [(_TOKEN, b"Bearer " + self._tokens.mint(exchange.caller, self.service, scope["method"]).encode())]

    async def _ask(self, request: Request, exchange: Exchange) -> Reply:
        may_wait = exchange.route is not None and exchange.route.may_wait
        is_long = may_wait or _asks_for_stream(request.headers)
        try:
            return await self._upstream.ask(request, exchange.remaining_s, is_long=is_long)
        except TimeoutError as error:
            raise UpstreamTimeout(f"The {self.service} service did not answer in time.") from error
        except CircuitOpen as error:
            detail = f"The {self.service} service is not available."
            raise Unavailable(detail, retry_after_s=error.retry_after_s) from error
        except UpstreamError as error:
            raise Unavailable(f"The {self.service} service is not available.") from error

    def _check(self, reply: Reply) -> None:
        """A service that does not know our token has another secret; the caller cannot mend that."""
        if reply.status == 401:
            _log.error("the %s service refuses our internal token", self.service)
            raise Unavailable(f"The {self.service} service is not available.")


class McpProxy(Proxy):
    """The MCP bridge: no service but a client of ours, which calls us with the credential of each of its callers."""

    def __init__(self, service: str, upstream: Upstream, tokens: InternalTokens, notes: AddressNotes) -> None:
        super().__init__(service, upstream, tokens)
        self._notes = notes

    def _credential(self, scope: Scope, exchange: Exchange) -> HeaderList:
        shown = [(name, value) for name, value in scope["headers"] if name == _TOKEN]
        return [*shown, (HEADER, self._notes.write(exchange.address, scope["headers"]))]

    def _check(self, reply: Reply) -> None:
        pass


def _asks_for_stream(headers: HeaderList) -> bool:
    return any(name == b"accept" and EVENT_STREAM in value for name, value in headers)


def forwarded(headers: HeaderList) -> HeaderList:
    """Return the headers of a request that are passed on."""
    return _pass_on(headers, _is_forwarded)


def returned(headers: HeaderList) -> HeaderList:
    """Return the headers of an answer that are passed back."""
    return _pass_on(headers, _is_returned)


def _pass_on(headers: HeaderList, is_passed_on: Callable[[bytes], bool]) -> HeaderList:
    """The headers that are, without those that a Connection header names."""
    kept: HeaderList = []
    named: list[bytes] = []
    for header in headers:
        if is_passed_on(header[0]):
            kept.append(header)
        elif header[0] == b"connection":
            named += (name.strip().lower() for name in header[1].split(b","))
    return [header for header in kept if header[0] not in named] if named else kept


# The same names come with every request.
@lru_cache(256)
def _is_forwarded(name: bytes) -> bool:
    return name not in _NOT_FORWARDED and not name.startswith(_OURS)


@lru_cache(256)
def _is_returned(name: bytes) -> bool:
    return name not in _NOT_RETURNED and not name.startswith(_OURS)


async def _give_body(request: Request, given: Mapping[bytes, bytes], receive: Receive) -> None:
    """Give the request its body: whole when it came in one piece, else as a stream of its pieces."""
    first = await _receive_body(receive)
    if first.get("more_body", False):
        length = given.get(b"content-length")
        request.body, request.length = _pieces(first, receive), None if length is None else int(length)
    else:
        request.body = first.get("body", b"")


async def _pieces(message: Message, receive: Receive) -> AsyncIterator[bytes]:
    while True:
        yield message.get("body", b"")
        if not message.get("more_body", False):
            return
        message = await _receive_body(receive)


async def _receive_body(receive: Receive) -> Message:
    message = await receive()
    if message["type"] == "http.disconnect":
        raise ClientGone
    return message


async def _copy(reply: Reply, receive: Receive, send: Send, *, is_head: bool) -> None:
    """Send the answer on; one that is there already goes out in one turn of the event loop, and so in one write."""
    await send({"type": "http.response.start", "status": reply.status, "headers": returned(reply.headers)})
    if is_head or reply.is_complete:
        await send({"type": "http.response.body", "body": b"" if is_head else reply.take()})
    elif any(name == b"content-length" for name, _ in reply.headers):
        async with asyncio.timeout(WHOLE_TIMEOUT_S):
            await _copy_body(reply, send)
    else:
        await _copy_stream(reply, receive, send)


async def _copy_body(reply: Reply, send: Send) -> None:
    async for piece in reply.pieces(IDLE_TIMEOUT_S):
        await send({"type": "http.response.body", "body": piece, "more_body": True})
    await send({"type": "http.response.body"})


async def _copy_stream(reply: Reply, receive: Receive, send: Send) -> None:
    """Copy an answer that may never end, for as long as the caller listens."""
    copying = asyncio.ensure_future(_copy_body(reply, send))
    leaving = asyncio.ensure_future(_until_gone(reply, receive))
    try:
        await asyncio.wait({copying, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if copying.done():
            copying.result()
    finally:
        for task in (copying, leaving):
            task.cancel()
        await asyncio.gather(copying, leaving, return_exceptions=True)


async def _until_gone(reply: Reply, receive: Receive) -> None:
    # As long as the body is being sent, its sender is the one who receives, and hears that the caller is gone.
    if reply.sending is not None:
        await asyncio.wait({reply.sending})
    await until_gone(receive)
