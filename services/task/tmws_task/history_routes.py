"""The HTTP routes of a task's history, comments and graph."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from fastapi import Query, Response

from tmws_contracts.common import Limit, Page
from tmws_contracts.task_history import Comment, NewComment, TaskEvent, TaskGraph
from tmws_shared.idempotency import Once
from tmws_shared.replies import Cursor, send
from tmws_shared.routing import StrictRouter
from tmws_task.parameters import CanRead, CanWrite, History

history_router = StrictRouter(prefix="/api/v1/tasks", tags=["tasks"])


@history_router.get("/{task_id}/events", response_model=Page[TaskEvent])
async def list_task_events(
    caller: CanRead, history: History, task_id: UUID, limit: Limit = 50, cursor: Cursor = None
) -> Response:
    """List what was done to a task, oldest first."""
    return Response(await history.events(caller, task_id, cursor, limit), media_type="application/json")


@history_router.get("/{task_id}/comments", response_model=Page[Comment])
async def list_comments(
    caller: CanRead, history: History, task_id: UUID, limit: Limit = 50, cursor: Cursor = None
) -> Response:
    """List what was said about a task, oldest first."""
    return Response(await history.comments(caller, task_id, cursor, limit), media_type="application/json")


@history_router.post("/{task_id}/comments", response_model=Comment, status_code=201)
async def comment_on_task(
    caller: CanWrite, history: History, task_id: UUID, once: Once, comment: NewComment
) -> Response:
    """Say something about a task; it stays as it is said."""
    return send(await history.say(caller, task_id, comment, once))


@history_router.get("/{task_id}/graph", response_model=TaskGraph)
async def task_graph(
    caller: CanRead,
    history: History,
    task_id: UUID,
    depth: Annotated[int, Query(ge=1, le=10, description="how many dependencies away")] = 3,
    limit: Annotated[int, Query(ge=1, le=500, description="at most so many tasks, the nearest")] = 100,
) -> Response:
    """Return what a task depends on and what depends on it, both ways, with what is ready and what is blocked."""
    return Response(await history.graph(caller, task_id, depth, limit), media_type="application/json")
