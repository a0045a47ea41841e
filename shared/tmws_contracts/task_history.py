"""What was done and said about a task, and what it hangs together with, on the wire."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any
from uuid import UUID

from pydantic import AfterValidator, Field

from tmws_contracts.common import Priority, Text, UtcTime, Wire, refuse_blank
from tmws_contracts.task import TaskStatus


class TaskAction(StrEnum):
    """What was done to a task."""

    CREATED = "created"
    CHANGED = "changed"
    STARTED = "started"
    CLAIMED = "claimed"
    PROGRESSED = "progressed"
    RELEASED = "released"
    LEASE_LOST = "lease_lost"
    INPUT_REQUIRED = "input_required"
    ANSWERED = "answered"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"
    REOPENED = "reopened"


class TaskEvent(Wire):
    """One change of a task; they are never changed themselves."""

    version: int = Field(description="the task's version that it made")
    action: TaskAction
    author: str = Field(description="who did it; `tmws`: by itself")
    persona: str | None
    from_status: TaskStatus | None = Field(description="null: it was made")
    to_status: TaskStatus
    agent: str | None = Field(description="who had claimed it, or has now")
    note: str | None = Field(description="the question, answer, error or note that came with it")
    changes: dict[str, Any] | None = Field(description="of `changed`: the fields with `from` and `to`")
    at: UtcTime


class NewComment(Wire):
    """What `POST /tasks/{id}/comments` takes."""

    body: Annotated[Text, Field(min_length=1, max_length=16_384), AfterValidator(refuse_blank)]


class Comment(Wire):
    """What somebody said about a task."""

    id: UUID
    task_id: UUID
    author: str
    persona: str | None
    body: str
    created_at: UtcTime


class GraphNode(Wire):
    """A task in a graph."""

    id: UUID
    title: str
    status: TaskStatus
    priority: Priority
    effective_priority: Priority
    assigned_persona: str | None
    ready: bool
    blocked: bool
    distance: int = Field(description="how many dependencies lie between it and the task asked for")


class GraphEdge(Wire):
    """`task_id` cannot be completed before `depends_on`."""

    task_id: UUID
    depends_on: UUID


class TaskGraph(Wire):
    """A task with what it depends on and what depends on it."""

    nodes: list[GraphNode]
    edges: list[GraphEdge]
    is_cut_off: bool = Field(description="there is more than `depth` and `limit` let through")
