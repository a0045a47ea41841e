"""Which duties there are, and which a persona has."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from typing import Any, Final, cast

from tmws_contracts.common import JsonObject
from tmws_contracts.persona_wake_up import Duty, DutyName, Section
from tmws_persona.asking import Asking, together
from tmws_persona.duties import audit, bottlenecks, documents, plans, team, workflows

Report = Callable[[Asking], Coroutine[Any, Any, list[Section]]]
_TITLES: Final[Mapping[DutyName, str]] = {
    DutyName.WORKFLOWS: "Workflows under way",
    DutyName.BOTTLENECKS: "What holds up the work",
    DutyName.AUDIT: "The audit log",
    DutyName.TEAM: "The team's tasks",
    DutyName.PLANS: "Plans",
    DutyName.DOCUMENTS: "Documents",
}
_REPORTS: Final[Mapping[DutyName, Report]] = {
    DutyName.WORKFLOWS: workflows.report,
    DutyName.BOTTLENECKS: bottlenecks.report,
    DutyName.TEAM: team.report,
    DutyName.PLANS: plans.report,
    DutyName.DOCUMENTS: documents.report,
}


def duties_of(configuration: JsonObject) -> list[DutyName]:
    """Return the duties that a configuration lists; what is not one is left out."""
    listed: Any = configuration.get("duties")
    known = cast("list[Any]", listed) if isinstance(listed, list) else []
    return [duty for duty in DutyName if duty in known]


async def report_on(asking: Asking, names: list[DutyName]) -> list[Duty]:
    """Return how the duties stand; one that cannot be had is left out, and noted."""
    found = await together(*(asking.part(f"duties/{name}", _report(asking, name)) for name in names))
    return [duty for duty in found if duty is not None]


async def _report(asking: Asking, name: DutyName) -> Duty:
    if name is DutyName.AUDIT:
        return Duty(name=name, title=_TITLES[name], sections=[], look_up=await audit.look_up(asking))
    return Duty(name=name, title=_TITLES[name], sections=await _REPORTS[name](asking))
