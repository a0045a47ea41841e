"""Schedules and their fires. Callers stay in one namespace; the ticker takes what is due, of whatever namespace."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import func, insert, update
from sqlmodel import col

from tmws_contracts.common import Priority
from tmws_contracts.schedules import SHOWN_FIRES, CatchUp, Fire, FireResult, Overlap, Schedule
from tmws_shared.database import Connection, Database, Row
from tmws_shared.pagination import Conditions, Keyset
from tmws_workflow.fire_times import Timetable
from tmws_workflow.models import ScheduleRow

_COLUMNS = """
    s.id, s.workflow_id, s.cron, s.timezone, s.parameters, s.priority::text, s.overlap::text, s.catch_up::text,
    s.catch_up_s, s.is_paused, s.starts_at, s.ends_at, s.next_at, s.principal, s.version
"""
_VIEW = f"""
    SELECT {_COLUMNS}, s.created_at, s.updated_at,
           f.fire_time, f.result::text, f.execution_id, f.problem, f.at
    FROM schedules s LEFT JOIN LATERAL (
        SELECT * FROM schedule_fires WHERE schedule_id = s.id ORDER BY fire_time DESC LIMIT 1
    ) f ON true
    WHERE s.namespace = $1 AND s.workflow_id = $2
"""  # noqa: S608 -- our own columns
_GET = _VIEW + " AND s.id = $3"
_LOCK = f"""SELECT {_COLUMNS}, s.namespace FROM schedules s
    WHERE s.namespace = $1 AND s.workflow_id = $2 AND s.id = $3 FOR NO KEY UPDATE"""  # noqa: S608 -- our own columns
_DELETE = "DELETE FROM schedules WHERE id = $1"
_DELETE_ALL = "DELETE FROM schedules WHERE workflow_id = $1"
# The workflow is held before its schedule, as changes do; whoever finds one of them held comes back a tick later.
_TAKE_DUE = f"""
    SELECT {_COLUMNS}, s.namespace, now() AS now
    FROM schedules s JOIN workflows w ON w.id = s.workflow_id
    WHERE s.next_at <= now() AND w.deleted_at IS NULL ORDER BY s.next_at LIMIT 1
    FOR KEY SHARE OF w SKIP LOCKED FOR NO KEY UPDATE OF s SKIP LOCKED
"""  # noqa: S608 -- our own columns
_HAS_FIRED = "SELECT EXISTS (SELECT 1 FROM schedule_fires WHERE schedule_id = $1 AND fire_time = $2)"
_FIRE = """INSERT INTO schedule_fires (schedule_id, fire_time, result, execution_id, problem)
    VALUES ($1, $2, $3::text::fire_result, $4, $5)"""
_MOVE_ON = "UPDATE schedules SET next_at = $2 WHERE id = $1"
_STOP = "UPDATE schedules SET next_at = NULL, is_paused = true, version = version + 1, updated_at = now() WHERE id = $1"
# Older ones have ended, or the schedule has not fired since.
_OPEN = """
    SELECT e.id FROM (
        SELECT execution_id FROM schedule_fires WHERE schedule_id = $1 AND result = 'launched'
        ORDER BY fire_time DESC LIMIT 1000
    ) f JOIN executions e ON e.id = f.execution_id WHERE e.finished_at IS NULL ORDER BY e.id
"""
_FORGET = """DELETE FROM schedule_fires f WHERE f.at < now() - make_interval(days => $1)
    AND EXISTS (SELECT 1 FROM schedule_fires n WHERE n.schedule_id = f.schedule_id AND n.fire_time > f.fire_time)"""
_KEPT_DAYS = 90
_NEWEST = Keyset((("s.created_at", "timestamptz"), ("s.id", "uuid")), descending=True)


@dataclass(frozen=True, slots=True)
class ScheduleState:
    """A locked schedule; `now` is the database's time when it was taken because it was due."""

    id: UUID
    namespace: str
    workflow_id: UUID
    timetable: Timetable
    parameters: dict[str, Any]
    priority: Priority | None
    overlap: Overlap
    catch_up: CatchUp
    catch_up_s: int
    is_paused: bool
    next_at: datetime | None
    principal: dict[str, Any]
    version: int
    now: datetime | None = None


