"""What the gateway itself says: API keys, tokens, health."""

from __future__ import annotations

from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Any

from pydantic import AfterValidator, Field

from tmws_contracts.common import Line, Slug, UtcTime, Wire
from tmws_contracts.scopes import SCOPES

MAX_TOKEN_LIFETIME_S = 3600
MAX_GRACE_S = 86_400


def _known_scope(scope: str) -> str:
    if scope not in SCOPES:
        raise ValueError(f"must be one of {', '.join(sorted(SCOPES))}")
    return scope


def _in_future(moment: datetime) -> datetime:
    if moment <= datetime.now(UTC):
        raise ValueError("must be in the future")
    return moment


ScopeName = Annotated[str, AfterValidator(_known_scope), Field(json_schema_extra={"enum": [*sorted(SCOPES)]})]
ScopeNames = Annotated[list[ScopeName], Field(min_length=1, max_length=len(SCOPES))]


class NewApiKey(Wire):
    """What `POST /keys` takes."""

    name: Line = Field(description="who uses it; the subject of what is done with it", examples=["claude-desktop"])
    scopes: ScopeNames = Field(examples=[["memory:read", "memory:write", "task:read", "task:write"]])
    namespace: Slug = Field(default="default", description="the namespace it acts in")
    persona: Slug | None = Field(default=None, description="the persona it speaks for")
    expires_at: Annotated[UtcTime, AfterValidator(_in_future)] | None = Field(
        default=None, description="null: never", examples=["2030-01-01T00:00:00Z"]
    )


class ApiKey(Wire):
    """An API key, without its secret."""

    id: str
    name: str
    scopes: list[str]
    namespace: str
    persona: str | None
    created_at: UtcTime
    expires_at: UtcTime | None
    last_used_at: UtcTime | None = Field(description="to the minute")
    revoked_at: UtcTime | None
    version: int = Field(description="grows with every rotation; the ETag")
    previous_until: UtcTime | None = Field(
        description="until then the secret before the last rotation works too; null: it does not"
    )


class IssuedApiKey(ApiKey):
    """An API key with its secret, which is shown this once."""

    key: str = Field(description="send it as `Authorization: Bearer <key>`; it cannot be shown again")


class KeyRotation(Wire):
    """What `POST /keys/{id}/rotate` takes."""

    grace_seconds: Annotated[int, Field(ge=0, le=MAX_GRACE_S)] = Field(
        default=0, description="for so long the secret before works too"
    )


class TokenRequest(Wire):
    """What `POST /auth/token` takes."""

    scopes: ScopeNames | None = Field(default=None, description="null: all scopes of the API key")
    expires_in: Annotated[int, Field(ge=1, le=MAX_TOKEN_LIFETIME_S, description="seconds")] = MAX_TOKEN_LIFETIME_S


class TokenRevocation(Wire):
    """What `POST /auth/revoke` takes (after RFC 7009)."""

    token: Annotated[str, Field(min_length=1, max_length=8192)] = Field(description="the access token")


class AccessToken(Wire):
    """An access token (RFC 6750, RFC 9068)."""

    access_token: str
    token_type: str = "Bearer"  # noqa: S105 -- the type's name, not a secret
    expires_in: int = Field(description="seconds")
    scope: str = Field(description="scopes, separated by spaces")


class ServiceState(StrEnum):
    """How a part of the system is."""

    HEALTHY = "healthy"
    DOWN = "down"
    DISABLED = "disabled"


class ServiceHealth(Wire):
    """How one part is."""

    state: ServiceState
    latency_ms: float | None = Field(description="null when it did not answer")
    version: str | None = Field(description="null when it is not known")


class Health(Wire):
    """How the system is; `degraded` works, without Redis."""

    status: str = Field(description="healthy, degraded or unhealthy")
    services: dict[str, ServiceHealth]


class TrafficStats(Wire):
    """The gateway's own requests."""

    requests: int = Field(description="since the gateway started")
    requests_per_second: float = Field(description="over the last minute")
    by_status: dict[str, int]
    p50_ms: float | None = Field(description="of the latest 1,000 requests")
    p99_ms: float | None = Field(description="of the latest 1,000 requests")


class SystemStats(Wire):
    """What the gateway and each service count; a service that is down, or not yours to see, is null."""

    gateway: TrafficStats
    services: dict[str, dict[str, Any] | None]
