"""What blocks most, and what is overdue: the duty of who optimises the work."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Final

from tmws_contracts.common import JsonObject
from tmws_contracts.persona_wake_up import Entry, Section
from tmws_persona.asking import Asking, together
from tmws_persona.board import TASKS
from tmws_persona.entries import section, section_of, task_entry
from tmws_persona.errors import PartMissing

LOOKED_AT: Final = 100
# Some of those that are waited for are done already; that is known only once they are read.
CANDIDATES: Final = 16
SHOWN: Final = 8


async def report(asking: Asking) -> list[Section]:
    """Return the unfinished tasks that most others wait for, and the overdue ones."""
    blocked, overdue = await together(
        asking.list("task", TASKS, blocked="true", sort="priority", limit=LOOKED_AT),
        asking.list("task", TASKS, overdue="true", sort="due"),
    )
    waiting = waiting_for(blocked.items)
    most = sorted(waiting, key=lambda task_id: (-waiting[task_id], task_id))[:CANDIDATES]
    known = {task["id"]: task for task in blocked.items}
    tasks = await together(*(_task(asking, task_id, known) for task_id in most))
    blocking = [_blocking(task, waiting) for task in tasks if task is not None and task["status"] != "completed"]
    return [
        section("blocking", "What blocks most", blocking, shown=SHOWN, is_more_at_least=blocked.is_cut),
        section_of("all_overdue", "What is overdue", overdue, task_entry, shown=SHOWN),
    ]


def waiting_for(blocked: Sequence[JsonObject]) -> dict[str, int]:
    """Return by id of a task how many of the blocked ones wait for it, directly or through others."""
    dependents: defaultdict[str, set[str]] = defaultdict(set)
    for task in blocked:
        for needed in task["depends_on"]:
            dependents[needed].add(task["id"])
    return {task_id: len(_reachable(task_id, dependents)) for task_id in list(dependents)}


def _reachable(task_id: str, dependents: dict[str, set[str]]) -> set[str]:
    found: set[str] = set()
    open_ones = [task_id]
    while open_ones:
        fresh = dependents.get(open_ones.pop(), set()) - found
        found |= fresh
        open_ones += fresh
    return found


async def _task(asking: Asking, task_id: str, known: dict[str, JsonObject]) -> JsonObject | None:
    """The task; None when it was deleted meanwhile."""
    try:
        return known.get(task_id) or await asking.get("task", f"{TASKS}/{task_id}")
    except PartMissing:
        return None


def _blocking(task: JsonObject, waiting: dict[str, int]) -> Entry:
    return task_entry(task, tasks_waiting=waiting[task["id"]])
