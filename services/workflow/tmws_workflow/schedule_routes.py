"""The HTTP routes of schedules."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from fastapi import Depends, Request, Response

from tmws_contracts.common import Limit, Page
from tmws_contracts.schedules import NewSchedule, Schedule, ScheduleChange
from tmws_shared.idempotency import Once
from tmws_shared.replies import Cursor, IfMatch, send, send_model
from tmws_shared.routing import StrictRouter
from tmws_workflow.parameters import CanRead, CanRun
from tmws_workflow.schedules import ScheduleService

schedule_router = StrictRouter(prefix="/api/v1/workflows/{workflow_id}/schedules", tags=["workflows"])


async def _service(request: Request) -> ScheduleService:
    return request.app.state.schedules


Schedules = Annotated[ScheduleService, Depends(_service)]


@schedule_router.get("", response_model=Page[Schedule])
async def list_schedules(
    caller: CanRead, schedules: Schedules, workflow_id: UUID, limit: Limit = 50, cursor: Cursor = None
) -> Response:
    """List the schedules of a workflow, newest first."""
    return send_model(await schedules.list_page(caller, workflow_id, cursor, limit))


@schedule_router.post("", response_model=Schedule, status_code=201)
async def create_schedule(
    caller: CanRun, schedules: Schedules, workflow_id: UUID, schedule: NewSchedule, once: Once
) -> Response:
    """Have the workflow executed by itself, once per fire time whatever crashes, with your rights."""
    return send(await schedules.create(caller, workflow_id, schedule, once))


@schedule_router.get("/{schedule_id}", response_model=Schedule)
async def get_schedule(caller: CanRead, schedules: Schedules, workflow_id: UUID, schedule_id: UUID) -> Response:
    """Return a schedule: when it fires next, and what became of its last fire."""
    return send_model(await schedules.get(caller, workflow_id, schedule_id))


@schedule_router.patch("/{schedule_id}", response_model=Schedule)
async def update_schedule(
    caller: CanRun,
    schedules: Schedules,
    workflow_id: UUID,
    schedule_id: UUID,
    change: ScheduleChange,
    if_match: IfMatch,
) -> Response:
    """Change a schedule: the fields given are set, the others stay.

    Whoever changes more than `is_paused` gives it their rights in place of those it had.
    """
    return send_model(await schedules.update(caller, workflow_id, schedule_id, change, if_match))


@schedule_router.delete("/{schedule_id}", status_code=204)
async def delete_schedule(
    caller: CanRun, schedules: Schedules, workflow_id: UUID, schedule_id: UUID, if_match: IfMatch
) -> Response:
    """Delete a schedule; what it has launched goes on."""
    await schedules.delete(caller, workflow_id, schedule_id, if_match)
    return Response(status_code=204)
