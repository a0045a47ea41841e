"""The outermost layer: each answer's id, trace and security headers; each request's metrics and audit record."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Awaitable, Callable, Mapping
from time import perf_counter

from opentelemetry.trace import Span, StatusCode
from starlette.datastructures import Headers
from starlette.types import Message, Receive, Scope, Send

from tmws_gateway.audit.log import AuditLog
from tmws_gateway.body import ClientGone
from tmws_gateway.exchange import KEY, Exchange, encode_headers
from tmws_gateway.traffic import Traffic
from tmws_shared.clock import new_id_text
from tmws_shared.context import problem_response
from tmws_shared.framing import HeaderList
from tmws_shared.http import REQUEST_ID_HEADER, deadline, request_id
from tmws_shared.problems import InternalError, ProblemError
from tmws_shared.stopping import EVENT_STREAM, Interruption, send_end, stopping
from tmws_shared.telemetry import carry_trace, note_request, serving, trace_id

_log = logging.getLogger(__name__)

Serve = Callable[[Exchange, Scope, Receive, Send], Awaitable[None]]

CLIENT_GONE = 499  # as nginx logs it; nobody receives it
_REQUEST_ID = re.compile(rb"[A-Za-z0-9._-]{1,128}")
_ID_HEADER = REQUEST_ID_HEADER.encode()
_NO_TRACE: Mapping[str, str] = {}
_READING = frozenset({"GET", "HEAD"})
_OF_A_BODY = frozenset({b"content-length", b"content-type"})
_API_CSP = b"default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
SECURITY_HEADERS: HeaderList = [
    (b"x-content-type-options", b"nosniff"),
    (b"content-security-policy", _API_CSP),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"cache-control", b"no-store"),
]
HSTS = (b"strict-transport-security", b"max-age=31536000; includeSubDomains")


class Edge:
    """Surrounds `serve`; whatever goes wrong inside becomes a problem document."""

    def __init__(self, serve: Serve, audit: AuditLog, traffic: Traffic, *, over_tls: bool) -> None:
        self._serve = serve
        self._audit = audit
        self._traffic = traffic
        self._headers = [*SECURITY_HEADERS, HSTS] if over_tls else SECURITY_HEADERS

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        given = dict(scope["headers"])
        with serving(scope["method"], Headers(scope=scope) if b"traceparent" in given else _NO_TRACE) as span:
            exchange = _open(scope, given)
            answer = _Answer(send, exchange, self._headers)
            try:
                await self._serve(exchange, scope, receive, answer)
            except asyncio.CancelledError:
                if not answer.is_over():
                    raise
                await send_end(answer)
            except ClientGone:
                exchange.status = CLIENT_GONE
            except ProblemError as problem:
                await answer.fail(problem, scope, receive)
            except Exception:  # noqa: BLE001 -- the app's handler of the last resort
                _log.exception("unhandled error in %s", exchange.action)
                await answer.fail(InternalError(), scope, receive)
            finally:
                answer.leave()
                self._observe(exchange, span)

    def _observe(self, exchange: Exchange, span: Span) -> None:
        route = exchange.route.path if exchange.route else "unmatched"
        if span.is_recording():
            _describe(span, exchange, route)
        duration_s = exchange.duration_s
        note_request(exchange.method, route, exchange.status, duration_s)
        key_id = exchange.principal.key_id if exchange.principal else None
        self._traffic.note(exchange.status, duration_s, key_id)
        self._audit.record(exchange)


def _describe(span: Span, exchange: Exchange, route: str) -> None:
    span.update_name(exchange.action)
    span.set_attributes(
        {"http.request.method": exchange.method, "http.route": route, "http.response.status_code": exchange.status}
    )
    if exchange.status >= 500:
        span.set_status(StatusCode.ERROR)


def _open(scope: Scope, given: Mapping[bytes, bytes]) -> Exchange:
    given_id = given.get(_ID_HEADER, b"")
    accepted_id = given_id.decode() if _REQUEST_ID.fullmatch(given_id) else new_id_text()
    trace = encode_headers(carry_trace())
    exchange = Exchange(
        method=scope["method"],
        resource=scope["raw_path"].decode("latin-1"),
        address=scope["client"][0] if scope["client"] else "local",
        request_id=accepted_id,
        trace_id=trace_id(),
        given=given,
        trace=trace,
        headers=[(_ID_HEADER, accepted_id.encode()), *trace],
        if_none_match=given.get(b"if-none-match"),
    )
    scope.setdefault("state", {})[KEY] = exchange
    request_id.set(exchange.request_id)
    deadline.set(exchange.deadline)
    return exchange


def names_etag(if_none_match: bytes, headers: HeaderList) -> bool:
    """Whether If-None-Match names the ETag of an answer with these headers (RFC 9110, section 13.1.2)."""
    etag = next((value for name, value in headers if name.lower() == b"etag"), None)
    known = [tag.strip().removeprefix(b"W/") for tag in if_none_match.split(b",")]
    return etag is not None and (known == [b"*"] or etag.removeprefix(b"W/") in known)


class _Answer:
    """`send`, which adds the exchange's headers, knows whether the answer has begun, and sends nothing twice: what the
    caller has, as its If-None-Match says, is 304.
    """

    def __init__(self, send: Send, exchange: Exchange, fixed: HeaderList) -> None:
        self._send = send
        self._exchange = exchange
        self._fixed = fixed
        self._is_known = False
        # How to end a stream when the process is about to stop.
        self._break_off: Interruption | None = None

    def leave(self) -> None:
        """Note that the answer is over, however it ended."""
        if self._break_off is not None:
            stopping.discard(self._break_off)

    def is_over(self) -> bool:
        """Whether it was our own doing that the task was cancelled; then it is not any more."""
        return self._break_off is not None and self._break_off.is_ours()

    def __call__(self, message: Message) -> Awaitable[None]:
        if message["type"] == "http.response.start":
            self._begin(message)
        elif self._is_known:
            if message.get("more_body", False):
                return _nothing()
            message = {"type": "http.response.body"}
        return self._send(message)

    def _begin(self, message: Message) -> None:
        exchange = self._exchange
        headers: HeaderList = list(message.get("headers", ()))
        if exchange.if_none_match is not None and message["status"] == 200:
            self._is_known = exchange.method in _READING and names_etag(exchange.if_none_match, headers)
        if self._is_known:
            message["status"] = 304
            headers = [header for header in headers if header[0] not in _OF_A_BODY]
        exchange.status = message["status"]
        present = dict(headers)
        headers += [header for header in (*exchange.headers, *self._fixed) if header[0] not in present]
        message["headers"] = headers
        if present.get(b"content-type", b"").startswith(EVENT_STREAM):
            exchange.began_at = perf_counter()
            self._break_off = Interruption()
            stopping.add(self._break_off)
        if b"location" in present:
            exchange.location = present[b"location"].decode("latin-1")

    async def fail(self, problem: ProblemError, scope: Scope, receive: Receive) -> None:
        if self._exchange.status:
            raise problem
        challenge = _challenge(problem, self._exchange.metadata_url)
        if challenge:
            problem.headers["WWW-Authenticate"] = challenge
        await problem_response(problem, self._exchange.resource)(scope, receive, self)


async def _nothing() -> None:
    pass


def _challenge(problem: ProblemError, metadata_url: str | None) -> str | None:
    """The WWW-Authenticate field (RFC 6750, section 3; RFC 9728, section 5.1)."""
    if problem.status not in (401, 403):
        return None
    given = {name: problem.facts.get(name) for name in ("error", "scope")} | {"resource_metadata": metadata_url}
    parameters = ", ".join(f'{name}="{value}"' for name, value in given.items() if value)
    return f"Bearer {parameters}" if parameters else None
