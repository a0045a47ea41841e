"""The ASGI layer around every service: request id, trace, internal token, deadline, metrics, last-resort errors."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from time import monotonic, perf_counter
from typing import cast

from opentelemetry.trace import Span, StatusCode
from starlette.datastructures import Headers
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
from tmws_shared.stopping import expire, is_event_stream, send_end, stopping
from tmws_shared.telemetry import note_request, serving, trace_id

_log = logging.getLogger(__name__)
Verify = Callable[[str], Principal]


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
        headers = Headers(scope=scope)
        request_id.set(headers.get(REQUEST_ID_HEADER) or str(new_id()))
        deadline.set(monotonic() + _timeout_s(headers))
        answer = _Answer(send)
        started = perf_counter()
        with serving(scope["method"], headers) as span:
            try:
                await self._serve(scope, receive, answer)
            finally:
                _observe(span, scope, answer.status, (answer.began_at or perf_counter()) - started)

    async def _serve(self, scope: Scope, receive: Receive, answer: _Answer) -> None:
        try:
            principal = self._verify(bearer(Headers(scope=scope).get("authorization", "")))
            scope.setdefault("state", {})["principal"] = principal
            async with asyncio.timeout_at(_loop_time(cast("float", deadline.get()))) as answer.deadline:
                try:
                    await self._app(scope, receive, answer)
                finally:
                    stopping.discard(answer.break_off)
        except ProblemError as problem:
            await answer.fail(problem, scope, receive)
        except TimeoutError:
            if answer.is_broken_off:
                await send_end(answer)
                return
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
        self.deadline: asyncio.Timeout | None = None
        # Of a stream: how long it lasts says nothing about how fast we are.
        self.began_at: float | None = None

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            if self.deadline is not None and not self.deadline.expired():
                self.deadline.reschedule(None)
            if is_event_stream(message.get("headers", [])):
                self.began_at = perf_counter()
                stopping.add(self.break_off)
        await self._send(message)

    @property
    def is_broken_off(self) -> bool:
        """Whether it was a stream that was ended because the process stops."""
        return self.began_at is not None and self.deadline is not None and self.deadline.expired()

    def break_off(self) -> None:
        """End a stream: the process is about to stop."""
        if self.deadline is not None:
            expire(self.deadline)

    async def fail(self, problem: ProblemError, scope: Scope, receive: Receive) -> None:
        if self.status:
            raise problem
        self.deadline = None
        await problem_response(problem, scope["path"])(scope, receive, self)


def problem_response(problem: ProblemError, path: str) -> Response:
    """Return the problem document as a response."""
    body = problem.body(instance=path, trace_id=trace_id())
    return Response(body, problem.status, headers=problem.headers, media_type=MEDIA_TYPE)


def _timeout_s(headers: Headers) -> float:
    given = headers.get(DEADLINE_HEADER, "")
    return min(int(given) / 1000, DEFAULT_TIMEOUT_S) if given.isascii() and given.isdigit() else DEFAULT_TIMEOUT_S


def _loop_time(moment: float) -> float:
    """`asyncio.timeout_at` counts on the loop's clock; ours is `monotonic`."""
    return asyncio.get_running_loop().time() + moment - monotonic()
