"""Passes a request on to a service, and its answer back: both streamed, with an internal token and a deadline."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Iterable

import httpx2
from opentelemetry.trace import SpanKind
from starlette.types import Message, Receive, Scope, Send

from tmws_gateway.errors import UpstreamTimeout
from tmws_gateway.exchange import Exchange, exchange_of
from tmws_shared.auth import InternalTokens
from tmws_shared.http import CONNECT_TIMEOUT_S, DEADLINE_HEADER, REQUEST_ID_HEADER, open_client
from tmws_shared.problems import Unavailable
from tmws_shared.telemetry import carry_trace, tracer

_log = logging.getLogger(__name__)

# Longest silence within an answer; services that stream send something more often.
IDLE_TIMEOUT_S = 60.0
MAX_CONNECTIONS = 200
_HOP_BY_HOP = frozenset(
    b"connection keep-alive proxy-authenticate proxy-authorization proxy-connection te trailer transfer-encoding "
    b"upgrade".split()
)
# What a caller says of itself is not passed on: we know it, or it is not its to say. We do not pass on its
# preference for compression, either: an answer is compressed at the outside or not at all.
_NOT_FORWARDED = _HOP_BY_HOP | frozenset(
    b"host authorization cookie accept-encoding content-length expect forwarded traceparent tracestate baggage "
    b"x-request-id".split()
)
_NOT_RETURNED = _HOP_BY_HOP | frozenset(b"date server x-request-id traceparent tracestate".split())
_OURS = (b"x-tmws-", b"x-forwarded-")
_RETRIED = frozenset({"GET", "HEAD"})
# The connection was refused, or an idle one had gone: no byte of an answer was seen.
_NOT_ANSWERED = (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.RemoteProtocolError, httpx2.ReadError)

HeaderList = list[tuple[bytes, bytes]]


class Proxy:
    """One service, as an ASGI app."""

    def __init__(self, service: str, url: str, tokens: InternalTokens) -> None:
        self.service = service
        self._tokens = tokens
        self._client = open_client(url, max_connections=MAX_CONNECTIONS)

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request with the service's answer.

        Raises:
            Unavailable: the service could not be reached.
            UpstreamTimeout: it did not answer before the request's deadline.
        """
        exchange = exchange_of(scope)
        with tracer.start_as_current_span(f"{scope['method']} {self.service}", kind=SpanKind.CLIENT) as span:
            span.set_attributes({"http.request.method": scope["method"], "server.address": self.service})
            request = await self._request(scope, receive, exchange)
            response = await self._send(request, exchange)
            span.set_attribute("http.response.status_code", response.status_code)
        try:
            self._check(response)
            await send(_start(response))
            await _copy(response, receive, send, is_head=exchange.method == "HEAD")
        except httpx2.HTTPError as error:
            raise Unavailable(f"The {self.service} service broke off its answer.") from error
        finally:
            await response.aclose()

    async def _request(self, scope: Scope, receive: Receive, exchange: Exchange) -> httpx2.Request:
        headers = forwarded(scope["headers"])
        headers += [(name.encode(), value.encode()) for name, value in carry_trace().items()]
        headers += [
            (b"authorization", f"Bearer {self._tokens.mint(exchange.caller, self.service)}".encode()),
            (DEADLINE_HEADER.encode(), str(int(exchange.remaining_s * 1000)).encode()),
            (REQUEST_ID_HEADER.encode(), exchange.request_id.encode()),
        ]
        query = b"?" + scope["query_string"] if scope["query_string"] else b""
        url = self._client.base_url.copy_with(raw_path=scope["raw_path"] + query)
        return httpx2.Request(scope["method"], url, headers=headers, content=await _content(scope, receive, headers))

    async def _send(self, request: httpx2.Request, exchange: Exchange) -> httpx2.Response:
        tries = 2 if request.method in _RETRIED else 1
        try:
            async with asyncio.timeout(exchange.remaining_s):
                while True:
                    tries -= 1
                    try:
                        return await self._send_once(request)
                    except _NOT_ANSWERED:
                        if not tries:
                            raise
        except TimeoutError as error:
            raise UpstreamTimeout(f"The {self.service} service did not answer in time.") from error
        except httpx2.HTTPError as error:
            raise Unavailable(f"The {self.service} service is not available.") from error

    async def _send_once(self, request: httpx2.Request) -> httpx2.Response:
        timeout = httpx2.Timeout(IDLE_TIMEOUT_S, connect=CONNECT_TIMEOUT_S, pool=CONNECT_TIMEOUT_S)
        request.extensions = {**request.extensions, "timeout": timeout.as_dict()}
        return await self._client.send(request, stream=True)

    def _check(self, response: httpx2.Response) -> None:
        """A service that does not know our token has another secret; the caller cannot mend that."""
        if response.status_code == 401:
            _log.error("the %s service refuses our internal token", self.service)
            raise Unavailable(f"The {self.service} service is not available.")


