"""The task service's HTTP routes."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from fastapi import Depends, Query, Response

from tmws_contracts.common import Label, Limit, Page, Priority, Slug, Text, UtcTime
from tmws_contracts.persona_figures import PersonaTasks
from tmws_contracts.task import NewTask, Task, TaskChange, TaskStats, TaskStatus
from tmws_shared.idempotency import Once
from tmws_shared.replies import Cursor, IfMatch, send, send_model
from tmws_shared.routing import StrictRouter
from tmws_task.batch_routes import batch_router
from tmws_task.claim_routes import claim_router
from tmws_task.history_routes import history_router
from tmws_task.parameters import CanRead, CanWrite, Tasks
from tmws_task.repository.lists import TaskFilter, TaskOrder

router = StrictRouter(prefix="/api/v1/tasks", tags=["tasks"])
stats_router = StrictRouter(tags=["system"])


async def _filter(  # noqa: PLR0913 -- one parameter a filter
    status: Annotated[list[TaskStatus] | None, Query(max_length=6, description="any of these")] = None,
    priority: Priority | None = None,
    assigned_persona: Slug | None = None,
    label: Label | None = None,
    parent_id: UUID | None = None,
    claimed_by: Annotated[Label | None, Query(description="the agent that has it, or finished it")] = None,
    q: Annotated[
        Text | None,
        Query(
            min_length=1, max_length=512, description='words of title, labels, description: "a phrase", -without, or'
        ),
    ] = None,
    ready: Annotated[bool | None, Query(description="can be started now, or not")] = None,
    blocked: Annotated[bool | None, Query(description="waits for others, or not")] = None,
    overdue: Annotated[bool | None, Query(description="is unfinished after its due_at, or not")] = None,
    due_before: UtcTime | None = None,
    updated_since: UtcTime | None = None,
    sort: Annotated[TaskOrder | None, Query(description="newest; with ready=true urgency, the order of claims")] = None,
) -> TaskFilter:
    return TaskFilter(
        tuple(status or ()),
        priority,
        assigned_persona,
        label,
        parent_id,
        claimed_by,
        q,
        ready,
        blocked,
        overdue,
        due_before,
        updated_since,
        sort or (TaskOrder.URGENCY if ready else TaskOrder.NEWEST),
    )


@router.get("", response_model=Page[Task])
async def list_tasks(
    caller: CanRead,
    tasks: Tasks,
    wanted: Annotated[TaskFilter, Depends(_filter)],
    limit: Limit = 50,
    cursor: Cursor = None,
) -> Response:
    """List tasks, a page at a time."""
    return Response(await tasks.list_page(caller, wanted, cursor, limit), media_type="application/json")


@router.post("", response_model=Task, status_code=201)
async def create_task(caller: CanWrite, tasks: Tasks, task: NewTask, once: Once) -> Response:
    """Create a task; it starts as `pending`, and is `ready` when everything it depends on is completed."""
    return send(await tasks.create(caller, task, once))


@router.get("/{task_id}", response_model=Task)
async def get_task(caller: CanRead, tasks: Tasks, task_id: UUID) -> Response:
    """Return a task."""
    return send(await tasks.get(caller, task_id))


@router.put("/{task_id}", response_model=Task)
async def update_task(caller: CanWrite, tasks: Tasks, task_id: UUID, change: TaskChange, if_match: IfMatch) -> Response:
    """Change a task: the fields given are set, the others stay."""
    return send(await tasks.update(caller, task_id, change, if_match))


@router.patch("/{task_id}", response_model=Task)
async def patch_task(caller: CanWrite, tasks: Tasks, task_id: UUID, change: TaskChange, if_match: IfMatch) -> Response:
    """Change a task by a merge patch: as PUT, but `metadata` is merged and null removes a member of it."""
    return send(await tasks.update(caller, task_id, change, if_match, is_patch=True))


@router.delete("/{task_id}", status_code=204)
async def delete_task(caller: CanWrite, tasks: Tasks, task_id: UUID, if_match: IfMatch) -> Response:
    """Delete a task that no unfinished task depends on."""
    await tasks.delete(caller, task_id, if_match)
    return Response(status_code=204)


@stats_router.get("/stats", response_model=TaskStats)
async def count_tasks(caller: CanRead, tasks: Tasks) -> Response:
    """Count tasks by status."""
    return send_model(await tasks.stats(caller))


@stats_router.get("/stats/personas/{persona_id}", response_model=PersonaTasks)
async def count_tasks_of_persona(caller: CanRead, tasks: Tasks, persona_id: Slug) -> Response:
    """Count the tasks of a persona, for the persona service."""
    return send_model(await tasks.stats_of_persona(caller, persona_id))


ROUTERS = (batch_router, claim_router, history_router, router, stats_router)
