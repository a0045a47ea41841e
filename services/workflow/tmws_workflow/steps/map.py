"""`map`: does a step for each item of a list, so many at once; its output is the list of what became of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from tmws_workflow.engine import Completed, Failed, Maps, Outcome
from tmws_workflow.expressions import ExpressionError, check_size
from tmws_workflow.repository.items import item_results
from tmws_workflow.steps.base import Argument, Simple, StepCall, StepFailed, Wait

MAP = "map"
MAX_ITEMS = 10_000
USUAL_MAX_ITEMS = 1_000
MAX_CONCURRENCY = 100
USUAL_CONCURRENCY = 10
_BOUNDS = {"concurrency": MAX_CONCURRENCY, "max_items": MAX_ITEMS}


class Map(Simple):
    """Goes over a list; the step it does for each item is a field of its own, `step`."""

    uses = MAP
    arguments = {
        "over": Argument((list,), is_required=True),
        "concurrency": Argument((int,)),
        "max_items": Argument((int,)),
    }
    options = {"step": Argument((dict,), is_required=True)}

    def check(self, arguments: Mapping[str, Any]) -> list[tuple[str, str]]:
        """Require numbers within their bounds."""
        numbers = [(name, bound, arguments.get(name)) for name, bound in _BOUNDS.items()]
        return [
            (name, _expected(bound))
            for name, bound, value in numbers
            if isinstance(value, int) and not 1 <= value <= bound
        ]

    async def start(self, call: StepCall) -> Outcome:
        """Have the items done."""
        over = call.arguments["over"]
        if not isinstance(over, list):
            raise StepFailed("argument", "/with/over: must be a list")
        items = cast("list[Any]", over)
        most = _number(call.arguments, "max_items", USUAL_MAX_ITEMS)
        if len(items) > most:
            raise StepFailed("too_many_items", f"/with/over: must not have more than {most} items")
        if not items:
            return Completed([])
        return Maps(items, _number(call.arguments, "concurrency", USUAL_CONCURRENCY))

    async def look(self, wait: Wait) -> Outcome | None:
        """Gather what the items gave, once all have ended."""
        async with wait.services.database.connection() as connection:
            results = await item_results(connection, wait.execution_id, wait.path)
        if results is None:
            return None
        try:
            check_size(results)
        except ExpressionError as error:
            return Failed({"code": "too_large", "message": f"The output is refused: {error}"})
        return Completed(results)


def _number(arguments: Mapping[str, Any], name: str, usual: int) -> int:
    value = arguments.get(name, usual)
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= _BOUNDS[name]:
        raise StepFailed("argument", f"/with/{name}: {_expected(_BOUNDS[name])}")
    return value


def _expected(bound: int) -> str:
    return f"must be an integer from 1 to {bound}"
