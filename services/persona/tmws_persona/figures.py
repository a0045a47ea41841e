"""What a persona has and does, counted by the services that own it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import timedelta
from typing import Any, Final, cast

from tmws_contracts.common import JsonObject
from tmws_contracts.persona_wake_up import Count, PersonaFigures, PersonaMemories, PersonaTasks, PersonaWorkflows
from tmws_contracts.task import TaskStatus
from tmws_persona.asking import Asking, Found, together
from tmws_persona.board import APPROVALS, MEMORY, TASKS, names
from tmws_persona.entries import count_of, moment
from tmws_persona.service import PersonaService
from tmws_shared.auth import Principal
from tmws_shared.clock import now
from tmws_shared.http import ServiceClient

# Nobody counts by persona: the lists are read so far, and the answer says when there are others.
COUNTED: Final = 100
LATELY: Final = timedelta(days=7)
UNFINISHED: Final = (TaskStatus.PENDING, TaskStatus.IN_PROGRESS, TaskStatus.INPUT_REQUIRED)


class Figures:
    """Counts what other services have of a persona."""

    def __init__(self, personas: PersonaService, clients: Mapping[str, ServiceClient]) -> None:
        self._personas = personas
        self._clients = clients

    async def of(self, caller: Principal, persona_id: str) -> PersonaFigures:
        """Return what the caller may know of a persona; a service that is down or refuses leaves a note.

        Raises:
            PersonaNotFound: there is no such persona.
        """
        persona = await self._personas.get(caller, persona_id)
        asking = Asking(self._clients, caller, persona.id)
        tasks, memories, workflows = await asyncio.gather(
            asking.part("tasks", _tasks(asking)),
            asking.part("memories", _memories(asking)),
            asking.part("workflows", _workflows(asking)),
        )
        return PersonaFigures(
            persona_id=persona.id,
            tasks=tasks,
            memories=memories,
            workflows=workflows,
            missing=sorted(asking.missing, key=lambda gap: gap.part),
            made_at=now(),
        )


async def _tasks(asking: Asking) -> PersonaTasks:
    since = (now() - LATELY).isoformat()
    wanted: list[dict[str, str]] = [{"status": status} for status in TaskStatus]
    wanted += [{"ready": "true"}, {"overdue": "true"}, {"status": TaskStatus.COMPLETED, "updated_since": since}]
    found = await together(
        *(
            asking.list("task", TASKS, assigned_persona=asking.persona_id, limit=COUNTED, **filters)
            for filters in wanted
        )
    )
    by_status = dict(zip(TaskStatus, found, strict=False))
    ready, overdue, lately = (count_of(one) for one in found[len(TaskStatus) :])
    return PersonaTasks(
        by_status={status: count_of(one) for status, one in by_status.items()},
        ready=ready,
        overdue=overdue,
        completed_lately=lately,
        executions_waiting=_executions([by_status[status] for status in UNFINISHED]),
    )


def _executions(unfinished: list[Found]) -> Count:
    """The executions whose `agent` and `task` steps have made these tasks."""
    tasks = [task for found in unfinished for task in found.items]
    known = {execution_id for task in tasks if (execution_id := _origin(task["metadata"]))}
    return Count(value=len(known), is_at_least=any(found.is_cut for found in unfinished))


def _origin(metadata: JsonObject) -> str | None:
    """The execution that has made a task; metadata are anybody's, so that anything may be there."""
    origin: Any = metadata.get("workflow")
    named: Any = cast("JsonObject", origin).get("execution_id") if isinstance(origin, dict) else None
    return named if isinstance(named, str) else None


async def _memories(asking: Asking) -> PersonaMemories:
    found = await asking.list("memory", MEMORY, persona_id=asking.persona_id, sort="newest", limit=COUNTED)
    newest_at = moment(found.items[0]["created_at"]) if found.items else None
    return PersonaMemories(memories=count_of(found), newest_at=newest_at)


async def _workflows(asking: Asking) -> PersonaWorkflows:
    """What waits for the persona's decision."""
    found = await asking.list("workflow", APPROVALS, status="pending", limit=COUNTED)
    approvals = [approval for approval in found.items if names(approval, asking.persona_id)]
    executions = {approval["execution_id"] for approval in approvals}
    return PersonaWorkflows(
        approvals_waiting=count_of(Found(approvals, found.is_cut)),
        executions_waiting=Count(value=len(executions), is_at_least=found.is_cut),
    )
