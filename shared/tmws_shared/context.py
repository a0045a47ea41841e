"""The ASGI layer around every service: request id, trace, internal token, deadline, metrics, last-resort errors."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from time import monotonic, perf_counter

from opentelemetry.trace import Span, StatusCode
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tmws_shared.auth import Principal, bearer
from tmws_shared.clock import new_id
from tmws_shared.health import PATHS
from tmws_shared.http import (
    DEADLINE_HEADER,
    DEFAULT_TIMEOUT_S,
    REQUEST_ID_HEADER,
    deadline,
    request_id,
)
from tmws_shared.problems import MEDIA_TYPE, InternalError, ProblemError, Unavailable
from tmws_shared.stopping import Interruption, is_event_stream, send_end, stopping
from tmws_shared.telemetry import note_request, serving, trace_id

_log = logging.getLogger(__name__)
Verify = Callable[[str, str], Principal]


class RequestContext:
    """Gives every request its surroundings, and every failure a problem document."""

    def __init__(self, app: ASGIApp, verify: Verify) -> None:
        self._app = app
        self._verify = verify

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http" or scope["path"] in PATHS:
            await self._app(scope, receive, send)
            return
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        request_id.set(headers.get(REQUEST_ID_HEADER) or str(new_id()))
        answer = _Answer(send)
        started = perf_counter()
        with serving(scope["method"], headers) as span:
            try:
                await self._serve(headers, scope, receive, answer)
            finally:
                _observe(span, scope, answer.status, (answer.began_at or perf_counter()) - started)

    async def _serve(self, headers: Mapping[str, str], scope: Scope, receive: Receive, answer: _Answer) -> None:
        try:
            principal = self._verify(bearer(headers.get("authorization", "")), scope["method"])
            scope.setdefault("state", {})["principal"] = principal
            answer.expect_within(_timeout_s(headers))
            try:
                await self._app(scope, receive, answer)
            finally:
                answer.settle()
        except ProblemError as problem:
            await answer.fail(problem, scope, receive)
        except asyncio.CancelledError:
            if not answer.is_ours():
                raise
            if answer.is_broken_off:
                await send_end(answer)
            else:
                await answer.fail(Unavailable("The request took longer than its deadline."), scope, receive)
        except Exception:  # noqa: BLE001 -- the app's handler of the last resort
            _log.exception("unhandled error in %s %s", scope["method"], scope["path"])
            await answer.fail(InternalError(), scope, receive)


def _observe(span: Span, scope: Scope, status: int, duration_s: float) -> None:
    method, route = scope["method"], getattr(scope.get("route"), "path", "unmatched")
    note_request(method, route, status, duration_s)
    if not span.is_recording():
        return
    span.update_name(f"{method} {route}")
    span.set_attributes({"http.request.method": method, "http.route": route, "http.response.status_code": status})
    if status >= 500:
        span.set_status(StatusCode.ERROR)


class _Answer:
    """`send`, which knows whether the answer has begun; from then on it may take its time, as a stream does."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self.status = 0
        # Of a stream: how long it lasts says nothing about how fast we are.
        self.began_at: float | None = None
        self.is_broken_off = False
        self._interrupt: Interruption | None = None
        self._timer: asyncio.TimerHandle | None = None

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._stop_timer()
            self.status = message["status"]
            if is_event_stream(message.get("headers", [])):
                self.began_at = perf_counter()
                stopping.add(self._break_off)
        await self._send(message)

    def expect_within(self, seconds: float) -> None:
        """Cancel the request's task when the answer does not begin in time."""
        self._interrupt = Interruption()
        self._timer = asyncio.get_running_loop().call_later(seconds, self._interrupt)
        deadline.set(monotonic() + seconds)

    def settle(self) -> None:
        """Expect nothing any more."""
        self._stop_timer()
        if self.began_at is not None:
            stopping.discard(self._break_off)

    def is_ours(self) -> bool:
        """Whether it was our own doing that the task was cancelled; then it is not any more."""
        return self._interrupt is not None and self._interrupt.is_ours()

    async def fail(self, problem: ProblemError, scope: Scope, receive: Receive) -> None:
        if self.status:
            raise problem
        await problem_response(problem, scope["path"])(scope, receive, self)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _break_off(self) -> None:
        """End a stream: the process is about to stop."""
        self.is_broken_off = True
        if self._interrupt is not None:
            self._interrupt()


def problem_response(problem: ProblemError, path: str) -> Response:
    """Return the problem document as a response."""
    body = problem.body(instance=path, trace_id=trace_id())
    return Response(body, problem.status, headers=problem.headers, media_type=MEDIA_TYPE)


def _timeout_s(headers: Mapping[str, str]) -> float:
    given = headers.get(DEADLINE_HEADER, "")
    return min(int(given) / 1000, DEFAULT_TIMEOUT_S) if given.isascii() and given.isdigit() else DEFAULT_TIMEOUT_S
