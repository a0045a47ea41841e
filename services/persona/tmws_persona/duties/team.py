"""Who holds what, whose lease is about to end, what is stuck: the duty of who coordinates the team."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

from tmws_contracts.common import JsonObject
from tmws_contracts.persona_wake_up import Entry, Section
from tmws_persona.asking import Asking, Found, together
from tmws_persona.board import TASKS
from tmws_persona.entries import section, section_of, task_entry
from tmws_persona.errors import PartMissing
from tmws_shared.clock import now

SHOWN: Final = 8
LOOKED_AT: Final = 100
ENDING: Final = timedelta(minutes=2)
# A task in progress that nobody has said a word about for so long does not move.
SILENCE: Final = timedelta(days=1)
LATELY: Final = timedelta(days=7)
MAX_EVENTS: Final = 200


async def report(asking: Asking) -> list[Section]:
    """Return the claimed tasks, those whose lease ends soon, and those that are stuck."""
    since = (now() - LATELY).isoformat()
    begun, asking_back, ready, failed = await together(
        asking.list("task", TASKS, status="in_progress", sort="oldest", limit=LOOKED_AT),
        asking.list("task", TASKS, status="input_required", sort="oldest"),
        asking.list("task", TASKS, ready="true"),
        asking.list("task", TASKS, status="failed", updated_since=since, sort="updated", limit=SHOWN),
    )
    held = [task for task in begun.items if task["claimed_by"]]
    ending = sorted((task for task in held if is_ending(task)), key=lambda task: str(task["lease_until"]))
    stuck = [_stuck(task, "waits for an answer") for task in asking_back.items]
    stuck += [_stuck(task, "its claims expired") for task in ready.items if task["lease_losses"]]
    stuck += [_stuck(task, "nobody said anything for a day") for task in begun.items if is_silent(task)]
    stuck += [_stuck(task, "failed") for task in failed.items]
    holders = await together(*(_held(asking, task) for task in held[:SHOWN]))
    left_off = len(held) - len(holders)
    is_cut = asking_back.is_cut or ready.is_cut or failed.is_cut
    return [
        section("held", "Who holds what", holders, shown=SHOWN, is_more_at_least=begun.is_cut, left_off=left_off),
        section_of("leases_ending", "Leases about to end", Found(ending, begun.is_cut), task_entry, shown=SHOWN),
        section("stuck", "What is stuck", stuck, shown=SHOWN, is_more_at_least=is_cut),
    ]


def is_ending(task: JsonObject) -> bool:
    """Whether the task's lease ends within two minutes."""
    return task["lease_until"] is not None and datetime.fromisoformat(task["lease_until"]) - now() < ENDING


def is_silent(task: JsonObject) -> bool:
    """Whether a task in progress without a lease was not changed for a day."""
    return task["lease_until"] is None and now() - datetime.fromisoformat(task["updated_at"]) > SILENCE


def _stuck(task: JsonObject, because: str) -> Entry:
    return task_entry(task, because=because, lease_losses=task["lease_losses"] or None)


async def _held(asking: Asking, task: JsonObject) -> Entry:
    """A claimed task with the time since which its agent has it, when its history tells."""
    try:
        events = await asking.list("task", f"{TASKS}/{task['id']}/events", limit=MAX_EVENTS)
    except PartMissing:
        return task_entry(task)
    claims = [event["at"] for event in events.items if event["action"] == "claimed"]
    return task_entry(task, held_since=claims[-1] if claims and not events.is_cut else None)
