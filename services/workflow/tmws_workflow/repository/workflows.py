"""Workflows and their versions; every query stays in one namespace."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy import func, update
from sqlmodel import col

from tmws_contracts.common import Priority
from tmws_contracts.executions import VersionSummary, WorkflowVersion
from tmws_contracts.workflow import Workflow, WorkflowStatus, WorkflowType
from tmws_shared.database import Connection, Row
from tmws_shared.pagination import Conditions, Keyset
from tmws_workflow.models import WorkflowRow

# The workflow's last five columns mirror its latest execution. They are read from it instead of being kept:
# a row that every execution had to write would make executions of one workflow wait for each other.
_STATUS = """CASE WHEN e.id IS NULL THEN 'pending'
    WHEN e.status IN ('pending', 'running', 'paused', 'cancelling') THEN 'in_progress'
    WHEN e.status = 'timed_out' THEN 'failed' ELSE e.status::text END"""
_VIEW = f"""
    w.id, w.namespace, w.name, w.workflow_type::text, w.priority::text, w.config, w.config_version, w.version,
    w.created_at, w.updated_at, e.id AS execution_id, {_STATUS} AS status, e.output AS result,
    e.error ->> 'message' AS error, e.started_at, e.finished_at AS completed_at
"""
_FROM = """workflows w LEFT JOIN LATERAL (
        SELECT id, status, output, error, started_at, finished_at FROM executions
        WHERE workflow_id = w.id ORDER BY created_at DESC, id DESC LIMIT 1
    ) e ON true"""
_GET = f"SELECT {_VIEW} FROM {_FROM} WHERE w.namespace = $1 AND w.id = $2 AND w.deleted_at IS NULL"  # noqa: S608 -- our own columns
_LOCK = """SELECT id, workflow_type::text, priority::text, config, config_version, version FROM workflows
    WHERE namespace = $1 AND id = $2 AND deleted_at IS NULL FOR """
_LOCK_TO_CHANGE = _LOCK + "UPDATE"
# Executions share the row, so that they wait for a deletion and not for each other.
_LOCK_TO_EXECUTE = _LOCK + "KEY SHARE"
_INSERT = """
    INSERT INTO workflows (id, namespace, name, workflow_type, priority, config)
    VALUES ($1, $2, $3, $4::text::workflow_type, $5::text::workflow_priority, $6)
"""
_ADD_VERSION = """
    INSERT INTO workflow_versions (workflow_id, version, workflow_type, config)
    SELECT id, config_version, workflow_type, config FROM workflows WHERE id = $1
