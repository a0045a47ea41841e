"""The task service's HTTP routes."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Query, Request, Response

from tmws_contracts.common import Label, Limit, Page, Priority, Slug, UtcTime
from tmws_contracts.task import NewTask, Task, TaskChange, TaskCompletion, TaskStats, TaskStatus
from tmws_shared.auth import NeedsScope, Principal
from tmws_shared.idempotency import Once
from tmws_shared.replies import IfMatch, send, send_model
from tmws_task.repository import TaskFilter, TaskOrder
from tmws_task.service import TaskService

router = APIRouter(prefix="/api/v1/tasks", tags=["tasks"])
stats_router = APIRouter(tags=["system"])

CanRead = Annotated[Principal, Depends(NeedsScope("task:read"))]
CanWrite = Annotated[Principal, Depends(NeedsScope("task:write"))]


async def _service(request: Request) -> TaskService:
    return request.app.state.tasks


Tasks = Annotated[TaskService, Depends(_service)]


async def _filter(  # noqa: PLR0913 -- one parameter a filter
    status: Annotated[list[TaskStatus] | None, Query(max_length=5, description="any of these")] = None,
    priority: Priority | None = None,
    assigned_persona: Slug | None = None,
    label: Label | None = None,
    parent_id: UUID | None = None,
    ready: Annotated[bool | None, Query(description="can be started now, or not")] = None,
    due_before: UtcTime | None = None,
    updated_since: UtcTime | None = None,
    sort: TaskOrder = TaskOrder.NEWEST,
) -> TaskFilter:
    return TaskFilter(
        tuple(status or ()), priority, assigned_persona, label, parent_id, ready, due_before, updated_since, sort
    )


@router.get("", response_model=Page[Task])
async def list_tasks(
    caller: CanRead,
    tasks: Tasks,
    wanted: Annotated[TaskFilter, Depends(_filter)],
    limit: Limit = 50,
    cursor: Annotated[str | None, Query(max_length=1024)] = None,
) -> Response:
    """List tasks, a page at a time."""
    return send_model(await tasks.list_page(caller, wanted, cursor, limit))


@router.post("", response_model=Task, status_code=201)
async def create_task(caller: CanWrite, tasks: Tasks, task: NewTask, once: Once) -> Response:
    """Create a task; it starts as `pending`, and is `ready` when everything it depends on is completed."""
    return send(await tasks.create(caller, task, once))


@router.get("/{task_id}", response_model=Task)
async def get_task(caller: CanRead, tasks: Tasks, task_id: UUID) -> Response:
    """Return a task."""
    return send_model(await tasks.get(caller, task_id))


@router.put("/{task_id}", response_model=Task)
async def update_task(caller: CanWrite, tasks: Tasks, task_id: UUID, change: TaskChange, if_match: IfMatch) -> Response:
    """Change a task: the fields given are set, the others stay."""
    return send_model(await tasks.update(caller, task_id, change, if_match))


@router.delete("/{task_id}", status_code=204)
async def delete_task(caller: CanWrite, tasks: Tasks, task_id: UUID, if_match: IfMatch) -> Response:
    """Delete a task that no unfinished task depends on."""
    await tasks.delete(caller, task_id, if_match)
    return Response(status_code=204)


@router.post("/{task_id}/complete", response_model=Task)
async def complete_task(
    caller: CanWrite,
    tasks: Tasks,
    task_id: UUID,
    once: Once,
    if_match: IfMatch,
    completion: TaskCompletion | None = None,
) -> Response:
    """Complete a task, with its result."""
    return send(await tasks.complete(caller, task_id, completion or TaskCompletion(), once, if_match))


@stats_router.get("/stats", response_model=TaskStats)
async def count_tasks(caller: CanRead, tasks: Tasks) -> Response:
    """Count tasks by status."""
    return send_model(await tasks.stats(caller))
