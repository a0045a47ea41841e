"""What is a persona's: its tasks, what it remembers, and what waits for its decision."""

from __future__ import annotations

from typing import Any, Final

from tmws_contracts.common import JsonObject
from tmws_contracts.persona_wake_up import Board, Entry, Section
from tmws_persona.asking import Asking, Found, together
from tmws_persona.entries import approval_entry, memory_entry, section, section_of, task_entry, without

TASKS: Final = "/api/v1/tasks"
MEMORY: Final = "/api/v1/memory/recall"
APPROVALS: Final = "/api/v1/approvals"
# The tag of what an agent must know when it wakes up.
PINNED: Final = "pinned"
SHOWN_TASKS: Final = 10
SHOWN_MEMORIES: Final = 12
SHOWN_APPROVALS: Final = 10
RECENT: Final = 5
LOOKED_AT: Final = 100
IMPERSONATE: Final = "persona:impersonate"


def speaks_for(asking: Asking) -> bool:
    """Whether the caller is the persona, or nobody in particular who may act as any."""
    caller = asking.caller
    return caller.persona == asking.persona_id or (caller.persona is None and IMPERSONATE in caller.scopes)


async def board_of(asking: Asking) -> Board:
    """Return the unfinished tasks that are meant for the persona, or claimed in its name; each once."""
    persona = asking.persona_id
    held, assigned, overdue, ready, blocked = await together(
        asking.list("task", TASKS, claimed_by=persona, status="in_progress", sort="updated"),
        asking.list("task", TASKS, assigned_persona=persona, status=["in_progress", "input_required"], sort="updated"),
        asking.list("task", TASKS, assigned_persona=persona, overdue="true", sort="due"),
        asking.list("task", TASKS, assigned_persona=persona, ready="true"),
        asking.list("task", TASKS, assigned_persona=persona, blocked="true", sort="priority"),
    )
    seen: set[str] = set()
    begun = Found([*held.items, *assigned.items], held.is_cut or assigned.is_cut)
    return Board(
        in_progress=_tasks("in_progress", "On your board: in progress", begun, seen),
        overdue=_tasks("overdue", "On your board: overdue", overdue, seen),
        ready=_tasks("ready", "On your board: ready to be claimed", ready, seen),
        blocked=_tasks("blocked", "On your board: blocked", blocked, seen),
    )


def _tasks(name: str, title: str, found: Found, seen: set[str]) -> Section:
    fresh: list[JsonObject] = []
    for task in found.items:
        fresh += without([task], seen)
    return section_of(name, title, Found(fresh, found.is_cut), _own, shown=SHOWN_TASKS)


def _own(task: JsonObject) -> Entry:
    """A task as an entry; whose it is goes without saying."""
    return task_entry({**task, "assigned_persona": None})


async def memories_of(asking: Asking) -> Section:
    """Return what the persona remembers that matters: pinned, then important, then recent, then shared with it."""
    persona = asking.persona_id
    pinned, important, recent, shared = await together(
        asking.list("memory", MEMORY, persona_id=persona, tags=PINNED, sort="importance", limit=SHOWN_MEMORIES),
        asking.list("memory", MEMORY, persona_id=persona, sort="importance"),
        asking.list("memory", MEMORY, persona_id=persona, sort="newest", limit=RECENT),
        _shared(asking),
    )
    seen: set[str] = set()
    first = _because("pinned", pinned.items, seen) + _because("recent", recent.items, seen)
    last = _because("shared", shared.items[:RECENT], seen)
    room = max(0, SHOWN_MEMORIES - len(first) - len(last))
    among = _because("important", important.items, seen)
    chosen = sorted(first + among[:room] + last, key=lambda entry: _ORDER[str(entry.facts["because"])])
    more = len(among) - len(among[:room]) + len(shared.items[RECENT:])
    is_cut = pinned.is_cut or important.is_cut or shared.is_cut
    return section(
        "memories", "What you remember", chosen, shown=SHOWN_MEMORIES + RECENT, is_more_at_least=is_cut, left_off=more
    )


_ORDER: Final = {"pinned": 0, "important": 1, "recent": 2, "shared": 3}


async def _shared(asking: Asking) -> Found:
    """What others share with the persona; only the persona itself can ask for that."""
    if asking.caller.persona != asking.persona_id:
        return Found([], is_cut=False)
    return await asking.list("memory", MEMORY, shared="true", limit=2 * RECENT)


def _because(reason: str, memories: list[JsonObject], seen: set[str]) -> list[Entry]:
    fresh = without(memories, seen)
    return [
        memory_entry(one, because=reason, namespace=one["namespace"] if reason == "shared" else None) for one in fresh
    ]


async def approvals_of(asking: Asking) -> Section:
    """Return the open approvals that the persona may decide: those that name it, then those for everybody."""
    found = await asking.list("workflow", APPROVALS, status="pending", limit=LOOKED_AT)
    mine = [one for one in found.items if names(one, asking.persona_id)]
    anybodys = [one for one in found.items if one["approvers"] is None]
    title = "What waits for your approval"
    return section_of("approvals", title, Found(mine + anybodys, found.is_cut), approval_entry, shown=SHOWN_APPROVALS)


def names(approval: JsonObject, persona_id: str) -> bool:
    """Whether an approval names a persona as one who may decide."""
    approvers: Any = approval["approvers"]
    return approvers is not None and persona_id in approvers
