"""The gateway's route table and the services say the same."""

import pytest
from fastapi.routing import APIRoute

from support.apis import SERVICES, call, list_parameters, scopes
from tmws_contracts.scopes import SCOPES
from tmws_gateway.app import API_ROUTERS, OPEN_ROUTERS
from tmws_gateway.upstreams import OWN, PREFIX, PUBLIC, ROUTES, SIGNED_IN, Route
from tmws_shared.health import health_routes

PROXIED = [route for route in ROUTES if route.service != OWN]


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: route.action)
def test_every_route_declares_a_scope_or_public(route: Route) -> None:
    assert route.scope in SCOPES | {PUBLIC, SIGNED_IN}


@pytest.mark.parametrize("route", PROXIED, ids=lambda route: route.action)
def test_service_asks_for_the_same_scope(route: Route) -> None:
    assert scopes(route.service)[call(route.method, route.path)] == {route.scope}


@pytest.mark.parametrize("route", PROXIED, ids=lambda route: route.action)
def test_query_keys_are_repeatable_where_the_service_takes_lists(route: Route) -> None:
    assert route.repeatable >= list_parameters(route.service)[call(route.method, route.path)]


@pytest.mark.parametrize("service", SERVICES)
def test_every_public_call_of_a_service_is_routed(service: str) -> None:
    offered = {key for key in scopes(service) if key[1].startswith(PREFIX)}
    assert offered == {call(route.method, route.path) for route in PROXIED if route.service == service}


def test_every_route_of_the_gateway_is_in_the_table() -> None:
    routers = (*API_ROUTERS, *OPEN_ROUTERS, health_routes())
    offered = {
        call(method, route.path)
        for router in routers
        for route in router.routes
        if isinstance(route, APIRoute)
        for method in route.methods
    }
    assert offered == {call(route.method, route.path) for route in ROUTES if route.service == OWN}


def test_everything_public_is_meant_to_be() -> None:
    public = {route.path for route in ROUTES if route.scope == PUBLIC}
    assert public == {
        "/health", "/livez", "/readyz", "/openapi.json", "/docs", "/docs/{file}", "/.well-known/jwks.json",
        "/.well-known/oauth-protected-resource", "/.well-known/oauth-protected-resource/mcp",
    }  # fmt: skip
