"""Requests to the outside: guarded, bounded in time and size, with few redirects."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from dataclasses import dataclass, field, replace

import httpx2

from tmws_workflow.egress.allowed import AllowList
from tmws_workflow.egress.guard import Guard, Refused, Resolve, name_of, parse_url, port_of, resolve
from tmws_workflow.egress.secrets import Secrets
from tmws_workflow.egress.transport import GuardedTransport

MAX_BYTES = 5 * 1024 * 1024
MAX_REDIRECTS = 3
_HEADERS = {"accept": "*/*", "accept-encoding": "gzip, deflate", "user-agent": "TMWS"}
# All else is bounded by the deadline of the whole.
_TIMEOUT = httpx2.Timeout(None, connect=10.0).as_dict()
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
# Whatever else a step sends could be a credential, and is for the host it was written for.
_FOR_EVERYBODY = frozenset({"accept", "accept-language", "content-type", "idempotency-key", "user-agent"})
_OF_THE_BODY = frozenset({"content-type"})
# One coding, which is decoded piece by piece: codings within codings multiply.
_CODINGS = frozenset({"", "identity", "gzip", "x-gzip", "deflate"})


class TooLarge(Exception):
    """The answer is larger than allowed."""


class Unreadable(Exception):
    """The answer is in no form that we read."""


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A request, its headers' names in lower case; an answer with one of the `expected` statuses is never followed."""

    method: str
    url: httpx2.URL
    headers: dict[str, str] = field(default_factory=dict[str, str])
    content: bytes | None = None
    expected: Collection[int] = ()
    max_bytes: int = MAX_BYTES


@dataclass(frozen=True, slots=True)
class Received:
    """An answer, decompressed."""

    status: int
    headers: httpx2.Headers
    content: bytes


class Egress:
    """Sends requests to the outside, each within `timeout_s` in all."""

    def __init__(self, allowed: AllowList, secrets: Secrets, timeout_s: float, *, resolver: Resolve = resolve) -> None:
        self._allowed = allowed
        self._secrets = secrets
        self._timeout_s = timeout_s
        # The transport alone: a client would bring cookies, redirects and the environment's proxies along.
        self._transport = GuardedTransport(Guard(allowed, resolver))

    def secret(self, name: str, url: httpx2.URL, namespace: str) -> str | None:
        """Return a secret; None when this namespace must not send it to this URL.

        Without TLS it goes only where the operator's allow-list names the host.
        """
        host = name_of(url)
        if url.scheme != "https" and not self._allowed.names(host, port_of(url)):
            return None
        return self._secrets.get(name, host, namespace)

    async def close(self) -> None:
        """Close what is open."""
        await self._transport.aclose()

    async def send(self, request: Outgoing) -> Received:
        """Send a request and return the answer, after at most three redirects.

        Raises:
            Refused: the target, or that of a redirect, must not be reached.
            Unresolved: its name has no address.
            TooLarge, Unreadable: the answer cannot be taken.
            httpx2.TransportError: there is no answer.
            TimeoutError: not in time.
        """
        async with asyncio.timeout(self._timeout_s):
            for _ in range(MAX_REDIRECTS + 1):
                answer = await self._send_once(request)
                if isinstance(answer, Received):
                    return answer
                request = answer
        raise Refused(f"more than {MAX_REDIRECTS} redirects")

    async def _send_once(self, request: Outgoing) -> Received | Outgoing:
        """Return the answer, or the request that it sends us on to."""
        asked = httpx2.Request(
            request.method,
            request.url,
            headers=_HEADERS | request.headers,
            content=request.content,
            extensions={"timeout": _TIMEOUT},
        )
        answer = await self._transport.handle_async_request(asked)
        try:
            status = answer.status_code
            location = answer.headers.get("location")
            if status in _REDIRECTS and status not in request.expected and location is not None:
                return _redirected(request, status, location)
            return Received(status, answer.headers, await _read(answer, request.max_bytes))
        finally:
            await answer.aclose()


async def _read(answer: httpx2.Response, max_bytes: int) -> bytes:
    if answer.headers.get("content-encoding", "").strip().lower() not in _CODINGS:
        raise Unreadable("The answer has a Content-Encoding that was not asked for.")
    body = bytearray()
    async for piece in answer.aiter_bytes():
        body += piece
        if len(body) > max_bytes:
            raise TooLarge(f"The answer is larger than {max_bytes} bytes.")
    return bytes(body)


def _redirected(request: Outgoing, status: int, location: str) -> Outgoing:
    """Follow a redirect as browsers do (RFC 9110, section 15.4), credentials staying where they are for."""
    try:
        url = parse_url(str(request.url.join(location)))
    except (httpx2.InvalidURL, ValueError):
        raise Refused("the redirect cannot be read") from None
    headers = request.headers
    if _origin(url) != _origin(request.url):
        headers = {name: value for name, value in headers.items() if name in _FOR_EVERYBODY}
    becomes_get = (status == 303 and request.method != "HEAD") or (status in (301, 302) and request.method == "POST")
    if not becomes_get:
        return replace(request, url=url, headers=headers)
    headers = {name: value for name, value in headers.items() if name not in _OF_THE_BODY}
    return replace(request, method="GET", url=url, headers=headers, content=None)


def _origin(url: httpx2.URL) -> tuple[str, str, int]:
    return url.scheme, name_of(url), port_of(url)
