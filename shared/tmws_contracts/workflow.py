"""Workflows, their executions and the journal on the wire."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import Field

from tmws_contracts.common import Document, Line, Metadata, Priority, UtcTime, Wire, WireChange


class WorkflowType(StrEnum):
    """How the steps of a workflow hang together."""

    SEQUENTIAL = "sequential"
    PARALLEL = "parallel"
    DAG = "dag"


class WorkflowStatus(StrEnum):
    """What a workflow shows of its latest execution; `pending` when it never ran."""

    PENDING = "pending"
    IN_PROGRESS = "in_progress"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


class ExecutionStatus(StrEnum):
    """Where an execution stands; the last four are final."""

    PENDING = "pending"
    RUNNING = "running"
    PAUSED = "paused"
    CANCELLING = "cancelling"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"
    TIMED_OUT = "timed_out"


class StepStatus(StrEnum):
    """Where a step of an execution stands; the last six are final."""

    PENDING = "pending"
    READY = "ready"
    RUNNING = "running"
    WAITING = "waiting"
    COMPLETED = "completed"
    FAILED = "failed"
    TIMED_OUT = "timed_out"
    CANCELLED = "cancelled"
    SKIPPED = "skipped"
    OUTCOME_UNKNOWN = "outcome_unknown"


class NewWorkflow(Wire):
    """What `POST /workflows` and `POST /workflows/validate` take."""

    name: Line
    workflow_type: WorkflowType
    priority: Priority = Priority.MEDIUM
    config: Document = Field(description="`inputs`, `steps` and `output`; see docs/workflows.md")


class WorkflowChange(WireChange):
    """What `PUT /workflows/{id}` takes: the fields given are set, the others stay."""

    name: Line = ""
    workflow_type: WorkflowType = WorkflowType.SEQUENTIAL
    priority: Priority = Priority.MEDIUM
    config: Document = {}


class Workflow(Wire):
    """A workflow as the API shows it; the last five fields mirror its latest execution."""

    id: UUID
    namespace: str
    name: str
    workflow_type: WorkflowType
    priority: Priority
    config: dict[str, Any]
    config_version: int = Field(description="grows by one with every new definition; executions keep theirs")
    version: int = Field(description="grows by one with every change; the ETag")
    created_at: UtcTime
    updated_at: UtcTime
    execution_id: UUID | None = Field(description="the latest execution")
    status: WorkflowStatus
    result: Any = Field(description="what `config.output` gave")
    error: str | None
    started_at: UtcTime | None
    completed_at: UtcTime | None


class Validation(Wire):
    """The answer to a definition without problems."""

    valid: Literal[True] = True
    steps: list[str] = Field(description="the ids of the steps, in an order in which they can run")


class ExecutionRequest(Wire):
    """What `POST /workflows/{id}/execute` takes."""

    parameters: Metadata = Field(default={}, description="checked against `config.inputs`")
    priority: Priority | None = Field(default=None, description="the workflow's own unless given")


class AcceptedExecution(Wire):
    """An execution that will run whatever happens to this process."""

    execution_id: UUID
    workflow_id: UUID
    workflow_version: int
    status: ExecutionStatus
    priority: Priority
    created_at: UtcTime


class StepError(Wire):
    """Why a step did not succeed."""

    code: str = Field(description="a word for programs, e.g. `expression`, `refused`, `unavailable`, `timeout`")
    message: str
    status: int | None = Field(default=None, description="the HTTP status another service answered with")
    problem: dict[str, Any] | None = Field(default=None, description="the problem document of that answer")
    item: int | None = Field(default=None, description="the first item of a map that did not succeed")


class ExecutionError(StepError):
    """Why an execution did not succeed."""

    step: str | None = Field(default=None, description="the step that ended it")


class Waiting(Wire):
    """What a step waits for."""

    what: Literal[
        "steps", "worker", "retry", "time", "task", "approval", "signal", "execution", "items", "turn", "resume"
    ]
    steps: list[str] | None = Field(default=None, description="needs that have not ended")
    until: UtcTime | None = None
    task_id: UUID | None = None
    approval_id: UUID | None = None
    signal: str | None = Field(default=None, description="the name of the signal")
    execution_id: UUID | None = Field(default=None, description="the child")


class Step(Wire):
    """One step of an execution."""

    id: str
    uses: str
    needs: list[str]
    status: StepStatus
    attempt: Annotated[int, Field(ge=0)]
    waiting_for: Waiting | None
    started_at: UtcTime | None
    finished_at: UtcTime | None
    deadline_at: UtcTime | None
    output: Any
    error: StepError | None


class Execution(Wire):
    """One run of a workflow."""

    id: UUID
    workflow_id: UUID
    workflow_version: int
    namespace: str
    status: ExecutionStatus
    priority: Priority
    progress: Annotated[int, Field(ge=0, le=100, description="percent of the steps that have ended")]
    parameters: dict[str, Any]
    output: Any
    error: ExecutionError | None
    started_by: str = Field(description="the subject whose rights it has")
    created_at: UtcTime
    started_at: UtcTime | None
    finished_at: UtcTime | None
    cancel_requested_at: UtcTime | None
    paused_at: UtcTime | None
    retries: Annotated[int, Field(ge=0, description="how often it was tried again")]
    outcome: ExecutionStatus | None = Field(description="how it will end, once it cannot end well any more")
    parent_execution_id: UUID | None = Field(description="the execution whose step waits for this one")


class ExecutionDetail(Execution):
    """One run of a workflow, step by step."""

    steps: list[Step]


class WorkflowReport(Wire):
    """How the latest execution of a workflow goes; without one `execution_id` is null."""

    workflow_id: UUID
    execution_id: UUID | None
    workflow_version: int
    status: ExecutionStatus
    progress: int
    output: Any
    error: ExecutionError | None
    created_at: UtcTime | None
    started_at: UtcTime | None
    finished_at: UtcTime | None
    cancel_requested_at: UtcTime | None
    steps: list[Step]


class JournalEvent(Wire):
    """One line of an execution's journal; `seq` has no gaps."""

    seq: int
    type: str
    step: str | None
    attempt: int | None
    data: dict[str, Any]
    at: UtcTime


class Cancellation(Wire):
    """The executions a cancel reached; none when nothing was open."""

    workflow_id: UUID
    executions: list[UUID]


class WorkflowStats(Wire):
    """How much there is to run and how it ended."""

    workflows: int
    executions_by_status: dict[ExecutionStatus, int]
    steps_ready: int
    steps_running: int
    steps_waiting: int
    oldest_ready_s: float | None = Field(description="how long the oldest ready step has waited for a worker")
