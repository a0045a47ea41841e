"""Which web pages may read answers (Fetch standard): exact origins, nothing else."""

from __future__ import annotations

from collections.abc import Iterable

from starlette.types import Scope

_ALLOWED_METHODS = "GET, POST, PUT, PATCH, DELETE"
_ALLOWED_HEADERS = (
    "Authorization, Content-Type, Idempotency-Key, If-Match, If-None-Match, Last-Event-ID, X-Request-ID, traceparent"
)
_EXPOSED_HEADERS = (
    "ETag, Location, Retry-After, Idempotent-Replayed, RateLimit, RateLimit-Policy, X-Request-ID, traceparent"
)
_PREFLIGHT_S = 600


class Cors:
    """Knows the origins whose pages may read answers."""

    def __init__(self, origins: Iterable[str]) -> None:
        self._origins = frozenset(origins)

    def headers(self, origin: str | None) -> dict[str, str]:
        """Return the headers that let a page of this origin read an answer."""
        if not self._origins:
            return {}
        if origin is None or not self._knows(origin):
            return {"Vary": "Origin"}
        return {
            "Vary": "Origin",
            "Access-Control-Allow-Origin": origin,
            "Access-Control-Expose-Headers": _EXPOSED_HEADERS,
        }

    def preflight(self, scope: Scope, origin: str | None) -> dict[str, str] | None:
        """Return the headers that answer a preflight; None when the request is not one."""
        asked = any(name == b"access-control-request-method" for name, _ in scope["headers"])
        if scope["method"] != "OPTIONS" or not asked or origin is None or not self._knows(origin):
            return None
        return {
            "Access-Control-Allow-Methods": _ALLOWED_METHODS,
            "Access-Control-Allow-Headers": _ALLOWED_HEADERS,
            "Access-Control-Max-Age": str(_PREFLIGHT_S),
        }

    def _knows(self, origin: str) -> bool:
        return origin != "null" and (origin in self._origins or "*" in self._origins)
