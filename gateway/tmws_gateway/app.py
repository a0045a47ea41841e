"""The gateway's process: the one door to the services."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from fastapi import FastAPI
from starlette.types import ASGIApp, Receive, Scope, Send

from tmws_gateway import docs
from tmws_gateway.audit.log import AuditLog
from tmws_gateway.audit.retention import Retention
from tmws_gateway.audit.verification import ChainVerifier
from tmws_gateway.audit_routes import audit_router
from tmws_gateway.audit_service import AuditService
from tmws_gateway.chain.signing import Signer
from tmws_gateway.connections import Connections, most_connections
from tmws_gateway.cors import Cors
from tmws_gateway.edge import Edge
from tmws_gateway.feed.feed import Feed
from tmws_gateway.feed.stream import EventStream
from tmws_gateway.gateways import Gateways
from tmws_gateway.guard import Guard
from tmws_gateway.health import VERSION, SystemHealth
from tmws_gateway.key_routes import key_router
from tmws_gateway.limits import Limits, Policy, RateLimiter
from tmws_gateway.models import SCHEMA
from tmws_gateway.openapi import OpenApi
from tmws_gateway.parts import Parts
from tmws_gateway.pipeline import Pipeline
from tmws_gateway.protocol import EdgeProtocol
from tmws_gateway.proxy import McpProxy, Proxy
from tmws_gateway.routes import router, system_router
from tmws_gateway.settings import GatewaySettings
from tmws_gateway.sign_in import SignIn
from tmws_gateway.traffic import Traffic
from tmws_gateway.upstreams import MCP, MCP_ROUTES, OWN, ROUTES, RouteTable
from tmws_gateway.well_known_routes import well_known_router
from tmws_shared.app import NO_SECOND_SPAN, answer_with_problems, open_database, serve
from tmws_shared.auth import InternalTokens
from tmws_shared.background import running
from tmws_shared.database import Database
from tmws_shared.health import health_routes
from tmws_shared.http import ServiceClient
from tmws_shared.pagination import Cursors
from tmws_shared.redis import OptionalRedis
from tmws_shared.upstream import Upstream

_log = logging.getLogger(__name__)

# To each replica of a service.
MAX_CONNECTIONS = 200
MAX_STREAMS = 2_000
OPEN_ROUTERS = (system_router, well_known_router, docs.router)
API_ROUTERS = (router, key_router, audit_router)


class Gateway:
    """The ASGI app: the lifespan is that of the gateway's own routes, every request goes through the edge."""

    def __init__(self, own: ASGIApp) -> None:
        self._own = own

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve the lifespan or one request."""
        if scope["type"] == "lifespan":
            await self._own(scope, receive, send)
        else:
            parts: Parts = scope["state"]["parts"]
            await parts.edge(parts.sign_in.whereabouts.locate(scope), receive, send)


def build(settings: GatewaySettings) -> Gateway:
    """Return the gateway's app."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncGenerator[Mapping[str, Any]]:
        async with open_database(settings, "tmws_gateway", SCHEMA) as database, AsyncExitStack() as stack:
            app.state.checks = {"database": database.check}
            parts = await _open_parts(settings, database, own, stack)
            await stack.enter_async_context(_background(parts))
            _warn(settings)
            yield {"parts": parts}

    own = FastAPI(
        telemetry=NO_SECOND_SPAN,
        title="TMWS gateway", version=VERSION, lifespan=lifespan, docs_url=None, redoc_url=None, openapi_url=None,
        redirect_slashes=False,
    )  # fmt: skip
    for part in (health_routes(), *OPEN_ROUTERS, *API_ROUTERS):
        own.include_router(part)
    answer_with_problems(own)
    return Gateway(own)


