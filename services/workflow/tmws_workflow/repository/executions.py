"""Executions, their steps and journals, as callers see them; every query stays in one namespace."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
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
    e.cancel_requested_at, e.paused_at, e.retries, e.outcome::text, e.parent_execution_id, (
        SELECT coalesce(100 * count(*) FILTER (WHERE s.finished_at IS NOT NULL) / nullif(count(*), 0), 0)::int
        FROM step_executions s WHERE s.execution_id = e.id AND s.path <> '{OUTPUT_STEP}'
    ) AS progress
"""  # noqa: S608 -- our own columns
_GET = f"SELECT {_VIEW} FROM executions e WHERE e.namespace = $1 AND e.id = $2"  # noqa: S608 -- our own columns
_LATEST = f"""SELECT {_VIEW} FROM executions e WHERE e.namespace = $1 AND e.workflow_id = $2
    ORDER BY e.created_at DESC, e.id DESC LIMIT 1"""  # noqa: S608 -- our own columns
# Executions, their steps and the first line of each journal, in one round trip however many they are.
_INSERT = """
    WITH wanted AS MATERIALIZED (
        SELECT * FROM unnest($1::uuid[], $2::text[], $3::jsonb[], $4::float8[]) AS w (id, priority, parameters, boost_s)
    ), made AS (
        INSERT INTO executions (id, namespace, workflow_id, workflow_version, priority, parameters, principal,
                                traceparent, open_steps, last_seq, parent_execution_id, parent_path, parent_run,
                                root_execution_id, depth)
        SELECT id, $5, $6, $7, priority::workflow_priority, parameters, $8, $9, cardinality($10::text[]), 1,
               $15, $16, $17, $18, $19
        FROM wanted
    ), steps AS (
        INSERT INTO step_executions (execution_id, namespace, path, place, kind, status, unmet, sched_key, timeout_s)
        SELECT w.id, $5, s.path, s.place - 1, s.kind,
               (CASE WHEN s.unmet = 0 THEN 'ready' ELSE 'pending' END)::step_status, s.unmet,
               CASE WHEN s.unmet = 0 THEN now() - make_interval(secs => w.boost_s) END, s.timeout_s
        FROM wanted w CROSS JOIN unnest($10::text[], $11::text[], $12::int[], $13::float8[]) WITH ORDINALITY
            AS s (path, kind, unmet, timeout_s, place)
    ), journal AS (
        INSERT INTO events (execution_id, seq, type, data) SELECT id, 1, 'execution.created', $14 FROM wanted
    )
    SELECT now()
"""
_STEPS = """
    SELECT path, kind, status::text, attempt, unmet, sched_key, wait_key, look_at, deadline_at, started_at, finished_at,
           output, error
    FROM step_executions WHERE execution_id = $1 AND (item_no IS NULL OR path IN (
        SELECT path FROM step_executions
        WHERE execution_id = $1 AND item_no IS NOT NULL
              AND status IN ('ready', 'running', 'waiting', 'failed', 'timed_out', 'outcome_unknown')
        ORDER BY place, item_no LIMIT 200
    ))
    ORDER BY place, item_no NULLS FIRST, path
"""
_DEFINITION = """SELECT workflow_type::text, config FROM workflow_versions WHERE workflow_id = $1 AND version = $2"""
_EVENTS = """SELECT seq, type, path AS step, attempt, data, at FROM events
    WHERE execution_id = $1 AND seq > $2 ORDER BY seq LIMIT $3"""
_PROGRESS = """SELECT id, last_seq, status IN ('completed', 'failed', 'cancelled', 'timed_out') AS has_ended
    FROM executions WHERE id = ANY($1::uuid[])"""
_QUEUE = """
    SELECT count(*) FILTER (WHERE s.status = 'ready') AS ready, count(*) FILTER (WHERE s.status = 'running') AS running,
           count(*) FILTER (WHERE s.status = 'waiting') AS waiting,
           extract(epoch FROM now() - min(s.sched_key) FILTER (WHERE s.status = 'ready' AND s.sched_key <= now()))
               AS oldest
    FROM step_executions s JOIN executions e ON e.id = s.execution_id
    WHERE e.namespace = $1 AND s.status IN ('ready', 'running', 'waiting')
"""
_UNSUCCESSFUL = frozenset({ExecutionStatus.FAILED, ExecutionStatus.CANCELLED, ExecutionStatus.TIMED_OUT})
# Word for word what the index of the few among the many says.
_IS_UNSUCCESSFUL = "e.status IN ('failed', 'cancelled', 'timed_out')"
_NEWEST = Keyset((("e.created_at", "timestamptz"), ("e.id", "uuid")), descending=True)


@dataclass(frozen=True, slots=True)
class ExecutionFilter:
    """Which executions to list; None and empty mean any."""

    status: Sequence[ExecutionStatus] = ()
    workflow_id: UUID | None = None
    started_after: datetime | None = None
    parent: UUID | None = None


@dataclass(frozen=True, slots=True)
class Progress:
    """How far the journal of an execution is."""

    last_seq: int
    has_ended: bool


