"""The route table: every call that the gateway lets in, where it goes and what it needs."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Final

from tmws_contracts.scopes import SCOPES
from tmws_gateway.identity.metadata import MCP as MCP_PATH

PREFIX: Final = "/api/v1"
OWN: Final = "gateway"
MCP: Final = "mcp-bridge"
# What a route may declare besides a scope: nobody needs to sign in, or anybody who has may call it.
PUBLIC: Final = "public"
SIGNED_IN: Final = "signed-in"
JSON_LIMIT_BYTES: Final = 1024 * 1024
# A thousand memories of 8 KiB; larger ones come in several batches.
BATCH_LIMIT_BYTES: Final = 8 * 1024 * 1024
IMPORT_LIMIT_BYTES: Final = 1024 * 1024 * 1024
_VERSIONED = frozenset(f"{PREFIX}/{kind}/{{id}}" for kind in ("tasks", "workflows", "personas", "memory"))
_READING = frozenset({"GET", "HEAD", "OPTIONS"})


@dataclass(frozen=True)
class Route:
    """One call. `repeatable` are the query keys that may come more than once.

    A streamed body is passed on as it comes, unread: the service looks at each of its lines. A call that may
    wait is answered only when there is something to say.
    """

    method: str
    path: str
    service: str
    scope: str
    repeatable: frozenset[str] = frozenset()
    body_limit_bytes: int = JSON_LIMIT_BYTES
    is_limited: bool = True
    is_streamed: bool = False
    may_wait: bool = False

    def __post_init__(self) -> None:
        if self.scope not in SCOPES | {PUBLIC, SIGNED_IN}:
            raise ValueError(f"{self.method} {self.path} declares no scope")

    @cached_property
    def action(self) -> str:
        """The route's name in the audit log."""
        return f"{self.method} {self.path}"

    @cached_property
    def is_bulk(self) -> bool:
        """Whether one call moves many things."""
        return self.body_limit_bytes > JSON_LIMIT_BYTES or self.path.endswith("/export")

    @property
    def has_etag(self) -> bool:
        """Whether it answers with one thing that has a version."""
        return self.method == "GET" and self.path in _VERSIONED

    @cached_property
    def is_change(self) -> bool:
        """Whether a call changes something; some calls only ask, by POST, or come back to us as other calls."""
        return self.method not in _READING and not self.scope.endswith(":read") and self.service != MCP


def _rows(service: str, prefix: str, *rows: str, repeatable: str = "") -> list[Route]:
    """Routes from lines of `method path scope`; GET takes the repeatable keys."""
    routes: list[Route] = []
    for row in rows:
        method, path, scope = row.split()
        keys = frozenset(repeatable.split()) if method == "GET" else frozenset[str]()
        routes.append(Route(method, prefix + path.removeprefix("-"), service, scope, keys))
    return routes


def _own(row: str, *, is_limited: bool = True, repeatable: str = "") -> Route:
    method, path, scope = row.split()
    return Route(method, path, OWN, scope, frozenset(repeatable.split()), is_limited=is_limited)


