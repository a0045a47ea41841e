"""The way of a request: guard, CORS, auth, rate limit, scope, body, and then its route."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from tmws_gateway.body import has_body, pass_body, read_body
from tmws_gateway.cors import Cors
from tmws_gateway.exchange import Exchange
from tmws_gateway.guard import Guard, check_query
from tmws_gateway.identity.authenticator import LOCAL, Authenticator, Credentials
from tmws_gateway.identity.metadata import ResourceMetadata
from tmws_gateway.limits import Buckets, Limits, RateLimiter
from tmws_gateway.upstreams import MCP, PUBLIC, SIGNED_IN, Match, Route, RouteTable
from tmws_shared.auth import Principal
from tmws_shared.problems import Forbidden, MethodNotAllowed, NotFound, Unauthenticated

NOBODY = Principal(subject="nobody")


@dataclass(frozen=True, slots=True)
class Pipeline:
    """The stages; without an authenticator everybody is the local user."""

    guard: Guard
    cors: Cors
    table: RouteTable
    authenticator: Authenticator | None
    metadata: ResourceMetadata | None
    limits: Limits
    limiter: RateLimiter
    services: Mapping[str, ASGIApp]

    async def __call__(self, exchange: Exchange, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request.

        Raises:
            ProblemError: a stage refuses it.
        """
        path = self.guard.check(scope)
        exchange.headers += self.cors.headers(exchange.given.get(b"origin"))
        preflight = self.cors.preflight(exchange.method, exchange.given)
        if preflight is not None:
            await Response(status_code=204, headers=preflight)(scope, receive, send)
            return
        found = self.table.match(exchange.method, path)
        exchange.route = found.route
        try:
            await self._admit(exchange, scope, found.route)
        except (Unauthenticated, Forbidden):
            if self.metadata is not None:
                resource = found.route.path if found.route is not None and found.route.service == MCP else ""
                host = exchange.given.get(b"host", b"").decode("latin-1")
                exchange.metadata_url = self.metadata.location(host, resource)
            raise
        route = _require(found)
        check_query(scope["query_string"], route.repeatable)
        if route.is_streamed:
            receive = pass_body(scope, receive, exchange, route.body_limit_bytes)
        elif has_body(exchange.given):
            receive = await read_body(scope, receive, exchange, route.body_limit_bytes)
        # Inside there is only GET; the server keeps back the body of an answer to HEAD.
        method = "GET" if exchange.method == "HEAD" else exchange.method
        await self.services[route.service]({**scope, "method": method, "path": path}, receive, send)

    async def _admit(self, exchange: Exchange, scope: Scope, route: Route | None) -> None:
        """Find out who asks, count the request, and check the scope."""
        needs = route.scope if route else PUBLIC
        if self.authenticator is None:
            exchange.principal = LOCAL
        elif needs != PUBLIC:
            shown = exchange.given.get(b"authorization", b"").decode("latin-1")
            identity = self.authenticator.recall(shown) or await self.authenticator.identify(shown, exchange.address)
            exchange.principal = identity.principal
            exchange.credentials = Credentials(self.authenticator, shown, exchange.address, identity.expires_at)
            scope["state"]["identity"] = identity
        if route is None or route.is_limited:
            exchange.headers += await self.limiter.take(self._buckets(exchange))
        if needs not in (PUBLIC, SIGNED_IN):
            exchange.caller.allow(needs)
        scope["state"]["principal"] = exchange.principal or NOBODY

    def _buckets(self, exchange: Exchange) -> Buckets:
        is_bulk = exchange.route is not None and exchange.route.is_bulk
        caller = exchange.principal
        if caller is None or exchange.credentials is None:
            return self.limits.buckets_of(f"address {exchange.address}", None, is_bulk)
        # A token of another issuer has no key.
        name = f"key {caller.key_id}" if caller.key_id else f"subject {caller.namespace} {caller.subject}"
        return self.limits.buckets_of(name, caller.namespace, is_bulk)


def _require(found: Match) -> Route:
    if found.route is not None:
        return found.route
    if found.allowed:
        raise MethodNotAllowed(
            f"Allowed here: {', '.join(found.allowed)}.", headers={"Allow": ", ".join(found.allowed)}
        )
    raise NotFound
