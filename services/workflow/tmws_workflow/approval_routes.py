"""The HTTP routes of approvals and signals."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from fastapi import Depends, Query, Request, Response

from tmws_contracts.approvals import Approval, ApprovalDecision, ApprovalStatus, NewSignal, Signal
from tmws_contracts.common import Limit, Page
from tmws_shared.auth import NeedsScope, Principal
from tmws_shared.idempotency import Once
from tmws_shared.replies import Cursor, send, send_model
from tmws_shared.routing import StrictRouter
from tmws_workflow.approvals import ApprovalService
from tmws_workflow.parameters import CanRead, CanRun
from tmws_workflow.repository.approvals import ApprovalFilter
from tmws_workflow.signals import SignalService

approvals_router = StrictRouter(prefix="/api/v1/approvals", tags=["workflows"])
signals_router = StrictRouter(prefix="/api/v1/executions", tags=["workflows"])

CanApprove = Annotated[Principal, Depends(NeedsScope("workflow:approve"))]


async def _approvals(request: Request) -> ApprovalService:
    return request.app.state.approvals


async def _signals(request: Request) -> SignalService:
    return request.app.state.signals


Approvals = Annotated[ApprovalService, Depends(_approvals)]


async def _filter(
    status: Annotated[list[ApprovalStatus] | None, Query(max_length=5, description="any of these")] = None,
    execution_id: UUID | None = None,
) -> ApprovalFilter:
    return ApprovalFilter(tuple(status or ()), execution_id)


@approvals_router.get("", response_model=Page[Approval])
async def list_approvals(
    caller: CanRead,
    approvals: Approvals,
    wanted: Annotated[ApprovalFilter, Depends(_filter)],
    limit: Limit = 50,
    cursor: Cursor = None,
) -> Response:
    """List approvals, newest first; `status=pending` are those that steps wait for."""
    return send_model(await approvals.list_page(caller, wanted, cursor, limit))


@approvals_router.get("/{approval_id}", response_model=Approval)
async def get_approval(caller: CanRead, approvals: Approvals, approval_id: UUID) -> Response:
    """Return an approval: what is asked, what is shown, and the digest of both."""
    return send_model(await approvals.get(caller, approval_id))


@approvals_router.post("/{approval_id}/approve", response_model=Approval)
async def approve(
    caller: CanApprove, approvals: Approvals, approval_id: UUID, decision: ApprovalDecision, once: Once
) -> Response:
    """Approve exactly what the digest stands for; the step that waits goes on."""
    return send(await approvals.decide(caller, approval_id, ApprovalStatus.APPROVED, decision, once))


@approvals_router.post("/{approval_id}/reject", response_model=Approval)
async def reject(
    caller: CanApprove, approvals: Approvals, approval_id: UUID, decision: ApprovalDecision, once: Once
) -> Response:
    """Reject it; the step that waits completes with `approved: false`."""
    return send(await approvals.decide(caller, approval_id, ApprovalStatus.REJECTED, decision, once))


@signals_router.post("/{execution_id}/signals", response_model=Signal, status_code=202)
async def send_signal(
    caller: CanRun,
    signals: Annotated[SignalService, Depends(_signals)],
    execution_id: UUID,
    signal: NewSignal,
    once: Once,
) -> Response:
    """Send a signal: it is kept until a `signal` step of the execution takes it, in order, each once."""
    return send(await signals.send(caller, execution_id, signal, once))
