"""What can be done with the schedules of a workflow; each method is one transaction."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

from tmws_contracts.common import FieldProblem, Page
from tmws_contracts.schedules import NewSchedule, Schedule, ScheduleChange
from tmws_shared.auth import Principal
from tmws_shared.clock import new_id, now
from tmws_shared.database import Connection, Database
from tmws_shared.idempotency import Attempt, Reply, do_once
from tmws_shared.pagination import Cursors
from tmws_shared.replies import match_version, reply
from tmws_workflow.errors import ScheduleInvalid, ScheduleNotFound
from tmws_workflow.fire_times import Timetable, is_cron, is_zone
from tmws_workflow.launching import check_parameters, kept_principal
from tmws_workflow.lookups import find_workflow, hold_workflow
from tmws_workflow.plans import Plans
from tmws_workflow.repository.schedules import ScheduleRepository, ScheduleState
from tmws_workflow.repository.workflows import WorkflowState

_TIMES = frozenset({"cron", "timezone", "starts_at", "ends_at"})


class ScheduleService:
    """The schedules of all namespaces; a caller sees only its own."""

    def __init__(self, database: Database, cursors: Cursors, plans: Plans) -> None:
        self._database = database
        self._cursors = cursors
        self._plans = plans

    async def create(self, caller: Principal, workflow_id: UUID, wanted: NewSchedule, attempt: Attempt) -> Reply:
        """Have a workflow executed by itself, with the rights of the caller.

        Raises:
            WorkflowNotFound: there is none.
            ScheduleInvalid: it can never fire, or its parameters do not fit the inputs.
        """

        async def work(connection: Connection) -> Reply:
            workflow = await hold_workflow(connection, caller.namespace, workflow_id)
            values = {name: getattr(wanted, name) for name in NewSchedule.model_fields}
            problems, next_at = _next_fire(values)
            problems += await self._misfits(connection, workflow, wanted.parameters)
            if problems:
                raise ScheduleInvalid(problems)
            schedules = ScheduleRepository(connection, caller.namespace)
            schedule_id = new_id()
            times = {"next_at": None if wanted.is_paused else next_at}
            kept = values | times | {"principal": kept_principal(caller)}
            await schedules.insert(schedule_id, workflow_id, kept)
            location = f"/api/v1/workflows/{workflow_id}/schedules/{schedule_id}"
            return reply(await _view(schedules, workflow_id, schedule_id), 201, location=location)

        return await do_once(self._database, attempt, work)

    async def get(self, caller: Principal, workflow_id: UUID, schedule_id: UUID) -> Schedule:
        """Return a schedule.

        Raises:
            ScheduleNotFound: there is none.
        """
        async with self._database.connection() as connection:
            return await _view(ScheduleRepository(connection, caller.namespace), workflow_id, schedule_id)

    async def list_page(self, caller: Principal, workflow_id: UUID, cursor: str | None, limit: int) -> Page[Schedule]:
        """Return a page of a workflow's schedules, newest first.

        Raises:
            WorkflowNotFound: there is no such workflow.
            MalformedRequest: the cursor belongs to another list.
        """
        context = {"list": f"schedules of {workflow_id}", "namespace": caller.namespace}
        after = self._cursors.decode(cursor, **context)
        async with self._database.connection() as connection:
            await find_workflow(connection, caller, workflow_id)
            found = await ScheduleRepository(connection, caller.namespace).list_page(workflow_id, after, limit + 1)
        return self._cursors.page(found, limit, **context)

    async def update(
        self, caller: Principal, workflow_id: UUID, schedule_id: UUID, change: ScheduleChange, if_match: str | None
    ) -> Schedule:
        """Set the fields that `change` was given.

        Whoever changes more than whether it is paused says what will run, so that it runs with their rights.

        Raises:
            ScheduleNotFound: there is none.
            PreconditionFailed: it is not the version that `if_match` names.
            ScheduleInvalid: it could never fire, or its parameters do not fit the inputs.
        """
        given = {name: getattr(change, name) for name in change.model_fields_set}
        async with self._database.transaction() as connection:
            workflow = await hold_workflow(connection, caller.namespace, workflow_id)
            schedules = ScheduleRepository(connection, caller.namespace)
            state = await _lock(schedules, workflow_id, schedule_id, if_match)
            if given:
                await schedules.update(schedule_id, await self._changed(connection, caller, workflow, state, given))
            return await _view(schedules, workflow_id, schedule_id)

    async def _changed(
        self,
        connection: Connection,
        caller: Principal,
        workflow: WorkflowState,
        state: ScheduleState,
        given: Mapping[str, Any],
    ) -> dict[str, Any]:
        before = {name: getattr(state.timetable, name) for name in _TIMES} | {"is_paused": state.is_paused}
        values, changed = before | dict(given), dict(given)
        problems: list[FieldProblem] = []
        if any(values[name] != before[name] for name in before):
            problems, next_at = _next_fire(values)
            changed["next_at"] = None if values["is_paused"] else next_at
        if "parameters" in given:
            problems += await self._misfits(connection, workflow, given["parameters"])
        if problems:
            raise ScheduleInvalid(problems)
        if given.keys() - {"is_paused"}:
            changed["principal"] = kept_principal(caller)
        return changed

    async def delete(self, caller: Principal, workflow_id: UUID, schedule_id: UUID, if_match: str | None) -> None:
        """Delete a schedule; what it has launched goes on.

        Raises:
            ScheduleNotFound: there is none.
            PreconditionFailed: it is not the version that `if_match` names.
        """
        async with self._database.transaction() as connection:
            schedules = ScheduleRepository(connection, caller.namespace)
            await _lock(schedules, workflow_id, schedule_id, if_match)
            await schedules.delete(schedule_id)

    async def _misfits(
        self, connection: Connection, workflow: WorkflowState, parameters: dict[str, Any]
    ) -> list[FieldProblem]:
        """Return what does not fit the workflow's inputs."""
        plan = await self._plans.get(connection, workflow.id, workflow.config_version)
        return check_parameters(plan, parameters)


def _next_fire(values: Mapping[str, Any]) -> tuple[list[FieldProblem], datetime | None]:
    problems: list[FieldProblem] = []
    if not is_cron(values["cron"]):
        problems.append(_problem("cron", "must be five cron fields that can match, such as 30 7 * * MON-FRI"))
    if not is_zone(values["timezone"]):
        problems.append(_problem("timezone", "must be an IANA time zone, such as Europe/Berlin"))
    if problems:
        return problems, None
    times = Timetable(*(values[name] for name in ("cron", "timezone", "starts_at", "ends_at")))
    next_at = times.next_after(now())
    if next_at is None and times.ends_at is not None:
        return [_problem("ends_at", "must leave at least one time to fire")], None
    if next_at is None:
        return [_problem("cron", "must match at least once in 50 years")], None
    return [], next_at


def _problem(field: str, detail: str) -> FieldProblem:
    return FieldProblem(pointer=f"/{field}", detail=detail)


async def _lock(
    schedules: ScheduleRepository, workflow_id: UUID, schedule_id: UUID, if_match: str | None
) -> ScheduleState:
    state = await schedules.lock(workflow_id, schedule_id)
    if state is None:
        raise ScheduleNotFound
    match_version(if_match, state.version)
    return state


async def _view(schedules: ScheduleRepository, workflow_id: UUID, schedule_id: UUID) -> Schedule:
    schedule = await schedules.get(workflow_id, schedule_id)
    if schedule is None:
        raise ScheduleNotFound
    return schedule
