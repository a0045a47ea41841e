"""The gateway's own HTTP routes; who may call them is in the route table."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Header, Path, Query, Request, Response
from pydantic import Field

from tmws_contracts.common import Limit, Page, Slug, UtcTime
from tmws_contracts.gateway import (
    AccessToken,
    ApiKey,
    AuditEvent,
    Decision,
    Health,
    IssuedApiKey,
    NewApiKey,
    SystemStats,
    TokenRequest,
)
from tmws_gateway.errors import NeedsApiKey
from tmws_gateway.exchange import exchange_of
from tmws_gateway.feed.answer import FeedAnswer
from tmws_gateway.feed.entries import view_of
from tmws_gateway.feed.wishes import place_of, wanted_types
from tmws_gateway.health import ask_stats
from tmws_gateway.parts import Parts
from tmws_gateway.repository import AuditFilter
from tmws_gateway.upstreams import PREFIX
from tmws_shared.auth import Principal
from tmws_shared.replies import Cursor, reply, send, send_model

system_router = APIRouter(tags=["system"])
router = APIRouter(prefix=PREFIX)

_EVENTS = {"type": "string", "examples": ["id: 1764000000000-0\nevent: task.completed\ndata: {…}\n\n"]}
Word = Annotated[str | None, Query(min_length=1, max_length=255)]


async def _parts(request: Request) -> Parts:
    return request.state.parts


async def _caller(request: Request) -> Principal:
    return request.state.principal


async def _address(request: Request) -> str:
    return exchange_of(request.scope).address


OurParts = Annotated[Parts, Depends(_parts)]
Caller = Annotated[Principal, Depends(_caller)]
Address = Annotated[str, Depends(_address)]


@system_router.get("/health", response_model=Health, responses={503: {"model": Health}})
async def check_health(parts: OurParts) -> Response:
    """Tell how every part is; 503 when one is down that cannot be done without."""
    health = await parts.health.report()
    return send_model(health, 503 if health.status == "unhealthy" else 200)


@system_router.get("/openapi.json", include_in_schema=False)
async def get_openapi(parts: OurParts) -> Response:
    """Return the OpenAPI document of the whole API."""
    return Response(await parts.openapi.body(), media_type="application/json")


@router.get("/stats", tags=["system"], response_model=SystemStats)
async def get_stats(caller: Caller, parts: OurParts) -> Response:
    """Return what the gateway and each service count."""
    services = await ask_stats(parts.clients, caller)
    return send_model(SystemStats(gateway=parts.traffic.stats(), services=services))


@router.get(
    "/events",
    tags=["system"],
    response_class=Response,
    responses={200: {"description": "Server-sent events", "content": {"text/event-stream": {"schema": _EVENTS}}}},
)
async def follow_events(
    request: Request,
    caller: Caller,
    parts: OurParts,
    types: Annotated[
        list[Annotated[str, Field(max_length=1024)]],
        Query(max_length=64, description="`task.completed`, `task.*`; also separated by commas; all without"),
    ] = [],  # noqa: B006 -- FastAPI copies it
    last_event_id: Annotated[
        str | None, Header(max_length=64, description="the `id` of the last event that was seen: go on from there")
    ] = None,
) -> Response:
    """Follow what happens: `id`, `event` (its type) and `data` (an Event), for as long as the connection lasts.

    An event may come twice, with the same `data.id`. `event: gap` says that some before it are not kept any more.
    """
    view = view_of(caller, wanted_types(caller, types))
    listener = await parts.feed.admit(view, place_of(last_event_id))
    return FeedAnswer(parts.feed, listener, exchange_of(request.scope).credentials)


@router.post("/auth/token", tags=["keys"], response_model=AccessToken)
async def issue_token(
    request: Request, caller: Caller, parts: OurParts, wanted: TokenRequest | None = None
) -> Response:
    """Make a short-lived access token from the API key in the Authorization header."""
    if not getattr(request.state, "shows_api_key", False):
        raise NeedsApiKey("Sign in with an API key to get a token.")
    return send_model(await parts.keys.issue_token(caller, wanted or TokenRequest()))


@router.get("/keys", tags=["keys"], response_model=Page[ApiKey])
async def list_keys(
    caller: Caller,
    parts: OurParts,
    namespace: Annotated[Slug | None, Query(description="only keys of this namespace")] = None,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> Response:
    """List API keys, revoked ones too, newest first."""
    return send_model(await parts.keys.list_page(caller, namespace, cursor, limit))


@router.post("/keys", tags=["keys"], response_model=IssuedApiKey, status_code=201)
async def create_key(caller: Caller, parts: OurParts, address: Address, wanted: NewApiKey) -> Response:
    """Create an API key. Its secret is in this answer and nowhere else, so an Idempotency-Key has no effect."""
    key = await parts.keys.create(caller, wanted, address)
    return send(reply(key, 201, location=f"{PREFIX}/keys/{key.id}"))


@router.delete("/keys/{key_id}", tags=["keys"], status_code=204)
async def revoke_key(
    caller: Caller, parts: OurParts, address: Address, key_id: Annotated[str, Path(max_length=100)]
) -> Response:
    """Revoke an API key and the tokens made from it: here at once, at other gateways within 60 s."""
    await parts.keys.revoke(caller, key_id, address)
    parts.authenticator.forget(key_id)
    return Response(status_code=204)


async def _filter(  # noqa: PLR0913 -- one parameter a filter
    subject: Word = None,
    key_id: Word = None,
    action: Annotated[str | None, Query(max_length=255, description="method and route")] = None,
    resource: Annotated[str | None, Query(max_length=512)] = None,
    decision: Decision | None = None,
    status: Annotated[int | None, Query(ge=100, le=599)] = None,
    request_id: Word = None,
    trace_id: Word = None,
    since: UtcTime | None = None,
    until: UtcTime | None = None,
) -> AuditFilter:
    return AuditFilter(subject, key_id, action, resource, decision, status, request_id, trace_id, since, until)


@router.get("/audit", tags=["system"], response_model=Page[AuditEvent])
async def list_audit(
    caller: Caller,
    parts: OurParts,
    wanted: Annotated[AuditFilter, Depends(_filter)],
    limit: Limit = 50,
    cursor: Cursor = None,
) -> Response:
    """List who changed or was refused what, newest first."""
    await parts.audit_log.flush()
    return send_model(await parts.audit.list_page(caller, wanted, cursor, limit))
