"""Query parameters nobody asked for: a misspelt filter must not look like a list of everything."""

from __future__ import annotations

from fastapi import Request
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute

from tmws_contracts.common import FieldProblem
from tmws_shared.problems import InvalidRequest


async def refuse_unknown_queries(request: Request) -> None:
    """Return when the route knows every query parameter.

    Raises:
        InvalidRequest: it does not.
    """
    if not request.query_params:
        return
    route: APIRoute = request.scope["route"]
    known = _names(route.dependant)
    unknown = [name for name in request.query_params if name not in known]
    if unknown:
        detail = f"must be one of {', '.join(sorted(known))}" if known else "must not be given here"
        errors = [FieldProblem(pointer=f"?{name}", detail=detail) for name in unknown]
        raise InvalidRequest(f"?{unknown[0]}: {detail}", errors=errors)


def _names(dependant: Dependant) -> set[str]:
    own = {field.alias for field in dependant.query_params}
    return own.union(*(_names(inner) for inner in dependant.dependencies))
