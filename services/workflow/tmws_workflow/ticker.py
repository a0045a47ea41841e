"""The ticker: launches what schedules say, once per fire time whoever crashes.

Taking a due schedule, writing down its fire, launching the execution and moving the schedule on are one transaction.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from datetime import datetime
from uuid import UUID

from tmws_contracts.schedules import CatchUp, FireResult, Overlap
from tmws_shared.database import Connection, Database
from tmws_shared.events import append_event
from tmws_shared.problems import InternalError, ProblemError, Unavailable
from tmws_shared.telemetry import Counter
from tmws_workflow.cancelling import cancel_executions
from tmws_workflow.launching import launch, starter_of
from tmws_workflow.lookups import hold_workflow
from tmws_workflow.plans import Plans
from tmws_workflow.repository.schedules import DueSchedules, ScheduleState

_log = logging.getLogger(__name__)

# A fire that comes later than this has been missed, unless its schedule catches up.
PUNCTUAL_S = 60
FAILED_EVENT = "schedule.failed"
FIRES = Counter("workflow_schedule_fires", "What became of the fires of schedules", ["result"])


class Ticker:
    """Launches the executions of schedules that are due; `ring` tells the workers of them."""

    def __init__(self, database: Database, plans: Plans, ring: Callable[[], None], period_s: float) -> None:
        self._database = database
        self._plans = plans
        self._ring = ring
        self._period_s = period_s

    async def run(self) -> None:
        """Fire what is due, until cancelled."""
        while True:
            while await self._fire_next():
                self._ring()
            await asyncio.sleep(self._period_s)

    async def _fire_next(self) -> bool:
        """Fire the schedule that has been due longest; return whether there was one."""
        due: ScheduleState | None = None
        try:
            async with self._database.transaction() as connection:
                due = await DueSchedules(connection).take()
                if due is not None:
                    await self._fire(connection, due)
        except Unavailable:
            raise
        except Exception:
            # The job wrapper: one schedule must not keep the others from firing.
            if due is None:
                raise
            _log.exception("schedule %s cannot fire and is paused", due.id)
            await self._set_aside(due)
        return due is not None

    async def _fire(self, connection: Connection, due: ScheduleState) -> None:
        schedules = DueSchedules(connection)
        late_s = due.catch_up_s if due.catch_up is CatchUp.LAST else PUNCTUAL_S
        first, now = _times(due)
        fire_time, next_at = due.timetable.due(first, now, late_s)
        await schedules.move_on(due.id, next_at)
        # Somebody whose clock is late may have set the schedule to a time that has been.
        if await schedules.has_fired(due.id, fire_time or first):
            return
        result = FireResult.MISSED if fire_time is None else await self._launch_at(connection, due, fire_time)
        if result is FireResult.MISSED:
            await schedules.note(due.id, first, result)
        FIRES.labels(result).inc()

    async def _launch_at(self, connection: Connection, due: ScheduleState, fire_time: datetime) -> FireResult:
        schedules = DueSchedules(connection)
        still_open = [] if due.overlap is Overlap.ALLOW else await schedules.open_executions(due.id)
        if still_open and due.overlap is Overlap.SKIP:
            await schedules.note(due.id, fire_time, FireResult.SKIPPED, still_open[-1])
            return FireResult.SKIPPED
        try:
            execution_id = await self._launch(connection, due)
        except ProblemError as problem:
            await _note_failure(connection, due, fire_time, problem)
            return FireResult.FAILED
        await schedules.note(due.id, fire_time, FireResult.LAUNCHED, execution_id)
        await cancel_executions(connection, self._plans, still_open)
        return FireResult.LAUNCHED

    async def _launch(self, connection: Connection, due: ScheduleState) -> UUID:
        workflow = await hold_workflow(connection, due.namespace, due.workflow_id)
        starter = starter_of(due.namespace, due.principal)
        accepted = await launch(connection, self._plans, starter, workflow, due.parameters, due.priority)
        return accepted.execution_id

    async def _set_aside(self, due: ScheduleState) -> None:
        """Pause a schedule that nobody can fire, so that it does not keep the others from firing."""
        async with self._database.transaction() as connection:
            await _note_failure(connection, due, _times(due)[0], InternalError("It is paused; the log says why."))
            await DueSchedules(connection).stop(due.id)
        FIRES.labels(FireResult.FAILED).inc()


def _times(due: ScheduleState) -> tuple[datetime, datetime]:
    """Return since when the schedule is due, and the database's time."""
    if due.next_at is None or due.now is None:
        raise ValueError("a schedule that is due has both")
    return due.next_at, due.now


async def _note_failure(connection: Connection, due: ScheduleState, fire_time: datetime, problem: ProblemError) -> None:
    document = problem.document()
    await DueSchedules(connection).note(due.id, fire_time, FireResult.FAILED, problem=document)
    told = {"workflow_id": str(due.workflow_id), "fire_time": fire_time.isoformat(), "problem": document}
    await append_event(connection, FAILED_EVENT, due.namespace, str(due.id), told)