"""
_VERSION = """v.workflow_id, v.version, v.workflow_type::text, v.version = w.config_version AS is_current, v.created_at
    {config} FROM workflows w JOIN workflow_versions v ON v.workflow_id = w.id
    WHERE w.namespace = $1 AND w.id = $2 AND w.deleted_at IS NULL"""
_VERSIONS = f"""SELECT {_VERSION.format(config="")} AND ($3::int IS NULL OR v.version < $3)
    ORDER BY v.version DESC LIMIT $4"""
_ONE_VERSION = f"SELECT {_VERSION.format(config=', v.config')} AND v.version = $3"
_OPEN = """SELECT id FROM executions
    WHERE workflow_id = $1 AND status NOT IN ('completed', 'failed', 'cancelled', 'timed_out') ORDER BY id LIMIT 100"""
_COUNT = "SELECT count(*) FROM workflows WHERE namespace = $1 AND deleted_at IS NULL"


class WorkflowOrder(StrEnum):
    """In which order workflows are listed."""

    NEWEST = "newest"
    OLDEST = "oldest"
    NAME = "name"


_ID = ("w.id", "uuid")
_ORDERS = {
    WorkflowOrder.NEWEST: Keyset((("w.created_at", "timestamptz"), _ID), descending=True),
    WorkflowOrder.OLDEST: Keyset((("w.created_at", "timestamptz"), _ID)),
    WorkflowOrder.NAME: Keyset((("w.name", "text"), _ID)),
}


@dataclass(frozen=True, slots=True)
class WorkflowFilter:
    """Which workflows to list; None and empty mean any."""

    status: Sequence[WorkflowStatus] = ()
    priority: Priority | None = None
    workflow_type: WorkflowType | None = None
    name: str | None = None
    order: WorkflowOrder = WorkflowOrder.NEWEST


@dataclass(frozen=True, slots=True)
class WorkflowState:
    """What a change or an execution has to know."""

    id: UUID
    workflow_type: WorkflowType
    priority: Priority
    config: dict[str, Any]
    config_version: int
    version: int


class WorkflowRepository:
    """The workflows of one namespace, through one connection."""

    def __init__(self, connection: Connection, namespace: str) -> None:
        self._connection = connection
        self._namespace = namespace

    async def get(self, workflow_id: UUID) -> Workflow | None:
        """Return the workflow, or None."""
        row = await self._connection.fetchrow(_GET, self._namespace, workflow_id)
        return None if row is None else Workflow.model_validate(dict(row))

    async def lock_to_change(self, workflow_id: UUID) -> WorkflowState | None:
        """Lock the workflow against changes and new executions until the transaction ends."""
        return _state(await self._connection.fetchrow(_LOCK_TO_CHANGE, self._namespace, workflow_id))

    async def lock_to_execute(self, workflow_id: UUID) -> WorkflowState | None:
        """Lock the workflow against deletion until the transaction ends."""
        return _state(await self._connection.fetchrow(_LOCK_TO_EXECUTE, self._namespace, workflow_id))

    async def insert(
        self, workflow_id: UUID, name: str, kind: WorkflowType, priority: Priority, config: dict[str, Any]
    ) -> None:
        """Add a workflow and its first version."""
        await self._connection.execute(_INSERT, workflow_id, self._namespace, name, kind, priority, config)
        await self._connection.execute(_ADD_VERSION, workflow_id)

    async def update(self, workflow_id: UUID, values: dict[str, Any], *, is_new_definition: bool) -> None:
        """Set columns of a workflow; a new definition becomes a version of its own."""
        step = 1 if is_new_definition else 0
        statement = (
            update(WorkflowRow)
            .where(col(WorkflowRow.namespace) == self._namespace, col(WorkflowRow.id) == workflow_id)
            .values(
                {
                    **values,
                    "version": col(WorkflowRow.version) + 1,
                    "config_version": col(WorkflowRow.config_version) + step,
                    "updated_at": func.now(),
                }
            )
        )
        await self._connection.execute(statement)
        if is_new_definition:
            await self._connection.execute(_ADD_VERSION, workflow_id)

    async def open_executions(self, workflow_id: UUID) -> list[UUID]:
        """Return up to 100 executions that have not ended."""
        return [row["id"] for row in await self._connection.fetch(_OPEN, workflow_id)]

    async def delete(self, workflow_id: UUID) -> None:
        """Hide the workflow; a worker deletes it with its history, a piece at a time."""
        statement = (
            update(WorkflowRow)
            .where(col(WorkflowRow.namespace) == self._namespace, col(WorkflowRow.id) == workflow_id)
            .values(deleted_at=func.now())
        )
        await self._connection.execute(statement)

    async def list_page(
        self, wanted: WorkflowFilter, after: list[str] | None, limit: int
    ) -> list[tuple[Workflow, list[str]]]:
        """Return up to `limit` workflows after a position, each with its own position."""
        keyset = _ORDERS[wanted.order]
        where = Conditions(self._namespace)
        where.add_given(f"({_STATUS}) = ANY({{}}::text[])", list(wanted.status) or None)
        where.add_given("w.priority = {}::text::workflow_priority", wanted.priority)
        where.add_given("w.workflow_type = {}::text::workflow_type", wanted.workflow_type)
        where.add_given("w.name = {}", wanted.name)
        where.add_given(keyset.beyond("{}"), after)
        where.values.append(limit)
        sql = f"""SELECT {_VIEW}, {keyset.position} AS position FROM {_FROM}
            WHERE w.namespace = $1 AND w.deleted_at IS NULL {where.sql()}
            ORDER BY {keyset.order_by} LIMIT ${len(where.values)}"""  # noqa: S608 -- fragments of this file, values are bound
        rows = [dict(row) for row in await self._connection.fetch(sql, *where.values)]
        return [(Workflow.model_validate(row), position) for row in rows for position in [row.pop("position")]]

    async def versions(self, workflow_id: UUID, before: int | None, limit: int) -> list[VersionSummary]:
        """Return up to `limit` versions of a workflow, newest first, older than `before`."""
        rows = await self._connection.fetch(_VERSIONS, self._namespace, workflow_id, before, limit)
        return [VersionSummary.model_validate(dict(row)) for row in rows]

    async def version(self, workflow_id: UUID, version: int) -> WorkflowVersion | None:
        """Return a version of a workflow, or None."""
        row = await self._connection.fetchrow(_ONE_VERSION, self._namespace, workflow_id, version)
        return None if row is None else WorkflowVersion.model_validate(dict(row))

    async def count(self) -> int:
        """Return how many workflows there are."""
        return await self._connection.fetchval(_COUNT, self._namespace)


def _state(row: Row | None) -> WorkflowState | None:
    if row is None:
        return None
    kind, priority = WorkflowType(row["workflow_type"]), Priority(row["priority"])
    return WorkflowState(row["id"], kind, priority, row["config"], row["config_version"], row["version"])
