"""`task`: creates a task and waits, holding no worker, until somebody finished it."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, cast

from tmws_contracts.task import TaskStatus
from tmws_shared.http import Answer, UpstreamProblem
from tmws_workflow.engine import Completed, Failed, Outcome, Waits
from tmws_workflow.steps.base import SERVICE_RETRY, Argument, Simple, StepCall, Wait

_PATH = "/api/v1/tasks"
_DELETED: dict[str, Any] = {"code": "task_deleted", "message": "The task was deleted before it was completed."}
# The first look comes soon: the task may have ended before its step was written down as waiting.
FIRST_LOOK_S = 1.0
# How long a step that is stopped waits to hear which task it has made.
LAST_WORD_S = 5.0


class Task(Simple):
    """Asks somebody to do something; its output is the completed task."""

    uses = "task"
    arguments = {
        "title": Argument((str,), is_required=True),
        "description": Argument((str,)),
        "priority": Argument((str,)),
        "assigned_persona": Argument((str,)),
        "metadata": Argument((dict,)),
        "labels": Argument((list,)),
        "due_at": Argument((str,)),
        "parent_id": Argument((str,)),
        "depends_on": Argument((list,)),
    }
    scopes = frozenset({"task:read", "task:write"})
    retry = SERVICE_RETRY

    async def start(self, call: StepCall) -> Outcome:
        """Create the task."""
        origin = {"execution_id": str(call.execution_id), "step": call.path}
        given: Any = call.arguments.get("metadata", {})
        # Metadata of another type is the task service's to refuse.
        metadata: Any = cast("dict[str, Any]", given) | {"workflow": origin} if isinstance(given, dict) else given
        return await create_task(call, {**call.arguments, "metadata": metadata})

    async def look(self, wait: Wait) -> Outcome | None:
        """Ask the task service how the task stands."""
        try:
            answer = await wait.services.task.call("GET", f"{_PATH}/{wait.subject}", wait.principal)
        except UpstreamProblem as problem:
            if problem.status == 404:
                return Failed(_DELETED)
            raise
        return _outcome(answer.json())

    async def withdraw(self, wait: Wait) -> None:
        """Cancel the task, unless it has ended."""
        try:
            body = {"status": TaskStatus.CANCELLED}
            await wait.services.task.call("PUT", f"{_PATH}/{wait.subject}", wait.principal, json=body)
        except UpstreamProblem as problem:
            if problem.status not in (404, 409):
                raise


async def create_task(call: StepCall, body: dict[str, Any]) -> Waits:
    """Create a task, once however often the step is tried, and wait for it."""
    answer = await _heard_out(call.send(call.services.task, "POST", _PATH, body))
    return Waits(f"task:{answer.json()['id']}", FIRST_LOOK_S)


async def _heard_out(asked: Coroutine[Any, Any, Answer]) -> Answer:
    """Return the answer, even when stopped meanwhile: a task can be withdrawn only by who knows its id."""
    asking = asyncio.ensure_future(asked)
    try:
        return await asyncio.shield(asking)
    except asyncio.CancelledError:
        if not (await asyncio.wait({asking}, timeout=LAST_WORD_S))[0]:
            asking.cancel()
            raise
        return asking.result()


def _outcome(task: dict[str, Any]) -> Outcome | None:
    match task["status"]:
        case TaskStatus.COMPLETED:
            return Completed(task)
        case TaskStatus.FAILED:
            return Failed({"code": "task_failed", "message": task["error"] or "The task failed."})
        case TaskStatus.CANCELLED:
            return Failed({"code": "task_cancelled", "message": "The task was cancelled."})
        case _:
            return None
