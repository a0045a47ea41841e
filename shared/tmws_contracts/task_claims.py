"""Claims of tasks on the wire: who works on what, and for how long."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from pydantic import Field

from tmws_contracts.common import Label, Slug, Text, UtcTime, Wire
from tmws_contracts.task import ClaimToken, Description, Progress, Task

DEFAULT_LEASE_S = 300
Agent = Annotated[Label, Field(description="the agent, by a name of its own choice")]
LeaseSeconds = Annotated[int, Field(ge=30, le=3600, description="how long the claim holds unless it is renewed")]
Note = Annotated[Text, Field(max_length=4_096)]


class TaskClaim(Wire):
    """What `POST /tasks/claim` takes."""

    agent_id: Agent
    personas: Annotated[list[Slug], Field(max_length=20, description="tasks of these, and those of nobody")] = []
    capabilities: Annotated[list[Slug], Field(max_length=100, description="what the agent can do")] = []
    labels: Annotated[list[Label], Field(max_length=20, description="a task must have all of them")] = []
    limit: Annotated[int, Field(ge=1, le=10)] = 1
    lease_seconds: LeaseSeconds = DEFAULT_LEASE_S
    wait_seconds: Annotated[int, Field(ge=0, le=30, description="how long to wait for a first task")] = 0
    request_id: Annotated[
        Label | None, Field(description="the same one gives the same tasks again, while their leases live")
    ] = None


class ScoreBreakdown(Wire):
    """Why a task was given before others: hours of head start, which add up to its score."""

    priority: float = Field(description="low 0, medium 24, high 72, urgent 87,600")
    due: float = Field(description="up to 16, the more the sooner it is due")
    unblocks: float = Field(description="half an hour for each task that waits for it, up to 4")
    age: float = Field(description="the hours since it was made")
    persona: float = Field(description="1 when it is meant for a persona of the claimer")


class ClaimedTask(Task):
    """A task that was given to an agent."""

    claim_token: ClaimToken
    score: float
    score_breakdown: ScoreBreakdown


class Claimed(Wire):
    """What a claim was given, best first; empty when nothing fits."""

    items: list[ClaimedTask]


class Heartbeat(Wire):
    """What `POST /tasks/{id}/heartbeat` takes."""

    claim_token: ClaimToken
    lease_seconds: LeaseSeconds | None = Field(None, description="null: as long as the claim asked for")


class Lease(Wire):
    """A claim that holds."""

    id: UUID
    claim_token: ClaimToken
    lease_until: UtcTime
    lease_seconds: int


class Release(Wire):
    """What `POST /tasks/{id}/release` takes."""

    claim_token: ClaimToken
    note: Note | None = Field(None, description="what the next one should know")


class ProgressReport(Wire):
    """What `POST /tasks/{id}/progress` takes; the token is needed while somebody has claimed the task."""

    claim_token: ClaimToken | None = None
    progress: Progress
    note: Note | None = None


class TaskQuestion(Wire):
    """What `POST /tasks/{id}/input` takes; the token is needed while somebody has claimed the task."""

    claim_token: ClaimToken | None = None
    question: Annotated[Note, Field(min_length=1)]


class TaskAnswer(Wire):
    """What `POST /tasks/{id}/answer` takes."""

    answer: Annotated[Note, Field(min_length=1)]


class TaskFailure(Wire):
    """What `POST /tasks/{id}/fail` takes; the token is needed while somebody has claimed the task."""

    error: Description | None = None
    claim_token: ClaimToken | None = None
