"""The workflow service's HTTP routes."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Query, Request, Response

from tmws_contracts.common import Limit, Line, Page, Priority
from tmws_contracts.workflow import (
    AcceptedExecution,
    Cancellation,
    Execution,
    ExecutionDetail,
    ExecutionRequest,
    ExecutionStatus,
    JournalEvent,
    NewWorkflow,
    Validation,
    Workflow,
    WorkflowChange,
    WorkflowReport,
    WorkflowStats,
    WorkflowStatus,
    WorkflowType,
)
from tmws_shared.auth import NeedsScope, Principal
from tmws_shared.idempotency import Once
from tmws_shared.replies import IfMatch, send, send_model
from tmws_workflow.repository.workflows import WorkflowFilter, WorkflowOrder
from tmws_workflow.service import WorkflowService

router = APIRouter(prefix="/api/v1/workflows", tags=["workflows"])
executions_router = APIRouter(prefix="/api/v1/executions", tags=["workflows"])
stats_router = APIRouter(tags=["system"])

CanRead = Annotated[Principal, Depends(NeedsScope("workflow:read"))]
CanWrite = Annotated[Principal, Depends(NeedsScope("workflow:write"))]
CanRun = Annotated[Principal, Depends(NeedsScope("workflow:run"))]
Cursor = Annotated[str | None, Query(max_length=1024)]


async def _service(request: Request) -> WorkflowService:
    return request.app.state.workflows


Workflows = Annotated[WorkflowService, Depends(_service)]


async def _filter(
    status: Annotated[list[WorkflowStatus] | None, Query(max_length=5, description="any of these")] = None,
    priority: Priority | None = None,
    workflow_type: WorkflowType | None = None,
    name: Annotated[Line | None, Query(description="exactly this name")] = None,
    sort: WorkflowOrder = WorkflowOrder.NEWEST,
) -> WorkflowFilter:
    return WorkflowFilter(tuple(status or ()), priority, workflow_type, name, sort)


@router.get("", response_model=Page[Workflow])
async def list_workflows(
    caller: CanRead,
    workflows: Workflows,
    wanted: Annotated[WorkflowFilter, Depends(_filter)],
    limit: Limit = 50,
    cursor: Cursor = None,
) -> Response:
    """List workflows, a page at a time."""
    return send_model(await workflows.list_page(caller, wanted, cursor, limit))


@router.post("", response_model=Workflow, status_code=201)
async def create_workflow(caller: CanWrite, workflows: Workflows, workflow: NewWorkflow, once: Once) -> Response:
    """Create a workflow; its definition is checked, and every problem told with its JSON pointer."""
    return send(await workflows.create(caller, workflow, once))


@router.post("/validate", response_model=Validation)
async def validate_workflow(caller: CanRead, workflows: Workflows, workflow: NewWorkflow) -> Response:
    """Check a definition as creating it would, saving nothing."""
    del caller
    return send_model(await workflows.validate(workflow))


@router.get("/{workflow_id}", response_model=Workflow)
async def get_workflow(caller: CanRead, workflows: Workflows, workflow_id: UUID) -> Response:
    """Return a workflow; status, result, error and times are those of its latest execution."""
    return send_model(await workflows.get(caller, workflow_id))


@router.put("/{workflow_id}", response_model=Workflow)
async def update_workflow(
    caller: CanWrite, workflows: Workflows, workflow_id: UUID, change: WorkflowChange, if_match: IfMatch
) -> Response:
    """Change a workflow: the fields given are set, the others stay; running executions keep their definition."""
    return send_model(await workflows.update(caller, workflow_id, change, if_match))


@router.delete("/{workflow_id}", status_code=204)
async def delete_workflow(caller: CanWrite, workflows: Workflows, workflow_id: UUID, if_match: IfMatch) -> Response:
    """Delete a workflow and its history; refused while executions have not ended."""
    await workflows.delete(caller, workflow_id, if_match)
    return Response(status_code=204)


@router.post("/{workflow_id}/execute", response_model=AcceptedExecution, status_code=202)
async def execute_workflow(
    caller: CanRun, workflows: Workflows, workflow_id: UUID, once: Once, wanted: ExecutionRequest | None = None
) -> Response:
    """Run a workflow: once this is answered, it runs to its end whatever happens to the processes."""
    return send(await workflows.execute(caller, workflow_id, wanted or ExecutionRequest(), once))


@router.post("/{workflow_id}/cancel", response_model=Cancellation)
async def cancel_workflow(caller: CanRun, workflows: Workflows, workflow_id: UUID, once: Once) -> Response:
    """Cancel the executions that have not ended, up to 1,000: what is queued at once, what runs soon."""
    return send(await workflows.cancel(caller, workflow_id, once))


@router.get("/{workflow_id}/status", response_model=WorkflowReport)
async def get_workflow_status(caller: CanRead, workflows: Workflows, workflow_id: UUID) -> Response:
    """Return how the latest execution goes, step by step, and what each step waits for."""
    return send_model(await workflows.report(caller, workflow_id))


@router.get("/{workflow_id}/executions", response_model=Page[Execution])
async def list_executions(
    caller: CanRead,
    workflows: Workflows,
    workflow_id: UUID,
    status: Annotated[list[ExecutionStatus] | None, Query(max_length=7, description="any of these")] = None,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> Response:
    """List the executions of a workflow, newest first."""
    return send_model(await workflows.list_executions(caller, workflow_id, tuple(status or ()), cursor, limit))


@executions_router.get("/{execution_id}", response_model=ExecutionDetail)
async def get_execution(caller: CanRead, workflows: Workflows, execution_id: UUID) -> Response:
    """Return an execution, step by step."""
    return send_model(await workflows.execution(caller, execution_id))


@executions_router.get("/{execution_id}/events", response_model=Page[JournalEvent])
async def list_execution_events(
    caller: CanRead, workflows: Workflows, execution_id: UUID, limit: Limit = 50, cursor: Cursor = None
) -> Response:
    """Return the journal of an execution, oldest line first."""
    return send_model(await workflows.events(caller, execution_id, cursor, limit))


@stats_router.get("/stats", response_model=WorkflowStats)
async def count_workflows(caller: CanRead, workflows: Workflows) -> Response:
    """Count workflows, executions and open steps."""
    return send_model(await workflows.stats(caller))
