"""The routes that control executions."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from fastapi import Depends, Request, Response

from tmws_contracts.workflow import Cancellation, Execution
from tmws_contracts.workflow_control import RetryRequest
from tmws_shared.idempotency import Once
from tmws_shared.replies import send
from tmws_shared.routing import StrictRouter
from tmws_workflow.control import ExecutionControl
from tmws_workflow.parameters import CanRun

control_router = StrictRouter(prefix="/api/v1", tags=["workflows"])


async def _control(request: Request) -> ExecutionControl:
    return request.app.state.control


Control = Annotated[ExecutionControl, Depends(_control)]


@control_router.post("/workflows/{workflow_id}/cancel", response_model=Cancellation)
async def cancel_workflow(caller: CanRun, control: Control, workflow_id: UUID, once: Once) -> Response:
    """Cancel every execution that has not ended: what is queued at once, what runs within a second."""
    return send(await control.cancel_all(caller, workflow_id, once))


@control_router.post("/executions/{execution_id}/cancel", response_model=Execution)
async def cancel_execution(caller: CanRun, control: Control, execution_id: UUID, once: Once) -> Response:
    """Cancel an execution: what is queued ends at once, what runs within a second; then what completed is undone."""
    return send(await control.cancel(caller, execution_id, once))


@control_router.post("/executions/{execution_id}/pause", response_model=Execution)
async def pause_execution(caller: CanRun, control: Control, execution_id: UUID, once: Once) -> Response:
    """Pause an execution: nothing new starts; what runs or waits goes on, and so do timeouts."""
    return send(await control.pause(caller, execution_id, once))


@control_router.post("/executions/{execution_id}/resume", response_model=Execution)
async def resume_execution(caller: CanRun, control: Control, execution_id: UUID, once: Once) -> Response:
    """Let a paused execution go on."""
    return send(await control.resume(caller, execution_id, once))


@control_router.post("/executions/{execution_id}/retry", response_model=Execution)
async def retry_execution(
    caller: CanRun, control: Control, execution_id: UUID, once: Once, wanted: RetryRequest | None = None
) -> Response:
    """Run a failed, timed out or cancelled execution again from where it failed, or from a named step."""
    return send(await control.retry(caller, execution_id, wanted or RetryRequest(), once))
