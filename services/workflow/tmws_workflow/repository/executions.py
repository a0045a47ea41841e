"""Executions, their steps and journals, as callers see them; every query stays in one namespace."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from tmws_contracts.common import Priority
from tmws_contracts.workflow import Execution, ExecutionStatus, JournalEvent
from tmws_shared.database import Connection, Row
from tmws_shared.pagination import Conditions, Keyset
from tmws_workflow.definition import PlannedStep
from tmws_workflow.engine import BOOST_S, OUTPUT_STEP

_VIEW = f"""
    e.id, e.workflow_id, e.workflow_version, e.namespace, e.status::text, e.priority::text, e.parameters, e.output,
    e.error, e.principal ->> 'subject' AS started_by, e.created_at, e.started_at, e.finished_at,
    e.cancel_requested_at, (
        SELECT coalesce(100 * count(*) FILTER (WHERE s.finished_at IS NOT NULL) / nullif(count(*), 0), 0)::int
        FROM step_executions s WHERE s.execution_id = e.id AND s.path <> '{OUTPUT_STEP}'
    ) AS progress
"""  # noqa: S608 -- our own columns
_GET = f"SELECT {_VIEW} FROM executions e WHERE e.namespace = $1 AND e.id = $2"  # noqa: S608 -- our own columns
_LATEST = f"""SELECT {_VIEW} FROM executions e WHERE e.namespace = $1 AND e.workflow_id = $2
    ORDER BY e.created_at DESC, e.id DESC LIMIT 1"""  # noqa: S608 -- our own columns
# An execution, its steps and the first line of its journal, in one round trip.
_INSERT = """
    WITH execution AS (
        INSERT INTO executions (id, namespace, workflow_id, workflow_version, priority, parameters, principal,
                                traceparent, open_steps, last_seq)
        VALUES ($1, $2, $3, $4, $5::text::workflow_priority, $6, $7, $8, cardinality($9::text[]), 1)
        RETURNING created_at
    ), steps AS (
        INSERT INTO step_executions (execution_id, path, place, kind, status, unmet, sched_key, timeout_s)
        SELECT $1, path, place - 1, kind, (CASE WHEN unmet = 0 THEN 'ready' ELSE 'pending' END)::step_status, unmet,
               CASE WHEN unmet = 0 THEN now() - make_interval(secs => $13) END, timeout_s
        FROM unnest($9::text[], $10::text[], $11::int[], $12::float8[]) WITH ORDINALITY
            AS s (path, kind, unmet, timeout_s, place)
    ), journal AS (
        INSERT INTO events (execution_id, seq, type, data) VALUES ($1, 1, 'execution.created', $14)
    )
    SELECT created_at FROM execution
"""
_STEPS = """
    SELECT path, kind, status::text, attempt, sched_key, wait_key, look_at, deadline_at, started_at, finished_at,
           output, error
    FROM step_executions WHERE execution_id = $1 ORDER BY place
"""
_DEFINITION = """SELECT workflow_type::text, config FROM workflow_versions WHERE workflow_id = $1 AND version = $2"""
_EVENTS = """SELECT seq, type, path AS step, attempt, data, at FROM events
    WHERE execution_id = $1 AND seq > $2 ORDER BY seq LIMIT $3"""
_COUNT = "SELECT status::text, count(*) AS executions FROM executions WHERE namespace = $1 GROUP BY status"
_QUEUE = """
    SELECT count(*) FILTER (WHERE s.status = 'ready') AS ready, count(*) FILTER (WHERE s.status = 'running') AS running,
           count(*) FILTER (WHERE s.status = 'waiting') AS waiting,
           extract(epoch FROM now() - min(s.sched_key) FILTER (WHERE s.status = 'ready' AND s.sched_key <= now()))
               AS oldest
    FROM step_executions s JOIN executions e ON e.id = s.execution_id
    WHERE e.namespace = $1 AND s.status IN ('ready', 'running', 'waiting')
