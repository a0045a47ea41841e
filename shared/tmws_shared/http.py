"""Calls to our own services: one client, internal tokens, deadlines, trace context."""

from __future__ import annotations

from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from time import monotonic
from typing import Any
from urllib.parse import quote, urlencode

import orjson
from starlette.datastructures import Headers

from tmws_shared.auth import InternalTokens, Principal
from tmws_shared.framing import HeaderList, Request
from tmws_shared.problems import ProblemError, Unavailable
from tmws_shared.reply import CircuitOpen, UpstreamError
from tmws_shared.telemetry import calling, carry_trace
from tmws_shared.upstream import Upstream

DEFAULT_TIMEOUT_S = 30.0
MAX_ANSWER_BYTES = 64 * 1024 * 1024
DEADLINE_HEADER = "x-tmws-timeout-ms"
REQUEST_ID_HEADER = "x-request-id"

request_id: ContextVar[str | None] = ContextVar("request_id", default=None)
deadline: ContextVar[float | None] = ContextVar("deadline", default=None)


class UpstreamProblem(ProblemError):
    """Another service refused the request."""

    def __init__(self, status: int, document: dict[str, Any], headers: Mapping[str, str] | None = None) -> None:
        super().__init__(str(document.get("detail") or document.get("title") or f"status {status}"), headers=headers)
        self.status = status  # pyright: ignore[reportAttributeAccessIssue] -- the one problem whose status is not its class's
        self.upstream = document

    def document(self, *, instance: str | None = None, trace_id: str | None = None) -> dict[str, Any]:
        """Return the other service's document, as seen from here."""
        return {
            **self.upstream,
            **{key: value for key, value in (("instance", instance), ("trace_id", trace_id)) if value},
        }


@dataclass(frozen=True, slots=True)
class Answer:
    """A service's answer."""

    status: int
    headers: Mapping[str, str]
    content: bytes

    def json(self) -> Any:
        """Return the body as JSON."""
        return orjson.loads(self.content)


def remaining_s(timeout_s: float = DEFAULT_TIMEOUT_S) -> float:
    """Return the seconds left of the current request, at most `timeout_s`."""
    ends = deadline.get()
    return timeout_s if ends is None else max(0.001, min(timeout_s, ends - monotonic()))


class ServiceClient:
    """Calls one service as a given principal; an answer that is too large counts as none."""

    def __init__(
        self,
        where: str | Upstream,
        audience: str,
        tokens: InternalTokens,
        max_answer_bytes: int = MAX_ANSWER_BYTES,
    ) -> None:
        self.audience = audience
        self._upstream = Upstream(where, audience) if isinstance(where, str) else where
        self._tokens = tokens
        self._max_answer_bytes = max_answer_bytes

    async def close(self) -> None:
        """Close the connections."""
        await self._upstream.close()

    async def call(
        self,
        method: str,
        path: str,
        principal: Principal,
        *,
        json: object = None,
        params: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        timeout_s: float = DEFAULT_TIMEOUT_S,
    ) -> Answer:
        """Send a request and return a 2xx answer.

        Raises:
            UpstreamProblem: the service answered with a problem.
            Unavailable: it could not be reached, or not in time.
        """
        left_s = remaining_s(timeout_s)
        attributes = {"http.request.method": method, "url.path": path, "server.address": self.audience}
        with calling(f"{method} {self.audience}", attributes) as span:
            request = Request(
                method,
                _target(path, params),
                self._headers(method, principal, left_s, headers),
                None if json is None else orjson.dumps(json),
            )
            answer = await self._fetch(request, left_s)
            span.set_attribute("http.response.status_code", answer.status)
        if answer.status >= 400:
            raise _problem(answer, self.audience)
        return answer

    async def _fetch(self, request: Request, timeout_s: float) -> Answer:
        try:
            reply, content = await self._upstream.fetch(request, timeout_s, self._max_answer_bytes)
        except CircuitOpen as error:
            detail = f"The {self.audience} service is not available."
            raise Unavailable(detail, retry_after_s=error.retry_after_s) from error
        except (UpstreamError, TimeoutError) as error:
            raise Unavailable(f"The {self.audience} service is not available.") from error
        return Answer(reply.status, Headers(raw=reply.headers), content)

    def _headers(self, method: str, principal: Principal, left_s: float, extra: Mapping[str, str] | None) -> HeaderList:
        headers = {
            "authorization": f"Bearer {self._tokens.mint(principal, self.audience, method)}",
            "content-type": "application/json",
            DEADLINE_HEADER: str(int(left_s * 1000)),
            **carry_trace(),
            **(extra or {}),
        }
        if current := request_id.get():
            headers[REQUEST_ID_HEADER] = current
        return [(name.encode(), value.encode()) for name, value in headers.items()]


def _target(path: str, params: Mapping[str, Any] | None) -> bytes:
    """Path and query as they are sent; escapes that the path has already stay as they are."""
    query = f"?{urlencode(params, doseq=True)}" if params else ""
    return (quote(path, safe="/%:@!$&'()*+,;=~") + query).encode()


def _problem(answer: Answer, audience: str) -> ProblemError:
    try:
        document = answer.json()
    except orjson.JSONDecodeError:
        document = {"title": f"The {audience} service answered {answer.status}."}
    given = answer.headers.get("retry-after", "")
    retry_after_s = int(given) if given.isascii() and given.isdigit() else None
    if answer.status in (502, 503, 504):
        return Unavailable(str(document.get("detail") or document.get("title")), retry_after_s=retry_after_s or 1)
    return UpstreamProblem(
        answer.status, document, {} if retry_after_s is None else {"Retry-After": str(retry_after_s)}
    )
