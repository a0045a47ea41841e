"""Definitions of workflows, their schedules and when they fire next: the duty of who plans."""

from __future__ import annotations

from typing import Final

from tmws_contracts.persona_wake_up import Entry, Section
from tmws_persona.asking import Asking, Found, together
from tmws_persona.duties.workflows import WORKFLOWS
from tmws_persona.entries import schedule_entry, section, section_of, workflow_entry
from tmws_persona.errors import PartMissing

LOOKED_AT: Final = 20
SCHEDULES_EACH: Final = 5
SHOWN: Final = 8
_NEVER: Final = "9999"


async def report(asking: Asking) -> list[Section]:
    """Return the schedules of the latest workflows, the next to fire first, and the definitions themselves."""
    found = await asking.list("workflow", WORKFLOWS, limit=LOOKED_AT)
    pages = await together(*(_schedules(asking, workflow["id"]) for workflow in found.items))
    entries = [
        schedule_entry(schedule, workflow["name"])
        for workflow, page in zip(found.items, pages, strict=True)
        for schedule in page.items
    ]
    is_cut = found.is_cut or any(page.is_cut for page in pages)
    return [
        section(
            "schedules", "Schedules, the next to fire first", sorted(entries, key=_next_fire), shown=SHOWN,
            is_more_at_least=is_cut,
        ),
        section_of("definitions", "Workflows that are defined", found, workflow_entry, shown=SHOWN),
    ]  # fmt: skip


async def _schedules(asking: Asking, workflow_id: str) -> Found:
    """The schedules of a workflow; none when it was deleted meanwhile."""
    try:
        return await asking.list("workflow", f"{WORKFLOWS}/{workflow_id}/schedules", limit=SCHEDULES_EACH)
    except PartMissing:
        return Found([], is_cut=False)


def _next_fire(entry: Entry) -> str:
    return str(entry.facts.get("next_fire", _NEVER))