class ScheduleRepository:
    """The schedules of one namespace, through one connection."""

    def __init__(self, connection: Connection, namespace: str) -> None:
        self._connection = connection
        self._namespace = namespace

    async def insert(self, schedule_id: UUID, workflow_id: UUID, values: Mapping[str, Any]) -> None:
        """Add a schedule."""
        fixed = {"id": schedule_id, "namespace": self._namespace, "workflow_id": workflow_id}
        await self._connection.execute(insert(ScheduleRow).values({**fixed, **values}))

    async def get(self, workflow_id: UUID, schedule_id: UUID) -> Schedule | None:
        """Return a schedule of a workflow, or None."""
        row = await self._connection.fetchrow(_GET, self._namespace, workflow_id, schedule_id)
        return None if row is None else _schedule(row)

    async def list_page(
        self, workflow_id: UUID, after: list[str] | None, limit: int
    ) -> list[tuple[Schedule, list[str]]]:
        """Return up to `limit` schedules of a workflow, newest first, each with its position."""
        where = Conditions(self._namespace, workflow_id)
        where.add_given(_NEWEST.beyond("{}"), after)
        where.values.append(limit)
        view = _VIEW.replace("SELECT", f"SELECT {_NEWEST.position} AS position,", 1)
        sql = f"{view} {where.sql()} ORDER BY {_NEWEST.order_by} LIMIT ${len(where.values)}"
        rows = await self._connection.fetch(sql, *where.values)
        return [(_schedule(row), row["position"]) for row in rows]

    async def lock(self, workflow_id: UUID, schedule_id: UUID) -> ScheduleState | None:
        """Hold a schedule of a workflow until the transaction ends, so that it cannot fire meanwhile."""
        row = await self._connection.fetchrow(_LOCK, self._namespace, workflow_id, schedule_id)
        return None if row is None else _state(row)

    async def update(self, schedule_id: UUID, values: Mapping[str, Any]) -> None:
        """Set columns of a locked schedule."""
        statement = (
            update(ScheduleRow)
            .where(col(ScheduleRow.id) == schedule_id)
            .values({**values, "version": col(ScheduleRow.version) + 1, "updated_at": func.now()})
        )
        await self._connection.execute(statement)

    async def delete(self, schedule_id: UUID) -> None:
        """Delete a locked schedule; what it has launched goes on."""
        await self._connection.execute(_DELETE, schedule_id)

    async def delete_all(self, workflow_id: UUID) -> None:
        """Delete the schedules of a locked workflow."""
        await self._connection.execute(_DELETE_ALL, workflow_id)


class DueSchedules:
    """Schedules whose time has come, in the transaction of a connection."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def take(self) -> ScheduleState | None:
        """Hold the schedule that has been due longest, and its workflow; None when none is that nobody else holds."""
        row = await self._connection.fetchrow(_TAKE_DUE)
        return None if row is None else _state(row)

    async def has_fired(self, schedule_id: UUID, fire_time: datetime) -> bool:
        """Return whether a fire time of a held schedule was dealt with before."""
        return await self._connection.fetchval(_HAS_FIRED, schedule_id, fire_time)

    async def note(
        self,
        schedule_id: UUID,
        fire_time: datetime,
        result: FireResult,
        execution_id: UUID | None = None,
        problem: Mapping[str, Any] | None = None,
    ) -> None:
        """Write down what becomes of a fire time."""
        await self._connection.execute(_FIRE, schedule_id, fire_time, result, execution_id, problem)

    async def move_on(self, schedule_id: UUID, next_at: datetime | None) -> None:
        """Set when the schedule fires next; None when never."""
        await self._connection.execute(_MOVE_ON, schedule_id, next_at)

    async def stop(self, schedule_id: UUID) -> None:
        """Pause a schedule that cannot go on."""
        await self._connection.execute(_STOP, schedule_id)

    async def open_executions(self, schedule_id: UUID) -> list[UUID]:
        """Return the executions it has launched that have not ended."""
        return [row["id"] for row in await self._connection.fetch(_OPEN, schedule_id)]


async def forget_old_fires(database: Database) -> int:
    """Delete fires of three months ago, but each schedule's last; return how many there were."""
    return await database.execute(_FORGET, _KEPT_DAYS)


def _timetable(row: Row) -> Timetable:
    return Timetable(row["cron"], row["timezone"], row["starts_at"], row["ends_at"])


def _schedule(row: Row) -> Schedule:
    shown = {name: row[name] for name in Schedule.model_fields if name in row}
    next_at = row["next_at"]
    fires = [] if next_at is None else _timetable(row).coming(next_at, SHOWN_FIRES)
    fire = None if row["result"] is None else Fire.model_validate({name: row[name] for name in Fire.model_fields})
    runs_as = row["principal"]["subject"]
    return Schedule.model_validate({**shown, "next_fires": fires, "last_fire": fire, "runs_as": runs_as})


def _state(row: Row) -> ScheduleState:
    return ScheduleState(
        id=row["id"],
        namespace=row["namespace"],
        workflow_id=row["workflow_id"],
        timetable=_timetable(row),
        parameters=row["parameters"],
        priority=None if row["priority"] is None else Priority(row["priority"]),
        overlap=Overlap(row["overlap"]),
        catch_up=CatchUp(row["catch_up"]),
        catch_up_s=row["catch_up_s"],
        is_paused=row["is_paused"],
        next_at=row["next_at"],
        principal=row["principal"],
        version=row["version"],
        now=row.get("now"),
    )
