"""Why an execution does not move, on the wire."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal
from uuid import UUID

from pydantic import Field

from tmws_contracts.common import UtcTime, Wire
from tmws_contracts.workflow import ExecutionStatus, StepError, StepStatus, Waiting


class Verdict(StrEnum):
    """What an execution is about, in one word."""

    RUNNING = "running"
    QUEUED = "queued"
    RETRYING = "retrying"
    NO_WORKER = "no_worker"
    WAITING_FOR_PERSON = "waiting_for_person"
    WAITING_FOR_AGENT = "waiting_for_agent"
    WAITING_FOR_TASK = "waiting_for_task"
    WAITING_FOR_SIGNAL = "waiting_for_signal"
    WAITING_FOR_CHILD = "waiting_for_child"
    WAITING_FOR_TIME = "waiting_for_time"
    PAUSED = "paused"
    CANCELLING = "cancelling"
    FINISHED = "finished"


class Call(Wire):
    """A call that gets it moving."""

    method: Literal["GET", "POST", "PUT"]
    path: str
    does: str
    by: str = Field(description="who may do it")


class TaskStanding(Wire):
    """How the task that a step waits for stands; only `id` and `detail` when the task service could not be asked."""

    id: UUID
    detail: str
    status: str | None = None
    assigned_persona: str | None = None
    capabilities: list[str] = []
    claimed_by: str | None = None
    lease_until: UtcTime | None = None
    blocked_by: list[UUID] = Field(default=[], description="what it depends on that is not completed")


class QueuePlace(Wire):
    """Where a ready step stands in the queue."""

    ahead: Annotated[int, Field(ge=0, description="ready steps of the namespace before it; 10,000 is as many or more")]
    due_at: UtcTime


class Child(Wire):
    """The execution that a step waits for."""

    execution_id: UUID
    status: ExecutionStatus
    verdict: Verdict
    summary: str


class StepDiagnosis(Wire):
    """Why one step has not ended, or why it made the execution fail."""

    id: str
    uses: str
    status: StepStatus
    verdict: Verdict
    explanation: str
    waiting_for: Waiting | None
    since: UtcTime = Field(description="when it came to be so")
    until: UtcTime | None = Field(description="when it moves by itself, or runs out of time")
    attempt: int
    attempts_left: int | None = Field(description="null when attempts are not what it is about")
    error: StepError | None = Field(description="what its last attempt ended with")
    unblock: list[Call]
    task: TaskStanding | None = None
    queue: QueuePlace | None = None
    child: Child | None = None


class Workers(Wire):
    """The workers that have shown themselves lately."""

    alive: int
    in_flight: int = Field(description="steps they run")
    capacity: int = Field(description="steps they can run at once")
    last_seen_at: UtcTime | None = Field(description="of any worker, in the last day")


class Diagnosis(Wire):
    """Why an execution does not move: a verdict, what each open step waits for, and who can unblock it."""

    execution_id: UUID
    workflow_id: UUID
    status: ExecutionStatus
    verdict: Verdict
    summary: str
    since: UtcTime
    unblock: list[Call] = Field(description="what to do about the whole of it; the steps have their own")
    steps: list[StepDiagnosis] = Field(
        description="those that have not ended, up to 200; those that failed, once it has"
    )
    workers: Workers
