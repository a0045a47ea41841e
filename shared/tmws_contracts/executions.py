"""Many executions at once, and the versions they run, on the wire."""

from __future__ import annotations

from typing import Annotated, Any
from uuid import UUID

from pydantic import Field

from tmws_contracts.common import Label, Metadata, Priority, Problem, UtcTime, Wire
from tmws_contracts.workflow import WorkflowType

MAX_BATCH = 1_000


class BatchItem(Wire):
    """One execution of a batch."""

    parameters: Metadata = Field(default={}, description="checked against `config.inputs`")
    priority: Priority | None = Field(default=None, description="the workflow's own unless given")
    key: Label | None = Field(default=None, description="your own name for the item, given back with its result")


class ExecutionBatch(Wire):
    """What `POST /workflows/{id}/execute/batch` takes; an item whose parameters do not fit is refused alone."""

    items: Annotated[list[BatchItem], Field(min_length=1, max_length=MAX_BATCH)]


class BatchItemResult(Wire):
    """What became of one item of a batch."""

    status: int = Field(description="202 accepted, 422 refused")
    key: str | None
    execution_id: UUID | None = None
    problem: Problem | None = Field(default=None, description="why it was refused; pointers are into the batch")


class AcceptedBatch(Wire):
    """What a batch answers, in the order of its items; what was accepted will run whatever happens."""

    workflow_id: UUID
    workflow_version: int
    items: list[BatchItemResult]
    accepted: int
    refused: int


class VersionSummary(Wire):
    """A version of a workflow, without its definition."""

    workflow_id: UUID
    version: int
    workflow_type: WorkflowType
    is_current: bool = Field(description="new executions get this one")
    created_at: UtcTime


class WorkflowVersion(VersionSummary):
    """A version of a workflow; it never changes."""

    config: dict[str, Any]
