"""The HTTP routes of claims and of what ends them."""

from __future__ import annotations

from uuid import UUID

from fastapi import Request, Response

from tmws_contracts.task import Task, TaskCompletion, TaskStatus
from tmws_contracts.task_claims import (
    Claimed,
    Heartbeat,
    Lease,
    ProgressReport,
    Release,
    TaskAnswer,
    TaskClaim,
    TaskFailure,
    TaskQuestion,
)
from tmws_shared.idempotency import Once
from tmws_shared.replies import IfMatch, send
from tmws_shared.routing import StrictRouter
from tmws_task.parameters import CanWrite, Claims, Tasks

claim_router = StrictRouter(prefix="/api/v1/tasks", tags=["tasks"])


@claim_router.post("/claim", response_model=Claimed)
async def claim_tasks(caller: CanWrite, claims: Claims, claim: TaskClaim, request: Request) -> Response:
    """Take the best ready tasks that fit. Nobody else gets them until they are given back or the lease ends.

    The same `request_id` gives the same tasks again, while their leases live.
    """
    return Response(await claims.claim(caller, claim, request.is_disconnected), media_type="application/json")


@claim_router.post("/{task_id}/heartbeat", response_model=Lease)
async def renew_claim(caller: CanWrite, claims: Claims, task_id: UUID, heartbeat: Heartbeat) -> Response:
    """Keep a task for longer."""
    return Response(await claims.renew(caller, task_id, heartbeat), media_type="application/json")


@claim_router.post("/{task_id}/release", response_model=Task)
async def release_task(caller: CanWrite, claims: Claims, task_id: UUID, once: Once, release: Release) -> Response:
    """Give a task back; somebody else can claim it at once."""
    return send(await claims.release(caller, task_id, release, once))


@claim_router.post("/{task_id}/progress", response_model=Task)
async def report_progress(
    caller: CanWrite, claims: Claims, task_id: UUID, once: Once, report: ProgressReport
) -> Response:
    """Say how far a task is; it does not renew the lease."""
    return send(await claims.report(caller, task_id, report, once))


@claim_router.post("/{task_id}/input", response_model=Task)
async def ask_for_input(
    caller: CanWrite, claims: Claims, task_id: UUID, once: Once, question: TaskQuestion
) -> Response:
    """Ask a person. The claim ends; the task is `input_required` until somebody answers."""
    return send(await claims.ask(caller, task_id, question, once))


@claim_router.post("/{task_id}/answer", response_model=Task)
async def answer_task(caller: CanWrite, tasks: Tasks, task_id: UUID, once: Once, answer: TaskAnswer) -> Response:
    """Answer what a task asks; it is `pending` again, with the answer."""
    return send(await tasks.answer(caller, task_id, answer, once))


@claim_router.post("/{task_id}/complete", response_model=Task)
async def complete_task(
    caller: CanWrite,
    tasks: Tasks,
    task_id: UUID,
    once: Once,
    if_match: IfMatch,
    completion: TaskCompletion | None = None,
) -> Response:
    """Complete a task, with its result. Whoever has claimed it shows the token."""
    return send(await tasks.complete(caller, task_id, completion or TaskCompletion(), once, if_match))


@claim_router.post("/{task_id}/fail", response_model=Task)
async def fail_task(
    caller: CanWrite, tasks: Tasks, task_id: UUID, once: Once, failure: TaskFailure | None = None
) -> Response:
    """Say that a task cannot be done. Whoever has claimed it shows the token."""
    return send(await tasks.fail(caller, task_id, failure or TaskFailure(), once))


@claim_router.post("/{task_id}/cancel", response_model=Task)
async def cancel_task(caller: CanWrite, tasks: Tasks, task_id: UUID, once: Once, if_match: IfMatch) -> Response:
    """Cancel a task, whoever has claimed it."""
    return send(await tasks.turn(caller, task_id, TaskStatus.CANCELLED, once, if_match))


@claim_router.post("/{task_id}/reopen", response_model=Task)
async def reopen_task(caller: CanWrite, tasks: Tasks, task_id: UUID, once: Once, if_match: IfMatch) -> Response:
    """Put a task that failed or was cancelled back into the queue."""
    return send(await tasks.turn(caller, task_id, TaskStatus.PENDING, once, if_match))
