"""`delay`: waits in the table, for a duration or until a time."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from tmws_workflow.durations import parse_duration
from tmws_workflow.engine import Completed, Outcome, Waits
from tmws_workflow.steps.base import Argument, Simple, StepCall, StepFailed, Wait

MAX_S = 366 * 86400.0
_UNTIL = "must be a time with its zone, as in RFC 3339"


class Delay(Simple):
    """Lets time pass."""

    uses = "delay"
    arguments = {"duration": Argument((str,)), "until": Argument((str,))}

    def check(self, arguments: Mapping[str, Any]) -> list[tuple[str, str]]:
        """Require exactly one of the two, well written."""
        if len(arguments) != 1:
            return [("", "must have either duration or until")]
        (name, text), *_ = arguments.items()
        if not isinstance(text, str):
            return []
        try:
            _seconds(name, text, datetime.now(UTC))
        except ValueError as error:
            return [(name, str(error))]
        return []

    async def start(self, call: StepCall) -> Outcome:
        """Wait."""
        (name, value), *_ = call.arguments.items()
        try:
            seconds = _seconds(name, value if isinstance(value, str) else "", call.now)
        except ValueError as error:
            raise StepFailed("argument", f"/with/{name}: {error}") from None
        return Waits("time", seconds)

    async def look(self, wait: Wait) -> Outcome | None:
        """End: a delay is looked at when its time has come."""
        del wait
        return Completed({})


def _seconds(name: str, text: str, now: datetime) -> float:
    seconds = parse_duration(text) if name == "duration" else max(0.0, (_moment(text) - now).total_seconds())
    if seconds > MAX_S:
        raise ValueError("must not be more than 366 days")
    return seconds


def _moment(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(_UNTIL) from None
    if moment.tzinfo is None:
        raise ValueError(_UNTIL)
    return moment