"""
_NEWEST = Keyset((("e.created_at", "timestamptz"), ("e.id", "uuid")), descending=True)


@dataclass(frozen=True, slots=True)
class ExecutionInsert:
    """An execution to be."""

    id: UUID
    workflow_id: UUID
    workflow_version: int
    priority: Priority
    parameters: dict[str, Any]
    principal: dict[str, Any]
    traceparent: str | None


class ExecutionRepository:
    """The executions of one namespace, through one connection."""

    def __init__(self, connection: Connection, namespace: str) -> None:
        self._connection = connection
        self._namespace = namespace

    async def insert(self, execution: ExecutionInsert, steps: Mapping[str, PlannedStep]) -> Any:
        """Add an execution with its steps, those without needs ready to run; return when it was made."""
        return await self._connection.fetchval(
            _INSERT,
            execution.id,
            self._namespace,
            execution.workflow_id,
            execution.workflow_version,
            execution.priority,
            execution.parameters,
            execution.principal,
            execution.traceparent,
            list(steps),
            [step.uses for step in steps.values()],
            [len(step.needs) for step in steps.values()],
            [step.timeout_s for step in steps.values()],
            BOOST_S[execution.priority],
            {"workflow_version": execution.workflow_version, "started_by": execution.principal["subject"]},
        )

    async def get(self, execution_id: UUID) -> Execution | None:
        """Return the execution, or None."""
        return _execution(await self._connection.fetchrow(_GET, self._namespace, execution_id))

    async def latest(self, workflow_id: UUID) -> Execution | None:
        """Return the newest execution of a workflow, or None."""
        return _execution(await self._connection.fetchrow(_LATEST, self._namespace, workflow_id))

    async def steps(self, execution_id: UUID) -> list[Row]:
        """Return the rows of the execution's steps, in the order of the plan."""
        return await self._connection.fetch(_STEPS, execution_id)

    async def list_page(
        self, workflow_id: UUID, status: Sequence[ExecutionStatus], after: list[str] | None, limit: int
    ) -> list[tuple[Execution, list[str]]]:
        """Return up to `limit` executions of a workflow, newest first, each with its position."""
        where = Conditions(self._namespace, workflow_id)
        where.add_given("e.status = ANY({}::text[]::execution_status[])", list(status) or None)
        where.add_given(_NEWEST.beyond("{}"), after)
        where.values.append(limit)
        sql = f"""SELECT {_VIEW}, {_NEWEST.position} AS position FROM executions e
            WHERE e.namespace = $1 AND e.workflow_id = $2 {where.sql()}
            ORDER BY {_NEWEST.order_by} LIMIT ${len(where.values)}"""  # noqa: S608 -- fragments of this file, values are bound
        rows = [dict(row) for row in await self._connection.fetch(sql, *where.values)]
        return [(Execution.model_validate(row), position) for row in rows for position in [row.pop("position")]]

    async def events(self, execution_id: UUID, after_seq: int, limit: int) -> list[JournalEvent]:
        """Return up to `limit` lines of the journal after a seq."""
        rows = await self._connection.fetch(_EVENTS, execution_id, after_seq, limit)
        return [JournalEvent.model_validate(dict(row)) for row in rows]

    async def count_by_status(self) -> dict[ExecutionStatus, int]:
        """Count the namespace's executions."""
        rows = await self._connection.fetch(_COUNT, self._namespace)
        return dict.fromkeys(ExecutionStatus, 0) | {ExecutionStatus(row["status"]): row["executions"] for row in rows}

    async def queue(self) -> Row | None:
        """Return how much of the namespace is ready, running and waiting, and the age of the oldest ready step."""
        return await self._connection.fetchrow(_QUEUE, self._namespace)


async def definition_of(connection: Connection, workflow_id: UUID, version: int) -> tuple[str, dict[str, Any]]:
    """Return the type and config of a version that an execution has."""
    row = await connection.fetchrow(_DEFINITION, workflow_id, version)
    if row is None:
        raise LookupError("the version of an execution is kept as long as the execution")
    return row["workflow_type"], row["config"]


def _execution(row: Row | None) -> Execution | None:
    return None if row is None else Execution.model_validate(dict(row))
