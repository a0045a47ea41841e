"""The HTTP routes of executions."""

from __future__ import annotations

from typing import Annotated, Any
from uuid import UUID

from fastapi import Depends, Header, Query, Request, Response

from tmws_contracts.common import Limit, Page, UtcTime
from tmws_contracts.diagnosis import Diagnosis
from tmws_contracts.executions import AcceptedBatch, ExecutionBatch
from tmws_contracts.workflow import (
    AcceptedExecution,
    Execution,
    ExecutionDetail,
    ExecutionRequest,
    ExecutionStatus,
    JournalEvent,
    WorkflowReport,
)
from tmws_shared.idempotency import Once
from tmws_shared.problems import InvalidRequest
from tmws_shared.replies import Cursor, send, send_model
from tmws_shared.routing import StrictRouter
from tmws_workflow.diagnosis import Diagnostician
from tmws_workflow.event_stream import EventStream
from tmws_workflow.executions import ExecutionService
from tmws_workflow.journal_stream import JournalStreams
from tmws_workflow.parameters import CanRead, CanRun
from tmws_workflow.repository.executions import ExecutionFilter

workflow_executions_router = StrictRouter(prefix="/api/v1/workflows/{workflow_id}", tags=["workflows"])
executions_router = StrictRouter(prefix="/api/v1/executions", tags=["workflows"])
_LIVE: dict[str, Any] = {"content": {"text/event-stream": {"schema": {"type": "string"}}}}
_OVER: dict[str, Any] = {"description": "The execution has ended, and there is nothing after `Last-Event-ID`"}


async def _service(request: Request) -> ExecutionService:
    return request.app.state.executions


Executions = Annotated[ExecutionService, Depends(_service)]


async def _streams(request: Request) -> JournalStreams:
    return request.app.state.journal_streams


async def _diagnostician(request: Request) -> Diagnostician:
    return request.app.state.diagnostician


Diagnosing = Annotated[Diagnostician, Depends(_diagnostician)]
Streams = Annotated[JournalStreams, Depends(_streams)]
Statuses = Annotated[list[ExecutionStatus] | None, Query(max_length=len(ExecutionStatus), description="any of these")]


@workflow_executions_router.post("/execute", response_model=AcceptedExecution, status_code=202)
async def execute_workflow(
    caller: CanRun, executions: Executions, workflow_id: UUID, once: Once, wanted: ExecutionRequest | None = None
) -> Response:
    """Run a workflow: once this is answered, it runs to its end whatever happens to the processes."""
    return send(await executions.execute(caller, workflow_id, wanted or ExecutionRequest(), once))


@workflow_executions_router.post("/execute/batch", response_model=AcceptedBatch, status_code=202)
async def execute_workflow_batch(
    caller: CanRun, executions: Executions, workflow_id: UUID, batch: ExecutionBatch, once: Once
) -> Response:
    """Run a workflow up to 1,000 times, in one transaction; an item whose parameters do not fit is refused alone."""
    return send(await executions.execute_batch(caller, workflow_id, batch, once))


@workflow_executions_router.get("/status", response_model=WorkflowReport)
async def get_workflow_status(caller: CanRead, executions: Executions, workflow_id: UUID) -> Response:
    """Return how the latest execution goes, step by step, and what each step waits for."""
    return send_model(await executions.report(caller, workflow_id))


@workflow_executions_router.get("/executions", response_model=Page[Execution])
async def list_executions_of_workflow(
    caller: CanRead,
    executions: Executions,
    workflow_id: UUID,
    status: Statuses = None,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> Response:
    """List the executions of a workflow, newest first."""
    return send_model(await executions.list_of(caller, workflow_id, tuple(status or ()), cursor, limit))


async def _filter(
    status: Statuses = None,
    workflow_id: UUID | None = None,
    started_after: UtcTime | None = None,
    parent: Annotated[UUID | None, Query(description="children of this execution")] = None,
) -> ExecutionFilter:
    return ExecutionFilter(tuple(status or ()), workflow_id, started_after, parent)


@executions_router.get("", response_model=Page[Execution])
async def list_executions(
    caller: CanRead,
    executions: Executions,
    wanted: Annotated[ExecutionFilter, Depends(_filter)],
    limit: Limit = 50,
    cursor: Cursor = None,
) -> Response:
    """List the executions of all workflows, newest first."""
    return send_model(await executions.list_page(caller, wanted, cursor, limit))


@executions_router.get("/{execution_id}", response_model=ExecutionDetail)
async def get_execution(caller: CanRead, executions: Executions, execution_id: UUID) -> Response:
    """Return an execution, step by step."""
    return send_model(await executions.get(caller, execution_id))


@executions_router.get("/{execution_id}/events", response_model=Page[JournalEvent], responses={200: _LIVE, 204: _OVER})
async def list_execution_events(  # noqa: PLR0913 -- a page, or where a stream goes on
    request: Request,
    caller: CanRead,
    executions: Executions,
    streams: Streams,
    execution_id: UUID,
    limit: Limit = 50,
    cursor: Cursor = None,
    last_event_id: Annotated[int | None, Header(ge=0, lt=2**63, description="where a stream goes on")] = None,
) -> Response:
    """Return the journal of an execution, oldest line first.

    With `Accept: text/event-stream` it is live: `id` is the seq, `event` the type, `data` the line. It ends when the
    execution has ended; asked to go on after that, it answers 204, so that an EventSource stops asking.
    """
    if not _wants_stream(request):
        return send_model(await executions.events(caller, execution_id, cursor, limit))
    if cursor is not None:
        raise InvalidRequest.of("?cursor", "must be left out of a stream; Last-Event-ID says where it goes on")
    stream = await streams.open(caller, execution_id, last_event_id or 0)
    return Response(status_code=204) if stream is None else EventStream(stream)


@executions_router.get("/{execution_id}/diagnosis", response_model=Diagnosis)
async def diagnose_execution(caller: CanRead, diagnostician: Diagnosing, execution_id: UUID) -> Response:
    """Say why an execution does not move: what each step waits for, since when, and which call unblocks it."""
    return send_model(await diagnostician.diagnose(caller, execution_id))


def _wants_stream(request: Request) -> bool:
    accepted = request.headers.get("accept", "").split(",")
    return "text/event-stream" in {kind.partition(";")[0].strip().lower() for kind in accepted}
