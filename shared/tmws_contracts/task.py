"""Tasks on the wire."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal
from uuid import UUID

from pydantic import Field

from tmws_contracts.common import (
    Document,
    JsonObject,
    Label,
    Line,
    Metadata,
    Priority,
    Slug,
    Text,
    UtcTime,
    Wire,
    WireChange,
)

MAX_DEPENDENCIES = 100
Description = Annotated[Text, Field(max_length=65_536)]
Labels = Annotated[list[Label], Field(max_length=50)]
Progress = Annotated[int, Field(ge=0, le=100, description="percent done")]
Capabilities = Annotated[list[Slug], Field(max_length=20, description="whoever claims it must have all of them")]
OutputSchema = Annotated[Document, Field(description="JSON Schema (draft 2020-12) that its result must satisfy")]
ClaimToken = Annotated[int, Field(ge=1, lt=2**63, description="the fencing token that the claim gave")]


class TaskStatus(StrEnum):
    """Where a task stands; `completed` is final, `input_required` waits for an answer."""

    PENDING = "pending"
    IN_PROGRESS = "in_progress"
    INPUT_REQUIRED = "input_required"
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
    capabilities: Capabilities = []
    output_schema: OutputSchema | None = None


class TaskChange(WireChange):
    """What `PUT` and `PATCH /tasks/{id}` take: the fields given are set, the others stay."""

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
    capabilities: Capabilities = []
    output_schema: OutputSchema | None = None
    result: Metadata | None = None
    error: Description | None = None


class TaskCompletion(Wire):
    """What `POST /tasks/{id}/complete` takes; the token is needed while somebody has claimed the task."""

    result: Metadata | None = None
    claim_token: ClaimToken | None = None


class Task(Wire):
    """A task as the API shows it."""

    id: UUID
    namespace: str
    title: str
    description: str | None
    status: TaskStatus
    priority: Priority
    effective_priority: Priority = Field(description="its own, or the highest of what waits for it")
    assigned_persona: str | None
    capabilities: list[str]
    progress: Progress
    note: str | None = Field(description="what was said with the latest progress")
    metadata: Metadata
    labels: list[str]
    due_at: UtcTime | None
    parent_id: UUID | None
    depends_on: list[UUID]
    ready: bool = Field(description="pending, and everything it depends on is completed")
    blocked: bool = Field(description="pending, and something it depends on is not completed")
    overdue: bool = Field(description="unfinished after its due_at")
    output_schema: JsonObject | None
    result: Metadata | None
    error: str | None
    claimed_by: str | None = Field(description="the agent that has it, or that finished it")
    lease_until: UtcTime | None = Field(description="when the claim ends unless it is renewed")
    lease_losses: int = Field(description="how often a claim has expired; after the third a person is asked")
    question: str | None = Field(description="what is to be answered before it goes on")
    answer: str | None = Field(description="the latest answer to a question")
    version: int = Field(description="grows by one with every change; the ETag")
    created_at: UtcTime
    updated_at: UtcTime


class TaskStats(Wire):
    """How many tasks there are."""

    by_status: dict[TaskStatus, int]
    ready: int
    overdue: int
