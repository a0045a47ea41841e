"""The workflow service's HTTP routes."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from fastapi import Depends, Path, Query, Request, Response

from tmws_contracts.common import Limit, Line, Page, Priority, Slug
from tmws_contracts.executions import VersionSummary, WorkflowVersion
from tmws_contracts.persona_figures import PersonaWorkflows
from tmws_contracts.workflow import (
    NewWorkflow,
    Validation,
    Workflow,
    WorkflowChange,
    WorkflowStats,
    WorkflowStatus,
    WorkflowType,
)
from tmws_shared.idempotency import Once
from tmws_shared.replies import Cursor, IfMatch, send, send_model
from tmws_shared.routing import StrictRouter
from tmws_workflow.approval_routes import Approvals, approvals_router, signals_router
from tmws_workflow.control_routes import control_router
from tmws_workflow.execution_routes import executions_router, workflow_executions_router
from tmws_workflow.parameters import CanRead, CanWrite
from tmws_workflow.repository.workflows import WorkflowFilter, WorkflowOrder
from tmws_workflow.schedule_routes import schedule_router
from tmws_workflow.service import WorkflowService

router = StrictRouter(prefix="/api/v1/workflows", tags=["workflows"])
stats_router = StrictRouter(tags=["system"])


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


@router.get("/{workflow_id}/versions", response_model=Page[VersionSummary])
async def list_workflow_versions(
    caller: CanRead, workflows: Workflows, workflow_id: UUID, limit: Limit = 50, cursor: Cursor = None
) -> Response:
    """List the versions of a workflow, newest first; each new definition made one."""
    return send_model(await workflows.versions(caller, workflow_id, cursor, limit))


@router.get("/{workflow_id}/versions/{version}", response_model=WorkflowVersion)
async def get_workflow_version(
    caller: CanRead, workflows: Workflows, workflow_id: UUID, version: Annotated[int, Path(ge=1, lt=2**31)]
) -> Response:
    """Return a version of a workflow; it never changes, and executions keep the one they started with."""
    return send_model(await workflows.version(caller, workflow_id, version))


@stats_router.get("/stats", response_model=WorkflowStats)
async def count_workflows(caller: CanRead, workflows: Workflows) -> Response:
    """Count workflows, executions and open steps."""
    return send_model(await workflows.stats(caller))


@stats_router.get("/stats/personas/{persona_id}", response_model=PersonaWorkflows)
async def count_workflows_of_persona(caller: CanRead, approvals: Approvals, persona_id: Slug) -> Response:
    """Count what waits for the decision of a persona, for the persona service."""
    return send_model(await approvals.stats_of_persona(caller, persona_id))


ROUTERS = (
    router,
    schedule_router,
    workflow_executions_router,
    executions_router,
    control_router,
    approvals_router,
    signals_router,
    stats_router,
)
