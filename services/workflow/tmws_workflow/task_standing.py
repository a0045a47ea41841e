"""How the task that a step waits for stands, as the task service says, or that it cannot be asked."""

from __future__ import annotations

import asyncio
from typing import Any
from uuid import UUID

from tmws_contracts.diagnosis import Call, TaskStanding, Verdict
from tmws_shared.auth import Principal
from tmws_shared.http import ServiceClient
from tmws_shared.problems import ProblemError, Unavailable

ASK_TIMEOUT_S = 2.0
MAX_DEPENDENCIES = 20
_TASKS = "/api/v1/tasks"


async def ask(tasks: ServiceClient, caller: Principal, task_id: UUID) -> TaskStanding:
    """Return how a task stands, as far as the caller may know it. Never fails."""
    if "task:read" not in caller.scopes:
        return TaskStanding(id=task_id, detail="You need the scope task:read to see how the task stands.")
    try:
        task = await _get(tasks, caller, task_id)
        blockers = await _blockers(tasks, caller, task) if task["blocked"] else []
    except Unavailable:
        return TaskStanding(id=task_id, detail="The task service cannot be asked now.")
    except ProblemError as problem:
        return TaskStanding(id=task_id, detail=f"The task service does not show the task: {problem}")
    return TaskStanding(
        id=task_id,
        detail=_detail(task, blockers),
        status=task["status"],
        assigned_persona=task["assigned_persona"],
        capabilities=task.get("capabilities", []),
        claimed_by=task.get("claimed_by"),
        lease_until=task.get("lease_until"),
        blocked_by=blockers,
    )


async def _get(tasks: ServiceClient, caller: Principal, task_id: UUID | str) -> dict[str, Any]:
    return (await tasks.call("GET", f"{_TASKS}/{task_id}", caller, timeout_s=ASK_TIMEOUT_S)).json()


async def _blockers(tasks: ServiceClient, caller: Principal, task: dict[str, Any]) -> list[UUID]:
    needed = task["depends_on"][:MAX_DEPENDENCIES]
    found = await asyncio.gather(*(_get(tasks, caller, each) for each in needed))
    return [UUID(each["id"]) for each in found if each["status"] != "completed"]


def _detail(task: dict[str, Any], blockers: list[UUID]) -> str:
    if task["status"] in ("completed", "failed", "cancelled"):
        return f"The task is {task['status']}; the step will hear of it within a minute."
    if task["status"] == "input_required":
        return f"The agent asks: {task.get('question') or 'for help'}"
    if blockers:
        return f"The task cannot start: {len(blockers)} of the tasks it depends on are not completed."
    if task.get("claimed_by"):
        return f"{task['claimed_by']} works on it, {task['progress']} % done."
    who = f"Agents of the persona {task['assigned_persona']}" if task["assigned_persona"] else "Any agent"
    able = f" who can {', '.join(task['capabilities'])}" if task.get("capabilities") else ""
    return f"Nobody has claimed the task. {who}{able} may."


def verdict_on(task: TaskStanding) -> Verdict:
    """Return what waiting for such a task means."""
    if task.status == "input_required":
        return Verdict.WAITING_FOR_PERSON
    if task.status == "pending" and not task.blocked_by:
        return Verdict.WAITING_FOR_AGENT
    return Verdict.WAITING_FOR_TASK


def calls_for(task: TaskStanding) -> list[Call]:
    """Return the calls that bring a task to its end."""
    path = f"{_TASKS}/{task.id}"
    if task.status == "input_required":
        return [Call(method="POST", path=f"{path}/answer", does="answers the question", by="task:write")]
    if task.blocked_by:
        return [
            Call(method="POST", path=f"{_TASKS}/{each}/complete", does="completes what it depends on", by="task:write")
            for each in task.blocked_by
        ]
    complete = Call(method="POST", path=f"{path}/complete", does="completes the task", by=_worker(task))
    if task.status == "pending":
        claim = Call(method="POST", path=f"{_TASKS}/claim", does="claims it", by=_worker(task))
        return [claim, complete]
    return [complete]


def _worker(task: TaskStanding) -> str:
    if task.claimed_by:
        return task.claimed_by
    return f"agents of the persona {task.assigned_persona}" if task.assigned_persona else "agents with task:write"
