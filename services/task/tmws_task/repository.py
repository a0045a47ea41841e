"""All SQL of the task service; every query stays in one namespace."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy import func, update
from sqlmodel import col

from tmws_contracts.common import Priority
from tmws_contracts.task import Task, TaskStatus
from tmws_shared.database import Connection, Row
from tmws_shared.pagination import Conditions, Keyset
from tmws_task.models import TaskRow

# A task as callers see it; `unmet` never leaves this file.
_VIEW = """
    t.id, t.namespace, t.title, t.description, t.status::text, t.priority::text, t.assigned_persona, t.progress,
    t.metadata, t.labels, t.due_at, t.parent_id, t.result, t.error, t.version, t.created_at, t.updated_at,
    ARRAY(SELECT d.depends_on FROM task_dependencies d WHERE d.task_id = t.id ORDER BY d.depends_on) AS depends_on,
    t.status = 'pending' AND t.unmet = 0 AS ready,
    t.status = 'pending' AND t.unmet > 0 AS blocked,
    t.status IN ('pending', 'in_progress') AND coalesce(t.due_at < now(), false) AS overdue
"""
_GET = f"SELECT {_VIEW} FROM tasks t WHERE t.namespace = $1 AND t.id = $2"  # noqa: S608 -- our own columns
_LOCK = "SELECT status::text, version, unmet FROM tasks WHERE namespace = $1 AND id = $2 FOR NO KEY UPDATE"
# It waits for no writer but a deletion, so that two tasks can be made parents of each other at once.
_KEEP = "SELECT true FROM tasks WHERE namespace = $1 AND id = $2 FOR KEY SHARE"
_INSERT = """
    INSERT INTO tasks (id, namespace, title, description, priority, assigned_persona, metadata, labels, due_at,
                       parent_id, unmet, status, progress)
    VALUES ($1, $2, $3, $4, $5::text::task_priority, $6, $7, $8, $9, $10, $11, $12::text::task_status, $13)
"""
# Dependencies are locked before their dependents everywhere, so two writers cannot wait for each other.
_SHARE = """SELECT id, status::text FROM tasks WHERE namespace = $1 AND id = ANY($2::uuid[])
    ORDER BY id FOR SHARE"""
_ADD_DEPENDENCIES = "INSERT INTO task_dependencies (task_id, depends_on) SELECT DISTINCT $1::uuid, unnest($2::uuid[])"
_DROP_DEPENDENCIES = "DELETE FROM task_dependencies WHERE task_id = $1"
# Whether `$2` can be reached from any of `$1` along depends_on.
_REACHES = """
    WITH RECURSIVE ancestors (id) AS (
        SELECT unnest($1::uuid[])
        UNION
        SELECT d.depends_on FROM task_dependencies d JOIN ancestors a ON d.task_id = a.id
    )
    SELECT EXISTS (SELECT 1 FROM ancestors WHERE id = $2)
"""
_SERIALISE_GRAPH = "SELECT pg_advisory_xact_lock(hashtextextended('task graph ' || $1, 0))"
_RELEASE_DEPENDENTS = """
    UPDATE tasks SET unmet = unmet - 1
    WHERE id IN (SELECT task_id FROM task_dependencies WHERE depends_on = $1)
"""
_OPEN_DEPENDENCIES = """
    SELECT t.id FROM task_dependencies d JOIN tasks t ON t.id = d.depends_on
    WHERE d.task_id = $1 AND t.status <> 'completed' ORDER BY t.id LIMIT 100
"""
_DEPENDENTS = """
    SELECT t.id FROM task_dependencies d JOIN tasks t ON t.id = d.task_id
    WHERE d.depends_on = $1 AND t.status <> 'completed' ORDER BY t.id LIMIT 100
"""
_DELETE = "DELETE FROM tasks WHERE namespace = $1 AND id = $2"
_STATS = """
    SELECT status::text, count(*) AS tasks, count(*) FILTER (WHERE status = 'pending' AND unmet = 0) AS ready,
           count(*) FILTER (WHERE status IN ('pending', 'in_progress') AND due_at < now()) AS overdue
    FROM tasks WHERE namespace = $1 GROUP BY status
