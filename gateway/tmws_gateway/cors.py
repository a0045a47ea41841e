"""Which web pages may read answers (Fetch standard): exact origins, nothing else."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from tmws_shared.framing import HeaderList

_ALLOWED_METHODS = "GET, POST, PUT, PATCH, DELETE"
_ALLOWED_HEADERS = (
    "Authorization, Content-Type, Idempotency-Key, If-Match, If-None-Match, Last-Event-ID, X-Request-ID, traceparent"
)
_EXPOSE = (
    b"access-control-expose-headers",
    b"ETag, Location, Retry-After, Idempotent-Replayed, RateLimit, RateLimit-Policy, X-Request-ID, traceparent",
)
_VARY = (b"vary", b"Origin")
_PREFLIGHT_S = 600


class Cors:
    """Knows the origins whose pages may read answers."""

    def __init__(self, origins: Iterable[str]) -> None:
        self._origins = frozenset(origins)

    def headers(self, origin: bytes | None) -> HeaderList:
        """Return the headers that let a page of this origin read an answer."""
        if not self._origins:
            return []
        if origin is None or not self._knows(origin):
            return [_VARY]
        return [_VARY, (b"access-control-allow-origin", origin), _EXPOSE]

    def preflight(self, method: str, given: Mapping[bytes, bytes]) -> dict[str, str] | None:
        """Return the headers that answer a preflight; None when the request is not one."""
        origin = given.get(b"origin")
        if method != "OPTIONS" or origin is None or b"access-control-request-method" not in given:
            return None
        if not self._knows(origin):
            return None
        return {
            "Access-Control-Allow-Methods": _ALLOWED_METHODS,
            "Access-Control-Allow-Headers": _ALLOWED_HEADERS,
            "Access-Control-Max-Age": str(_PREFLIGHT_S),
        }

    def _knows(self, origin: bytes) -> bool:
        return origin != b"null" and (origin.decode("latin-1") in self._origins or "*" in self._origins)
