"""One request on its way through the gateway, and what is known of it so far."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from time import monotonic, perf_counter

from starlette.types import Scope

from tmws_gateway.identity.authenticator import Credentials
from tmws_gateway.upstreams import Route
from tmws_shared.auth import Principal
from tmws_shared.framing import HeaderList
from tmws_shared.http import DEFAULT_TIMEOUT_S

KEY = "exchange"


@dataclass(slots=True)
class Exchange:
    """What the stages learn of a request; `headers` are added to its answer."""

    method: str
    resource: str
    address: str
    request_id: str
    trace_id: str | None
    route: Route | None = None
    principal: Principal | None = None
    credentials: Credentials | None = None
    # Where a caller who has to sign in finds out how.
    metadata_url: str | None = None
    # Name and SHA-256 of the value of each top-level field of the body.
    changed_fields: Sequence[tuple[str, bytes]] = ()
    # The request's own; of one that came more than once the last.
    given: Mapping[bytes, bytes] = field(default_factory=dict[bytes, bytes])
    # W3C trace context of the request's own span.
    trace: HeaderList = field(default_factory=HeaderList)
    headers: HeaderList = field(default_factory=HeaderList)
    if_none_match: bytes | None = None
    status: int = 0
    location: str | None = None
    started: float = field(default_factory=perf_counter)
    # Of a stream: how long it lasts says nothing about how fast we are.
    began_at: float | None = None
    deadline: float = field(default_factory=lambda: monotonic() + DEFAULT_TIMEOUT_S)

    @property
    def action(self) -> str:
        """Method and route, for logs and metrics."""
        return self.route.action if self.route else f"{self.method} unmatched"

    @property
    def caller(self) -> Principal:
        """Who asks, once that is known."""
        if self.principal is None:
            raise RuntimeError("the caller is not known yet")
        return self.principal

    @property
    def duration_s(self) -> float:
        """Seconds since the request came in, for a stream until it began."""
        return (self.began_at or perf_counter()) - self.started

    @property
    def remaining_s(self) -> float:
        """Seconds left until the request's deadline."""
        return max(0.001, self.deadline - monotonic())


def encode_headers(headers: Mapping[str, str]) -> HeaderList:
    """Return headers as they are sent."""
    return [(name.encode(), value.encode()) for name, value in headers.items()]


def exchange_of(scope: Scope) -> Exchange:
    """Return the exchange a request belongs to."""
    return scope["state"][KEY]