def forwarded(headers: Iterable[tuple[bytes, bytes]]) -> HeaderList:
    """Return the headers of a request that are passed on."""
    headers = list(headers)
    dropped = _NOT_FORWARDED | _named_by_connection(headers)
    return [(name, value) for name, value in headers if name not in dropped and not name.startswith(_OURS)]


def returned(headers: Iterable[tuple[bytes, bytes]]) -> HeaderList:
    """Return the headers of an answer that are passed back."""
    headers = [(name.lower(), value) for name, value in headers]
    dropped = _NOT_RETURNED | _named_by_connection(headers)
    return [(name, value) for name, value in headers if name not in dropped and not name.startswith(_OURS)]


def _named_by_connection(headers: HeaderList) -> frozenset[bytes]:
    names = [value for name, value in headers if name == b"connection"]
    return frozenset(name.strip().lower() for value in names for name in value.split(b","))


async def _content(scope: Scope, receive: Receive, headers: HeaderList) -> bytes | AsyncIterator[bytes] | None:
    """The body: whole when it came in one piece, else a stream of its pieces."""
    lengths = [(name, value) for name, value in scope["headers"] if name in (b"content-length", b"transfer-encoding")]
    if not lengths:
        return None
    first = await receive()
    if not first.get("more_body", False):
        return first.get("body", b"")
    headers += [(name, value) for name, value in lengths if name == b"content-length"]
    return _pieces(first, receive)


async def _pieces(message: Message, receive: Receive) -> AsyncIterator[bytes]:
    while True:
        yield message.get("body", b"")
        if not message.get("more_body", False):
            return
        message = await receive()


def _start(response: httpx2.Response) -> Message:
    return {
        "type": "http.response.start",
        "status": response.status_code,
        "headers": returned(response.headers.raw),
    }


async def _copy(response: httpx2.Response, receive: Receive, send: Send, *, is_head: bool) -> None:
    if is_head:
        await send({"type": "http.response.body"})
    elif "content-length" in response.headers:
        await _copy_body(response, send)
    else:
        await _copy_stream(response, receive, send)


async def _copy_body(response: httpx2.Response, send: Send) -> None:
    async for piece in response.aiter_raw():
        await send({"type": "http.response.body", "body": piece, "more_body": True})
    await send({"type": "http.response.body"})


async def _copy_stream(response: httpx2.Response, receive: Receive, send: Send) -> None:
    """Copy an answer that may never end, for as long as the caller listens."""
    copying = asyncio.ensure_future(_copy_body(response, send))
    leaving = asyncio.ensure_future(_until_gone(receive))
    try:
        await asyncio.wait({copying, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if copying.done():
            copying.result()
    finally:
        for task in (copying, leaving):
            task.cancel()
        await asyncio.gather(copying, leaving, return_exceptions=True)


async def _until_gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