@dataclass(frozen=True, slots=True)
class NewExecution:
    """One execution to be."""

    id: UUID
    priority: Priority
    parameters: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Parent:
    """The step that waits for a child; `run` tells its children apart, of which each run has one."""

    execution_id: UUID
    path: str
    run: int
    root_id: UUID
    depth: int


@dataclass(frozen=True, slots=True)
class Launch:
    """What executions that are launched together have in common."""

    workflow_id: UUID
    workflow_version: int
    principal: dict[str, Any]
    traceparent: str | None
    parent: Parent | None = None


class ExecutionRepository:
    """The executions of one namespace, through one connection."""

    def __init__(self, connection: Connection, namespace: str) -> None:
        self._connection = connection
        self._namespace = namespace

    async def insert(self, launch: Launch, executions: Sequence[NewExecution], steps: Mapping[str, PlannedStep]) -> Any:
        """Add executions with their steps, those without needs ready to run; return when they were made."""
        return await self._connection.fetchval(
            _INSERT,
            [execution.id for execution in executions],
            [execution.priority for execution in executions],
            [execution.parameters for execution in executions],
            [BOOST_S[execution.priority] for execution in executions],
            self._namespace,
            launch.workflow_id,
            launch.workflow_version,
            launch.principal,
            launch.traceparent,
            list(steps),
            [step.uses for step in steps.values()],
            [len(step.needs) for step in steps.values()],
            [step.timeout_s for step in steps.values()],
            {"workflow_version": launch.workflow_version, "started_by": launch.principal["subject"]},
            *_lineage(launch.parent),
        )

    async def get(self, execution_id: UUID) -> Execution | None:
        """Return the execution, or None."""
        return _execution(await self._connection.fetchrow(_GET, self._namespace, execution_id))

    async def latest(self, workflow_id: UUID) -> Execution | None:
        """Return the newest execution of a workflow, or None."""
        return _execution(await self._connection.fetchrow(_LATEST, self._namespace, workflow_id))

    async def steps(self, execution_id: UUID) -> list[Row]:
        """Return the rows of the execution's steps, in the order of the plan.

        Of the items of maps, only up to 200 that are under way or did not succeed.
        """
        return await self._connection.fetch(_STEPS, execution_id)

    async def list_page(
        self, wanted: ExecutionFilter, after: list[str] | None, limit: int
    ) -> list[tuple[Execution, list[str]]]:
        """Return up to `limit` executions, newest first, each with its position."""
        where = Conditions(self._namespace)
        where.add_given("e.workflow_id = {}", wanted.workflow_id)
        where.add_given("e.status = ANY({}::text[]::execution_status[])", list(wanted.status) or None)
        if wanted.status and _UNSUCCESSFUL.issuperset(wanted.status):
            where.add(_IS_UNSUCCESSFUL)
        where.add_given("e.started_at > {}", wanted.started_after)
        where.add_given("e.parent_execution_id = {}", wanted.parent)
        where.add_given(_NEWEST.beyond("{}"), after)
        where.values.append(limit)
        sql = f"""SELECT {_VIEW}, {_NEWEST.position} AS position FROM executions e
            WHERE e.namespace = $1 {where.sql()}
            ORDER BY {_NEWEST.order_by} LIMIT ${len(where.values)}"""  # noqa: S608 -- fragments of this file, values are bound
        rows = [dict(row) for row in await self._connection.fetch(sql, *where.values)]
        return [(Execution.model_validate(row), position) for row in rows for position in [row.pop("position")]]

    async def events(self, execution_id: UUID, after_seq: int, limit: int) -> list[JournalEvent]:
        """Return up to `limit` lines of the journal after a seq."""
        rows = await self._connection.fetch(_EVENTS, execution_id, after_seq, limit)
        return [JournalEvent.model_validate(dict(row)) for row in rows]

    async def queue(self) -> Row | None:
        """Return how much of the namespace is ready, running and waiting, and the age of the oldest ready step."""
        return await self._connection.fetchrow(_QUEUE, self._namespace)


async def progress_of(connection: Connection, execution_ids: Iterable[UUID]) -> dict[UUID, Progress]:
    """Return how far executions are, without those that do not exist."""
    rows = await connection.fetch(_PROGRESS, list(execution_ids))
    return {row["id"]: Progress(row["last_seq"], row["has_ended"]) for row in rows}


async def definition_of(connection: Connection, workflow_id: UUID, version: int) -> tuple[str, dict[str, Any]]:
    """Return the type and config of a version that an execution has."""
    row = await connection.fetchrow(_DEFINITION, workflow_id, version)
    if row is None:
        raise LookupError("the version of an execution is kept as long as the execution")
    return row["workflow_type"], row["config"]


def _lineage(parent: Parent | None) -> tuple[UUID | None, str | None, int | None, UUID | None, int]:
    if parent is None:
        return None, None, None, None, 0
    return parent.execution_id, parent.path, parent.run, parent.root_id, parent.depth + 1


def _execution(row: Row | None) -> Execution | None:
    return None if row is None else Execution.model_validate(dict(row))
