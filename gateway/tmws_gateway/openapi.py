"""One OpenAPI 3.1 document, merged from those of the services and the gateway, as far as the route table goes."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import re
from collections.abc import Iterable, Mapping
from copy import deepcopy
from time import monotonic
from typing import Any, cast

import orjson

from tmws_contracts.common import Problem
from tmws_gateway.examples import EXAMPLES
from tmws_gateway.upstreams import PUBLIC, SIGNED_IN, Route
from tmws_shared.auth import Principal
from tmws_shared.http import ServiceClient
from tmws_shared.problems import ProblemError

_log = logging.getLogger(__name__)

Document = dict[str, Any]

KEPT_S = 300.0
RETRY_S = 2.0
# A service makes its document when it is asked for the first time; on a busy machine that takes seconds.
ANSWER_S = 8.0
READER = Principal(subject="gateway")
PROBLEM_REF = {"$ref": "#/components/schemas/Problem"}
_SCHEMA_REF = "#/components/schemas/"
_PARAMETER = re.compile(r"\{[^}]*\}")
_DESCRIPTION = """Memory, tasks, workflows and personas for teams of AI agents.

Errors are problem documents (RFC 9457). Lists are pages: pass `next_cursor` as `cursor`. Writes answer with an `ETag`
for `If-Match`; a POST with an `Idempotency-Key` is done once. Every answer has `X-Request-ID` and `traceparent`."""
_PROBLEMS = {
    "400": "The request cannot be read",
    "401": "Credentials are missing or not valid",
    "403": "The credentials do not allow this",
    "404": "There is no such thing here",
    "409": "The request conflicts with the current state",
    "412": "The ETag has changed",
    "413": "The body is too large",
    "415": "The body is not application/json",
    "422": "Fields are invalid; `errors` names them",
    "429": "Too many requests; Retry-After says when to come back",
    "503": "A part is not available; Retry-After says when to come back",
}
_ALWAYS = ("400", "429", "503")


class OpenApi:
    """Keeps the merged document; asks again for the parts it could not get."""

    def __init__(self, routes: Iterable[Route], own: Document, clients: Mapping[str, ServiceClient]) -> None:
        self._routes = list(routes)
        self._own = own
        described = {route.service for route in self._routes}
        self._clients = {name: client for name, client in clients.items() if name in described}
        self._parts: dict[str, Document] = {}
        self._asked_at = -KEPT_S
        self._body, self._etag = b"", ""
        self._lock = asyncio.Lock()

    async def body(self) -> tuple[bytes, str]:
        """Return the document as JSON, and its entity tag."""
        async with self._lock:
            age_s = monotonic() - self._asked_at
            is_complete = len(self._parts) == len(self._clients)
            if age_s > (KEPT_S if is_complete else RETRY_S):
                await self._ask_all()
        return self._body, self._etag

    async def _ask_all(self) -> None:
        parts = await asyncio.gather(*(self._ask(name, client) for name, client in self._clients.items()))
        self._parts |= {name: part for name, part in zip(self._clients, parts, strict=True) if part is not None}
        self._asked_at = monotonic()
        self._body = orjson.dumps(merge(self._routes, {"gateway": self._own, **self._parts}))
        self._etag = f'"{hashlib.sha256(self._body).hexdigest()[:32]}"'

    async def _ask(self, name: str, client: ServiceClient) -> Document | None:
        try:
            return (await client.call("GET", "/openapi.json", READER, timeout_s=ANSWER_S)).json()
        except ProblemError:
            _log.info("the %s service did not give its OpenAPI document", name)
            return None


def merge(routes: Iterable[Route], parts: Mapping[str, Document]) -> Document:
    """Return one document of the routes that a part describes."""
    names = _schema_names(parts)
    paths: dict[str, dict[str, Any]] = {}
    schemas: dict[str, Any] = {"Problem": Problem.model_json_schema(ref_template=_SCHEMA_REF + "{model}")}
    schemas |= schemas["Problem"].pop("$defs", {})
    used: set[str] = set()
    for route in routes:
        found = _find_operation(parts.get(route.service, {}), route)
        if found is None:
            continue
        path, operation = found
        operation_id = _unique(_operation_id(operation, route), used)
        paths.setdefault(path, {})[route.method.lower()] = _adapt(operation, route, operation_id, names[route.service])
    for service, part in parts.items():
        own = part.get("components", {}).get("schemas", {})
        schemas |= {names[service][name]: _rename(schema, names[service]) for name, schema in own.items()}
    return {
        "openapi": "3.1.0",
        "info": {"title": "TMWS", "version": _version(parts), "description": _DESCRIPTION, "license": _LICENSE},
        "servers": [{"url": "/"}],
        "paths": dict(sorted(paths.items())),
        "components": {
            "schemas": _reachable(paths, schemas),
            "responses": {status: _problem_response(text) for status, text in _PROBLEMS.items()},
            "securitySchemes": _SECURITY_SCHEMES,
        },
    }


_IF_NONE_MATCH = {
    "name": "If-None-Match",
    "in": "header",
    "description": "the `ETag` of what you have: 304 without a body while that is current",
    "schema": {"type": "string", "maxLength": 1024},
}
_LICENSE = {"name": "Apache-2.0", "identifier": "Apache-2.0"}
_SECURITY_SCHEMES = {
    "apiKey": {"type": "http", "scheme": "bearer", "description": "An API key: tmws_…"},
    "accessToken": {
        "type": "http",
        "scheme": "bearer",
        "bearerFormat": "JWT",
        "description": "An access token of POST /api/v1/auth/token",
    },
}


def _version(parts: Mapping[str, Document]) -> str:
    return str(parts.get("gateway", {}).get("info", {}).get("version", "0"))


def _problem_response(text: str) -> Document:
    return {"description": text, "content": {"application/problem+json": {"schema": PROBLEM_REF}}}


def _schema_names(parts: Mapping[str, Document]) -> dict[str, dict[str, str]]:
    """The merged name of each part's schemas: its own, unless another part means something else by it."""
    seen: dict[str, Any] = {}
    names: dict[str, dict[str, str]] = {}
    for service, part in parts.items():
        names[service] = {}
        for name, schema in part.get("components", {}).get("schemas", {}).items():
            same = seen.setdefault(name, schema) == schema
            names[service][name] = name if same else f"{service.capitalize()}{name}"
    return names


