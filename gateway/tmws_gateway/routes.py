"""The gateway's own HTTP routes; who may call them is in the route table."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Header, Query, Request, Response
from pydantic import Field

from tmws_contracts.gateway import (
    Health,
    SystemStats,
)
from tmws_gateway.exchange import exchange_of
from tmws_gateway.feed.answer import FeedAnswer
from tmws_gateway.feed.entries import view_of
from tmws_gateway.feed.wishes import place_of, wanted_types
from tmws_gateway.health import ask_stats
from tmws_gateway.parameters import Caller, OurParts
from tmws_gateway.upstreams import PREFIX
from tmws_shared.replies import send_model
from tmws_shared.routing import StrictRouter

system_router = APIRouter(tags=["system"])
router = StrictRouter(prefix=PREFIX)

_EVENTS = {"type": "string", "examples": ["id: 1764000000000-0\nevent: task.completed\ndata: {…}\n\n"]}


@system_router.get("/health", response_model=Health, responses={503: {"model": Health}})
async def check_health(parts: OurParts) -> Response:
    """Tell how every part is; 503 when one is down that cannot be done without."""
    health = await parts.health.report()
    return send_model(health, 503 if health.status == "unhealthy" else 200)


@system_router.get("/openapi.json", include_in_schema=False)
async def get_openapi(parts: OurParts) -> Response:
    """Return the OpenAPI document of the whole API."""
    body, etag = await parts.openapi.body()
    return Response(body, media_type="application/json", headers={"ETag": etag, "Cache-Control": "no-cache"})


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