ROUTES: Final[tuple[Route, ...]] = (
    *_rows(
        "task",
        f"{PREFIX}/tasks",
        "GET    -                    task:read",
        "POST   -                    task:write",
        "GET    /{id}                task:read",
        "PUT    /{id}                task:write",
        "PATCH  /{id}                task:write",
        "DELETE /{id}                task:write",
        "POST   /{id}/heartbeat      task:write",
        "POST   /{id}/release        task:write",
        "POST   /{id}/progress       task:write",
        "POST   /{id}/input          task:write",
        "POST   /{id}/answer         task:write",
        "POST   /{id}/complete       task:write",
        "POST   /{id}/fail           task:write",
        "POST   /{id}/cancel         task:write",
        "POST   /{id}/reopen         task:write",
        "GET    /{id}/events         task:read",
        "GET    /{id}/comments       task:read",
        "POST   /{id}/comments       task:write",
        "GET    /{id}/graph          task:read",
        repeatable="status label",
    ),
    Route("POST", f"{PREFIX}/tasks/batch", "task", "task:write", body_limit_bytes=BATCH_LIMIT_BYTES),
    Route("POST", f"{PREFIX}/tasks/claim", "task", "task:write", may_wait=True),
    *_rows(
        "workflow",
        f"{PREFIX}/workflows",
        "GET    -                    workflow:read",
        "POST   -                    workflow:write",
        "POST   /validate            workflow:read",
        "GET    /{id}                workflow:read",
        "PUT    /{id}                workflow:write",
        "DELETE /{id}                workflow:write",
        "POST   /{id}/execute        workflow:run",
        "POST   /{id}/cancel         workflow:run",
        "GET    /{id}/status         workflow:read",
        "GET    /{id}/executions     workflow:read",
        "GET    /{id}/versions       workflow:read",
        "GET    /{id}/versions/{version} workflow:read",
        "GET    /{id}/schedules      workflow:read",
        "POST   /{id}/schedules      workflow:run",
        "GET    /{id}/schedules/{schedule_id} workflow:read",
        "PATCH  /{id}/schedules/{schedule_id} workflow:run",
        "DELETE /{id}/schedules/{schedule_id} workflow:run",
        repeatable="status",
    ),
    *_rows(
        "workflow",
        f"{PREFIX}/executions",
        "GET    -                    workflow:read",
        "GET    /{id}                workflow:read",
        "GET    /{id}/events         workflow:read",
        "GET    /{id}/diagnosis      workflow:read",
        "POST   /{id}/signals        workflow:run",
        "POST   /{id}/cancel         workflow:run",
        "POST   /{id}/pause          workflow:run",
        "POST   /{id}/resume         workflow:run",
        "POST   /{id}/retry          workflow:run",
        repeatable="status",
    ),
    Route(
        "POST",
        f"{PREFIX}/workflows/{{id}}/execute/batch",
        "workflow",
        "workflow:run",
        body_limit_bytes=BATCH_LIMIT_BYTES,
    ),
    *_rows(
        "workflow",
        f"{PREFIX}/approvals",
        "GET    -                    workflow:read",
        "GET    /{id}                workflow:read",
        "POST   /{id}/approve        workflow:approve",
        "POST   /{id}/reject         workflow:approve",
        repeatable="status",
    ),
    *_rows(
        "memory",
        f"{PREFIX}/memory",
        "POST   /store               memory:write",
        "POST   /search              memory:read",
        "GET    /recall              memory:read",
        "GET    /export              memory:read",
        "GET    /duplicates          memory:read",
        "POST   /consolidate         memory:write",
        "GET    /consolidations      memory:read",
        "POST   /consolidations/{id}/undo memory:write",
        "GET    /stats               memory:read",
        "GET    /{id}                memory:read",
        "PATCH  /{id}                memory:write",
        "DELETE /{id}                memory:delete",
        "POST   /{id}/restore        memory:write",
        "GET    /{id}/history        memory:read",
        "POST   /{id}/share          memory:share",
        "GET    /{id}/shares         memory:read",
        "DELETE /{id}/shares/{share_id} memory:share",
        repeatable="tags",
    ),
    Route("POST", f"{PREFIX}/memory/store/batch", "memory", "memory:write", body_limit_bytes=BATCH_LIMIT_BYTES),
    Route(
        "POST",
        f"{PREFIX}/memory/import",
        "memory",
        "memory:write",
        body_limit_bytes=IMPORT_LIMIT_BYTES,
        is_streamed=True,
    ),
    *_rows(
        "persona",
        f"{PREFIX}/personas",
        "GET    -                    persona:read",
        "POST   -                    persona:write",
        "GET    /{id}                persona:read",
        "PUT    /{id}                persona:write",
        "DELETE /{id}                persona:write",
        "POST   /match               persona:read",
        "GET    /{id}/stats          persona:read",
        "GET    /{id}/wake-up        persona:read",
    ),
    _own("GET /health public", is_limited=False),
    _own("GET /livez public", is_limited=False),
    _own("GET /readyz public", is_limited=False),
    _own("GET /metrics metrics:read", is_limited=False),
    _own("GET /openapi.json public"),
    _own("GET /docs public"),
    _own("GET /docs/{file} public"),
    _own(f"GET {PREFIX}/stats signed-in"),
    _own(f"GET {PREFIX}/events signed-in", repeatable="types"),
    _own(f"GET {PREFIX}/audit audit:read"),
    _own(f"GET {PREFIX}/audit/verify audit:read"),
    _own(f"GET {PREFIX}/audit/export audit:read"),
    _own("GET /.well-known/jwks.json public"),
    _own("GET /.well-known/oauth-protected-resource public"),
    _own("GET /.well-known/oauth-protected-resource/mcp public"),
    _own(f"POST {PREFIX}/auth/token signed-in"),
    _own(f"POST {PREFIX}/auth/revoke signed-in"),
    _own(f"GET {PREFIX}/keys keys:admin"),
    _own(f"POST {PREFIX}/keys keys:admin"),
    _own(f"GET {PREFIX}/keys/{{id}} keys:admin"),
    _own(f"POST {PREFIX}/keys/{{id}}/rotate keys:admin"),
    _own(f"DELETE {PREFIX}/keys/{{id}} keys:admin"),
)

# MCP's own requests: what their tools do comes back to us, is checked and recorded then.
MCP_ROUTES: Final = tuple(
    Route(method, MCP_PATH, MCP, SIGNED_IN, may_wait=True) for method in ("POST", "GET", "DELETE")
)


@dataclass(frozen=True, slots=True)
class Match:
    """What the table says of a request; `route` is None when nothing fits, `allowed` are the path's methods."""

    route: Route | None
    allowed: tuple[str, ...] = ()


@dataclass(slots=True)
class _Node:
    """A segment of a path, and what may follow it; a literal goes before a parameter."""

    literals: dict[str, _Node] = field(default_factory=dict[str, "_Node"])
    parameter: _Node | None = None
    by_method: dict[str, Match] = field(default_factory=dict[str, Match])

    def child(self, segment: str) -> _Node:
        if not segment.startswith("{"):
            return self.literals.setdefault(segment, _Node())
        self.parameter = self.parameter or _Node()
        return self.parameter


class RouteTable:
    """Finds the route of a request."""

    def __init__(self, routes: Iterable[Route]) -> None:
        self._root = _Node()
        for route in routes:
            node = self._root
            for segment in route.path.split("/")[1:]:
                node = node.child(segment)
            if route.method in node.by_method:
                raise ValueError(f"{route.action} is there twice")
            node.by_method[route.method] = Match(route)
            if route.method == "GET":
                node.by_method["HEAD"] = Match(route)

    def match(self, method: str, path: str) -> Match:
        """Return the route for a decoded path; HEAD is answered by GET."""
        node: _Node | None = self._root
        for segment in path.split("/")[1:]:
            node = node.literals.get(segment) or (node.parameter if segment else None)
            if node is None:
                return Match(None)
        return node.by_method.get(method) or Match(None, tuple(sorted(node.by_method)))