"""


class TaskOrder(StrEnum):
    """In which order tasks are listed."""

    NEWEST = "newest"
    OLDEST = "oldest"
    PRIORITY = "priority"
    DUE = "due"


_URGENCY = "CASE t.priority WHEN 'urgent' THEN 0 WHEN 'high' THEN 1 WHEN 'medium' THEN 2 ELSE 3 END"
_MADE, _ID = ("t.created_at", "timestamptz"), ("t.id", "uuid")
_ORDERS = {
    TaskOrder.NEWEST: Keyset((_MADE, _ID), descending=True),
    TaskOrder.OLDEST: Keyset((_MADE, _ID)),
    TaskOrder.PRIORITY: Keyset(((_URGENCY, "integer"), _MADE, _ID)),
    TaskOrder.DUE: Keyset((("coalesce(t.due_at, 'infinity')", "timestamptz"), _ID)),
}


@dataclass(frozen=True, slots=True)
class TaskFilter:
    """Which tasks to list; None and empty mean any."""

    status: Sequence[TaskStatus] = ()
    priority: Priority | None = None
    assigned_persona: str | None = None
    label: str | None = None
    parent_id: UUID | None = None
    ready: bool | None = None
    due_before: datetime | None = None
    updated_since: datetime | None = None
    order: TaskOrder = TaskOrder.NEWEST


@dataclass(frozen=True, slots=True)
class TaskState:
    """What decides whether a task may change."""

    status: TaskStatus
    version: int
    unmet: int


@dataclass(frozen=True, slots=True)
class TaskInsert:
    """A row to be."""

    id: UUID
    title: str
    description: str | None
    priority: Priority
    assigned_persona: str | None
    details: dict[str, Any]
    labels: list[str]
    due_at: datetime | None
    parent_id: UUID | None
    unmet: int
    status: TaskStatus = TaskStatus.PENDING
    progress: int = 0
    depends_on: list[UUID] = field(default_factory=list[UUID])


class TaskRepository:
    """The tasks of one namespace, through one connection."""

    def __init__(self, connection: Connection, namespace: str) -> None:
        self._connection = connection
        self._namespace = namespace

    async def get(self, task_id: UUID) -> Task | None:
        """Return the task, or None."""
        row = await self._connection.fetchrow(_GET, self._namespace, task_id)
        return None if row is None else _task(row)

    async def lock(self, task_id: UUID) -> TaskState | None:
        """Lock the task until the transaction ends and return its state, or None."""
        row = await self._connection.fetchrow(_LOCK, self._namespace, task_id)
        return None if row is None else TaskState(TaskStatus(row["status"]), row["version"], row["unmet"])

    async def share(self, task_ids: Sequence[UUID]) -> dict[UUID, TaskStatus]:
        """Keep these tasks as they are until the transaction ends; return the status of those that exist."""
        rows = await self._connection.fetch(_SHARE, self._namespace, list(task_ids))
        return {row["id"]: TaskStatus(row["status"]) for row in rows}

    async def keep(self, task_id: UUID) -> bool:
        """Keep the task from being deleted until the transaction ends; return whether there is one."""
        return bool(await self._connection.fetchval(_KEEP, self._namespace, task_id))

    async def insert(self, task: TaskInsert) -> None:
        """Add a task and what it depends on."""
        await self._connection.execute(
            _INSERT,
            task.id,
            self._namespace,
            task.title,
            task.description,
            task.priority,
            task.assigned_persona,
            task.details,
            task.labels,
            task.due_at,
            task.parent_id,
            task.unmet,
            task.status,
            task.progress,
        )
        if task.depends_on:
            await self._connection.execute(_ADD_DEPENDENCIES, task.id, task.depends_on)

    async def update(self, task_id: UUID, values: dict[str, Any]) -> None:
        """Set columns of a task, its version and updated_at."""
        statement = (
            update(TaskRow)
            .where(col(TaskRow.namespace) == self._namespace, col(TaskRow.id) == task_id)
            .values({**values, "version": col(TaskRow.version) + 1, "updated_at": func.now()})
        )
        await self._connection.execute(statement)

    async def serialise_graph(self) -> None:
        """Let no other transaction of the namespace change dependencies until this one ends."""
        await self._connection.execute(_SERIALISE_GRAPH, self._namespace)

    async def reaches(self, task_ids: Sequence[UUID], target: UUID) -> bool:
        """Whether any of `task_ids` is `target` or depends on it, directly or not."""
        return await self._connection.fetchval(_REACHES, list(task_ids), target)

    async def set_dependencies(self, task_id: UUID, depends_on: Sequence[UUID]) -> None:
        """Replace what the task depends on."""
        await self._connection.execute(_DROP_DEPENDENCIES, task_id)
        if depends_on:
            await self._connection.execute(_ADD_DEPENDENCIES, task_id, list(depends_on))

    async def open_dependencies(self, task_id: UUID) -> list[UUID]:
        """Return up to 100 tasks that must be completed before this one."""
        return [row["id"] for row in await self._connection.fetch(_OPEN_DEPENDENCIES, task_id)]

    async def unfinished_dependents(self, task_id: UUID) -> list[UUID]:
        """Return up to 100 tasks that wait for this one."""
        return [row["id"] for row in await self._connection.fetch(_DEPENDENTS, task_id)]

    async def release_dependents(self, task_id: UUID) -> None:
        """Count this task as met in everything that depends on it."""
        await self._connection.execute(_RELEASE_DEPENDENTS, task_id)

    async def delete(self, task_id: UUID) -> None:
        """Delete the task."""
        await self._connection.execute(_DELETE, self._namespace, task_id)

    async def list_page(self, wanted: TaskFilter, after: list[str] | None, limit: int) -> list[tuple[Task, list[str]]]:
        """Return up to `limit` tasks after a position, each with its own position."""
        keyset = _ORDERS[wanted.order]
        where = self._conditions(wanted)
        where.add_given(keyset.beyond("{}"), after)
        where.values.append(limit)
        sql = f"""SELECT {_VIEW}, {keyset.position} AS position FROM tasks t WHERE t.namespace = $1 {where.sql()}
            ORDER BY {keyset.order_by} LIMIT ${len(where.values)}"""  # noqa: S608 -- fragments of this file, values are bound
        rows = [dict(row) for row in await self._connection.fetch(sql, *where.values)]
        return [(Task.model_validate(row), position) for row in rows for position in [row.pop("position")]]

    def _conditions(self, wanted: TaskFilter) -> Conditions:
        where = Conditions(self._namespace)
        where.add_given("t.status = ANY({}::text[]::task_status[])", list(wanted.status) or None)
        where.add_given("t.priority = {}::text::task_priority", wanted.priority)
        where.add_given("t.assigned_persona = {}", wanted.assigned_persona)
        where.add_given("t.labels @> ARRAY[{}::text]", wanted.label)
        where.add_given("t.parent_id = {}", wanted.parent_id)
        where.add_given("(t.status = 'pending' AND t.unmet = 0) = {}", wanted.ready)
        where.add_given("t.due_at < {}", wanted.due_before)
        where.add_given("t.updated_at >= {}", wanted.updated_since)
        return where

    async def stats(self) -> list[Row]:
        """Return counts for each status there is."""
        return await self._connection.fetch(_STATS, self._namespace)


def _task(row: Row) -> Task:
    return Task.model_validate(dict(row))
