"""The HTTP interfaces of the services, as their code declares them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from importlib import import_module
from typing import Any

from fastapi import APIRouter, FastAPI
from fastapi.routing import APIRoute

from tmws_shared.auth import NeedsScope

SERVICES = ("task", "workflow", "persona", "memory")
_PARAMETER = re.compile(r"\{[^}]*\}")

Call = tuple[str, str]


def call(method: str, path: str) -> Call:
    """Return a call without the names of its parameters."""
    return method, _PARAMETER.sub("{}", path)


def routers(service: str) -> list[APIRouter]:
    """Return the routers of a service."""
    module = import_module(f"tmws_{service}.routes")
    return [member for member in vars(module).values() if isinstance(member, APIRouter)]


def document(service: str) -> dict[str, Any]:
    """Return the OpenAPI document of a service."""
    app = FastAPI(title=service)
    for router in routers(service):
        app.include_router(router)
    return app.openapi()


@cache
def scopes(service: str) -> dict[Call, set[str]]:
    """Return the scopes that each call of a service asks for."""
    return {
        call(method, route.path): {
            dependency.call.scope
            for dependency in route.dependant.dependencies
            if isinstance(dependency.call, NeedsScope)
        }
        for route in _routes(service)
        for method in route.methods or ()
    }


def _routes(service: str) -> Iterator[APIRoute]:
    for router in routers(service):
        yield from (route for route in router.routes if isinstance(route, APIRoute))


@cache
def list_parameters(service: str) -> dict[Call, set[str]]:
    """Return the query parameters of each call that may come more than once."""
    return {
        call(method.upper(), path): {
            parameter["name"] for parameter in operation.get("parameters", []) if _is_list(parameter)
        }
        for path, operations in document(service)["paths"].items()
        for method, operation in operations.items()
    }


def _is_list(parameter: dict[str, Any]) -> bool:
    schema = parameter["schema"]
    kinds = [schema, *schema.get("anyOf", [])]
    return parameter["in"] == "query" and any(kind.get("type") == "array" for kind in kinds)
