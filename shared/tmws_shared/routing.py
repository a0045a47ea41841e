"""Routes that refuse query parameters nobody asked for: a misspelt filter must not look like a list of everything."""

from __future__ import annotations

from enum import Enum
from functools import cached_property
from typing import Any, Final

from fastapi import APIRouter
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute
from starlette.datastructures import QueryParams
from starlette.types import Receive, Scope, Send

from tmws_contracts.common import FieldProblem, Problem
from tmws_shared.problems import InvalidRequest

PROBLEM_RESPONSES: Final[dict[int | str, dict[str, Any]]] = {
    "4XX": {
        "model": Problem,
        "description": "The caller has to change something",
        "content": {"application/problem+json": {}},
    },
    "503": {
        "model": Problem,
        "description": "Try again later (Retry-After)",
        "content": {"application/problem+json": {}},
    },
}


class StrictRoute(APIRoute):
    """A route that knows its query parameters."""

    @cached_property
    def _queries(self) -> frozenset[str]:
        return frozenset(_names(self.dependant))

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request.

        Raises:
            InvalidRequest: it has a query parameter that the route does not know.
        """
        # Most have none; as a dependency this would cost every request a twentieth of its time.
        if scope["query_string"]:
            self._refuse_unknown(QueryParams(scope["query_string"]))
        await super().handle(scope, receive, send)

    def _refuse_unknown(self, given: QueryParams) -> None:
        known = self._queries
        unknown = [name for name in given if name not in known]
        if unknown:
            detail = f"must be one of {', '.join(sorted(known))}" if known else "must not be given here"
            errors = [FieldProblem(pointer=f"?{name}", detail=detail) for name in unknown]
            raise InvalidRequest(f"?{unknown[0]}: {detail}", errors=errors)


class StrictRouter(APIRouter):
    """Strict routes, with the problems they may answer with in their documentation."""

    def __init__(self, prefix: str = "", tags: list[str | Enum] | None = None) -> None:
        super().__init__(prefix=prefix, tags=tags, route_class=StrictRoute, responses=PROBLEM_RESPONSES)


def _names(dependant: Dependant) -> set[str]:
    own = {field.alias for field in dependant.query_params}
    return own.union(*(_names(inner) for inner in dependant.dependencies))