async def _open_parts(settings: GatewaySettings, database: Database, own: FastAPI, stack: AsyncExitStack) -> Parts:
    secret = settings.secret_key.get_secret_value()
    tokens = InternalTokens(secret)
    redis = OptionalRedis.at(settings.redis_url.get_secret_value())
    upstreams, mcp = _upstreams(settings)
    clients = {name: ServiceClient(upstream, name, tokens) for name, upstream in upstreams.items()}
    health = SystemHealth(upstreams, database, redis)
    events = EventStream(settings.redis_url.get_secret_value())
    for closable in (redis, events, mcp, *upstreams.values()):
        stack.push_async_callback(closable.close)
    sign_in = SignIn.of(settings, database, redis)
    gateways = Gateways(redis)
    limiter = RateLimiter(redis, gateways.count)
    await limiter.prepare()
    stack.push_async_callback(limiter.close)
    proxies = {name: Proxy(name, upstream, tokens) for name, upstream in upstreams.items()}
    services = {OWN: own, MCP: McpProxy(MCP, mcp, tokens, sign_in.notes), **proxies}
    pipeline = _pipeline(settings, sign_in, limiter, services)
    audit_log, traffic = AuditLog(database, settings.data_dir, secret), Traffic()
    signer = Signer(secret, settings.audit_keys)
    chain = ChainVerifier(database, signer.verifier, audit_log.checkpoints)
    over_tls = any(url.scheme == "https" for url in settings.public_urls[:1])
    return Parts(
        sign_in=sign_in,
        audit=AuditService(database, Cursors(secret), signer, chain),
        audit_log=audit_log,
        retention=Retention(database, signer, chain, settings.audit_retention_days),
        health=health,
        openapi=OpenApi(ROUTES, own.openapi(), clients),
        traffic=traffic,
        clients=clients,
        edge=Edge(pipeline, audit_log, traffic, over_tls=over_tls),
        feed=Feed(events),
        gateways=gateways,
        connections=Connections(
            most_connections(), settings.max_connections_per_address, sign_in.whereabouts.proxies.trusts
        ),
    )


def _upstreams(settings: GatewaySettings) -> tuple[dict[str, Upstream], Upstream]:
    """The services by name, and the MCP bridge."""
    services = {
        name: Upstream(urls, name, max_connections=MAX_CONNECTIONS, max_streams=MAX_STREAMS)
        for name, urls in settings.upstreams.items()
    }
    return services, Upstream(settings.mcp_bridge_url, MCP, max_streams=MAX_STREAMS)


def _pipeline(
    settings: GatewaySettings, sign_in: SignIn, limiter: RateLimiter, services: Mapping[str, ASGIApp]
) -> Pipeline:
    return Pipeline(
        guard=Guard(settings.public_urls, settings.origins, settings.api_host),
        cors=Cors(settings.origins),
        table=RouteTable([*ROUTES, *MCP_ROUTES] if settings.mcp_bridge_url else ROUTES),
        authenticator=sign_in.authenticator if settings.auth_enabled else None,
        metadata=sign_in.metadata,
        limits=Limits(Policy(settings.rate_limit_requests, settings.rate_limit_period)),
        limiter=limiter,
        services=services,
    )


@asynccontextmanager
async def _background(parts: Parts) -> AsyncGenerator[None]:
    loops = {
        "write audit records": parts.audit_log.run,
        "remove old audit records": parts.retention.run,
        **parts.sign_in.loops(),
        "count gateways": parts.gateways.run,
        "read events": parts.feed.run,
        "keep event feeds alive": parts.feed.tick,
    }
    try:
        async with running(loops):
            yield
    finally:
        await asyncio.gather(parts.audit_log.close(), parts.sign_in.close(), parts.gateways.leave())


def _warn(settings: GatewaySettings) -> None:
    if not settings.auth_enabled and settings.is_exposed:
        _log.warning(
            "AUTHENTICATION IS OFF and the gateway listens on %s: whoever reaches port %d can read and change "
            "everything. Set TMWS_AUTH_ENABLED=true, or TMWS_API_HOST=127.0.0.1.",
            settings.api_host,
            settings.api_port,
        )
    if settings.is_exposed and not settings.public_urls:
        _log.warning("TMWS_PUBLIC_URL is not set: requests under another name than localhost are refused with 421")


if __name__ == "__main__":
    serve("gateway", GatewaySettings, build, http=EdgeProtocol)
