"""The outermost layer: each answer's id, trace and security headers; each request's metrics and audit record."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Awaitable, Callable
from time import perf_counter

from opentelemetry.trace import Span, StatusCode
from starlette.datastructures import Headers
from starlette.types import Message, Receive, Scope, Send

from tmws_gateway.audit import AuditLog
from tmws_gateway.body import ClientGone
from tmws_gateway.exchange import KEY, Exchange
from tmws_gateway.traffic import Traffic
from tmws_shared.clock import new_id
from tmws_shared.context import problem_response
from tmws_shared.framing import HeaderList
from tmws_shared.http import REQUEST_ID_HEADER, deadline, request_id
from tmws_shared.problems import InternalError, ProblemError
from tmws_shared.stopping import expire, is_event_stream, send_end, stopping
from tmws_shared.telemetry import carry_trace, note_request, serving, trace_id

_log = logging.getLogger(__name__)

Serve = Callable[[Exchange, Scope, Receive, Send], Awaitable[None]]

CLIENT_GONE = 499  # as nginx logs it; nobody receives it
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")
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
        headers = Headers(scope=scope)
        with serving(scope["method"], headers) as span:
            exchange = _open(scope, headers)
            answer = _Answer(send, exchange, self._headers)
            try:
                await self._attempt(exchange, scope, receive, answer)
            finally:
                self._observe(exchange, span)

    async def _attempt(self, exchange: Exchange, scope: Scope, receive: Receive, answer: _Answer) -> None:
        try:
            async with asyncio.timeout(None) as answer.ending:
                try:
                    await self._serve(exchange, scope, receive, answer)
                finally:
                    stopping.discard(answer.break_off)
        except ClientGone:
            exchange.status = CLIENT_GONE
        except ProblemError as problem:
            await answer.fail(problem, scope, receive)
        except Exception:  # noqa: BLE001 -- the app's handler of the last resort
            if answer.is_broken_off:
                await send_end(answer)
                return
            _log.exception("unhandled error in %s", exchange.action)
            await answer.fail(InternalError(), scope, receive)

    def _observe(self, exchange: Exchange, span: Span) -> None:
        route = exchange.route.path if exchange.route else "unmatched"
        if span.is_recording():
            _describe(span, exchange, route)
        note_request(exchange.method, route, exchange.status, exchange.duration_s)
        self._traffic.note(exchange.status, exchange.duration_s)
        self._audit.record(exchange)


def _describe(span: Span, exchange: Exchange, route: str) -> None:
    span.update_name(exchange.action)
    span.set_attributes(
        {"http.request.method": exchange.method, "http.route": route, "http.response.status_code": exchange.status}
    )
    if exchange.status >= 500:
        span.set_status(StatusCode.ERROR)


def _open(scope: Scope, headers: Headers) -> Exchange:
    given = headers.get(REQUEST_ID_HEADER, "")
    accepted_id = given if _REQUEST_ID.fullmatch(given) else str(new_id())
    exchange = Exchange(
        method=scope["method"],
        resource=scope["raw_path"].decode("latin-1"),
        # X-Forwarded-For is the caller's own claim; without a trusted proxy in front only the peer's address counts.
        address=scope["client"][0] if scope["client"] else "local",
        request_id=accepted_id,
        trace_id=trace_id(),
        headers={"x-request-id": accepted_id, **carry_trace()},
    )
    scope.setdefault("state", {})[KEY] = exchange
    request_id.set(exchange.request_id)
    deadline.set(exchange.deadline)
    return exchange


class _Answer:
    """`send`, which adds the exchange's headers and knows whether the answer has begun."""

    def __init__(self, send: Send, exchange: Exchange, fixed: HeaderList) -> None:
        self._send = send
        self._exchange = exchange
        self._fixed = fixed
        self.ending: asyncio.Timeout | None = None

    @property
    def is_broken_off(self) -> bool:
        """Whether it was a stream that was ended because the process stops."""
        return self.ending is not None and self.ending.expired()

    def break_off(self) -> None:
        """End a stream: the process is about to stop."""
        if self.ending is not None:
            expire(self.ending)

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._begin(message)
        await self._send(message)

    def _begin(self, message: Message) -> None:
        exchange = self._exchange
        exchange.status = message["status"]
        headers = list(message.get("headers", []))
        present = {name.lower() for name, _ in headers}
        learnt = [(name.lower().encode(), value.encode("latin-1")) for name, value in exchange.headers.items()]
        headers += [header for header in (*learnt, *self._fixed) if header[0] not in present]
        message["headers"] = headers
        if is_event_stream(headers):
            exchange.began_at = perf_counter()
            stopping.add(self.break_off)
        exchange.location = next((value.decode("latin-1") for name, value in headers if name == b"location"), None)

    async def fail(self, problem: ProblemError, scope: Scope, receive: Receive) -> None:
        if self._exchange.status:
            raise problem
        challenge = _challenge(problem)
        if challenge:
            problem.headers["WWW-Authenticate"] = challenge
        await problem_response(problem, self._exchange.resource)(scope, receive, self)


def _challenge(problem: ProblemError) -> str | None:
    """The WWW-Authenticate field (RFC 6750, section 3)."""
    error = problem.facts.get("error")
    if error is None or problem.status not in (401, 403):
        return None
    scope = problem.facts.get("scope")
    return f'Bearer error="{error}"' + (f', scope="{scope}"' if scope else "")