def _find_operation(part: Document, route: Route) -> tuple[str, Document] | None:
    """The part's own path and operation for a route; parameters may be named otherwise there."""
    wanted = _PARAMETER.sub("{}", route.path)
    for path, operations in part.get("paths", {}).items():
        operation = operations.get(route.method.lower())
        if operation is not None and _PARAMETER.sub("{}", path) == wanted:
            return path, operation
    return None


def _operation_id(operation: Document, route: Route) -> str:
    """FastAPI appends path and method to the function's name; the name alone reads better."""
    given = str(operation.get("operationId", route.action))
    return re.sub(r"_(api_v1|docs|health|openapi).*$", "", re.sub(r"\W+", "_", given))


def _unique(name: str, used: set[str]) -> str:
    candidate, number = name, 2
    while candidate in used:
        candidate, number = f"{name}_{number}", number + 1
    used.add(candidate)
    return candidate


def _adapt(operation: Document, route: Route, operation_id: str, names: Mapping[str, str]) -> Document:
    adapted = cast("Document", _rename(deepcopy(operation), names))
    adapted["operationId"] = operation_id
    adapted["x-scope"] = route.scope
    scopes = [] if route.scope in (PUBLIC, SIGNED_IN) else [route.scope]
    adapted["security"] = [] if route.scope == PUBLIC else [{"apiKey": scopes}, {"accessToken": scopes}]
    if route.action in EXAMPLES:
        adapted["requestBody"]["content"]["application/json"]["example"] = EXAMPLES[route.action]
    kept = {status: answer for status, answer in adapted.get("responses", {}).items() if status[0] in "23"}
    if route.has_etag:
        adapted["parameters"] = [*adapted.get("parameters", []), _IF_NONE_MATCH]
        kept["304"] = {"description": "It is still what If-None-Match names"}
    adapted["responses"] = kept | {status: {"$ref": f"#/components/responses/{status}"} for status in _statuses(route)}
    return adapted


def _statuses(route: Route) -> list[str]:
    statuses = {*_ALWAYS}
    if route.scope != PUBLIC:
        statuses.add("401")
    if route.scope not in (PUBLIC, SIGNED_IN):
        statuses.add("403")
    if "{" in route.path:
        statuses |= {"404", "422"}
    if route.method in ("POST", "PUT", "PATCH"):
        statuses |= {"409", "413", "415", "422"}
    if route.method in ("PUT", "PATCH", "DELETE"):
        statuses.add("412")
    return sorted(statuses)


def _rename(node: Any, names: Mapping[str, str]) -> Any:
    """The node with every reference to a schema under its merged name."""
    if isinstance(node, list):
        return [_rename(item, names) for item in cast("list[Any]", node)]
    if not isinstance(node, dict):
        return node
    renamed = {key: _rename(value, names) for key, value in cast("Document", node).items()}
    reference = renamed.get("$ref")
    if isinstance(reference, str) and reference.startswith(_SCHEMA_REF):
        name = reference.removeprefix(_SCHEMA_REF)
        renamed["$ref"] = _SCHEMA_REF + names.get(name, name)
    return renamed


def _reachable(paths: Document, schemas: Document) -> Document:
    """The schemas that the paths use, directly or through others."""
    wanted, found = [*_references(paths), "Problem"], set[str]()
    while wanted:
        name = wanted.pop()
        if name not in found and name in schemas:
            found.add(name)
            wanted += _references(schemas[name])
    return {name: schemas[name] for name in sorted(found)}


def _references(node: Any) -> list[str]:
    if isinstance(node, list):
        return [name for item in cast("list[Any]", node) for name in _references(item)]
    if not isinstance(node, dict):
        return []
    document = cast("Document", node)
    here = document.get("$ref")
    own = [here.removeprefix(_SCHEMA_REF)] if isinstance(here, str) else []
    return own + [name for value in document.values() for name in _references(value)]
