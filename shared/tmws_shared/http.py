"""Calls to our own services: one client, internal tokens, deadlines, trace context."""

from __future__ import annotations

from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from time import monotonic
from typing import Any
from urllib.parse import urlsplit

import httpx2
import orjson
from opentelemetry.trace import SpanKind

from tmws_shared.auth import InternalTokens, Principal
from tmws_shared.problems import ProblemError, Unavailable
from tmws_shared.telemetry import carry_trace, tracer

DEFAULT_TIMEOUT_S = 30.0
CONNECT_TIMEOUT_S = 2.0
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


def open_client(url: str, *, max_connections: int = 100) -> httpx2.AsyncClient:
    """Return an HTTP client for `unix:///path.sock` or `http://host:port`."""
    limits = httpx2.Limits(max_connections=max_connections, max_keepalive_connections=20, keepalive_expiry=30)
    parts = urlsplit(url)
    socket = parts.path if parts.scheme == "unix" else None
    transport = httpx2.AsyncHTTPTransport(uds=socket, limits=limits, trust_env=False)
    return httpx2.AsyncClient(transport=transport, base_url="http://service" if socket else url, trust_env=False)


class ServiceClient:
    """Calls one service as a given principal."""

    def __init__(self, url: str, audience: str, tokens: InternalTokens) -> None:
        self.audience = audience
        self._client = open_client(url)
        self._tokens = tokens

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()

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
        content = None if json is None else orjson.dumps(json)
        with tracer.start_as_current_span(f"{method} {self.audience}", kind=SpanKind.CLIENT) as span:
            span.set_attributes({"http.request.method": method, "url.path": path, "server.address": self.audience})
            try:
                response = await self._client.request(
                    method, path, content=content, params=params, headers=self._headers(principal, left_s, headers),
                    timeout=httpx2.Timeout(left_s, connect=min(CONNECT_TIMEOUT_S, left_s)),
                )  # fmt: skip
            except httpx2.HTTPError as error:
                raise Unavailable(f"The {self.audience} service is not available.") from error
            span.set_attribute("http.response.status_code", response.status_code)
        answer = Answer(response.status_code, response.headers, response.content)
        if answer.status >= 400:
            raise _problem(answer, self.audience)
        return answer

    def _headers(self, principal: Principal, left_s: float, extra: Mapping[str, str] | None) -> dict[str, str]:
        headers = {
            "authorization": f"Bearer {self._tokens.mint(principal, self.audience)}",
            "content-type": "application/json",
            DEADLINE_HEADER: str(int(left_s * 1000)),
            **carry_trace(),
            **(extra or {}),
        }
        if current := request_id.get():
            headers[REQUEST_ID_HEADER] = current
        return headers


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
