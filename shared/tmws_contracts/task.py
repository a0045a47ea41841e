"""Tasks on the wire."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal
from uuid import UUID

from pydantic import Field

from tmws_contracts.common import Label, Line, Metadata, Priority, Slug, Text, UtcTime, Wire, WireChange

MAX_DEPENDENCIES = 100
Description = Annotated[Text, Field(max_length=65_536)]
Labels = Annotated[list[Label], Field(max_length=50)]
Progress = Annotated[int, Field(ge=0, le=100, description="percent done")]


class TaskStatus(StrEnum):
    """Where a task stands; `completed` is final."""

    PENDING = "pending"
    IN_PROGRESS = "in_progress"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


class NewTask(Wire):
    """What `POST /tasks` takes."""

    title: Line
    description: Description | None = None
    status: Literal[TaskStatus.PENDING, TaskStatus.IN_PROGRESS] = TaskStatus.PENDING
    priority: Priority = Priority.MEDIUM
    assigned_persona: Slug | None = None
    progress: Progress = 0
    metadata: Metadata = {}
    labels: Labels = []
    due_at: UtcTime | None = None
    parent_id: UUID | None = None
    depends_on: Annotated[list[UUID], Field(max_length=MAX_DEPENDENCIES)] = []


class TaskChange(WireChange):
    """What `PUT /tasks/{id}` takes: the fields given are set, the others stay."""

    title: Line = ""
    description: Description | None = None
    status: TaskStatus = TaskStatus.PENDING
    priority: Priority = Priority.MEDIUM
    assigned_persona: Slug | None = None
    progress: Progress = 0
    metadata: Metadata = {}
    labels: Labels = []
    due_at: UtcTime | None = None
    parent_id: UUID | None = None
    depends_on: Annotated[list[UUID], Field(max_length=MAX_DEPENDENCIES)] = []
    result: Metadata | None = None
    error: Description | None = None


class TaskCompletion(Wire):
    """What `POST /tasks/{id}/complete` takes."""

    result: Metadata | None = None


class Task(Wire):
    """A task as the API shows it."""

    id: UUID
    namespace: str
    title: str
    description: str | None
    status: TaskStatus
    priority: Priority
    assigned_persona: str | None
    progress: Progress
    metadata: Metadata
    labels: list[str]
    due_at: UtcTime | None
    parent_id: UUID | None
    depends_on: list[UUID]
    ready: bool = Field(description="pending, and everything it depends on is completed")
    blocked: bool = Field(description="pending, and something it depends on is not completed")
    overdue: bool = Field(description="unfinished after its due_at")
    result: Metadata | None
    error: str | None
    version: int = Field(description="grows by one with every change; the ETag")
    created_at: UtcTime
    updated_at: UtcTime


class TaskStats(Wire):
    """How many tasks there are."""

    by_status: dict[TaskStatus, int]
    ready: int
    overdue: int
