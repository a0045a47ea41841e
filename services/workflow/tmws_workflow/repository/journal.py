"""How the state of executions moves: locked, read, and written back with its events in one statement."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from uuid import UUID

from tmws_contracts.common import Priority
from tmws_contracts.workflow import ExecutionStatus, StepStatus
from tmws_shared.database import Connection, Row
from tmws_workflow.engine import Advance, ExecutionState, StepState
from tmws_workflow.engine.state import FINAL_STEP
from tmws_workflow.repository.queue import look_now

# Whoever changes anything in an execution holds its row. Several are locked in the order of their ids, so that two
# committers cannot wait for each other; claims skip what is locked and never wait.
_LOCK = """
    SELECT id, workflow_id, workflow_version, status::text, outcome::text, priority::text, open_steps, last_seq, error,
           retries, started_at IS NOT NULL AS has_started, parent_execution_id IS NOT NULL AS has_parent
    FROM executions WHERE id = ANY($1::uuid[]) ORDER BY id FOR NO KEY UPDATE
"""
_OPEN_OF = """SELECT id FROM executions WHERE namespace = $1 AND workflow_id = $2 AND id > $3
    AND status NOT IN ('completed', 'failed', 'cancelled', 'timed_out') ORDER BY id LIMIT $4"""
# The error of a map that waits is that of its first item that failed.
_COLUMNS = """execution_id, path, status::text, unmet, attempt, fence, lease_losses, lease_owner, wait_key, run,
    map_path, item_no, place, CASE WHEN kind = 'map' THEN error END AS error, NULL::jsonb AS input,
    NULL::jsonb AS output"""
_NAMED = f"""SELECT {_COLUMNS} FROM unnest($1::uuid[], $2::text[]) AS wanted (execution_id, path)
    JOIN step_executions USING (execution_id, path)"""  # noqa: S608 -- our own columns
_OPEN = f"""SELECT {_COLUMNS} FROM step_executions
    WHERE execution_id = ANY($1::uuid[]) AND status IN ('pending', 'ready', 'running', 'waiting')"""  # noqa: S608 -- our own columns
_ALL = f"""SELECT {_COLUMNS.replace("NULL::jsonb AS output", "CASE WHEN path = '$output' THEN output END AS output")}
    FROM step_executions WHERE execution_id = $1"""  # noqa: S608 -- our own columns
_NEXT_ITEMS = f"""SELECT {_COLUMNS.replace("NULL::jsonb AS input", "input")}
    FROM unnest($1::uuid[], $2::text[], $3::int[]) AS wanted (id, map, items) CROSS JOIN LATERAL (
        SELECT * FROM step_executions s
        WHERE s.execution_id = wanted.id AND s.map_path = wanted.map AND s.status = 'pending' AND s.unmet > 0
        ORDER BY item_no LIMIT wanted.items
    ) next_items"""  # noqa: S608 -- our own columns
_ITEMS = f"""SELECT {_COLUMNS} FROM step_executions
    WHERE execution_id = $1 AND map_path = $2"""  # noqa: S608 -- our own columns
_COMPLETED = """
    WITH done AS MATERIALIZED (
        SELECT execution_id, path, max(seq) AS seq FROM events
        WHERE execution_id = ANY($1::uuid[]) AND type = 'step.completed' GROUP BY execution_id, path
    )
    SELECT d.execution_id, d.path FROM done d JOIN step_executions s USING (execution_id, path)
    WHERE s.status = 'completed' AND s.item_no IS NULL ORDER BY d.seq
"""
_REMOVE = "DELETE FROM step_executions WHERE execution_id = $1 AND path = ANY($2::text[])"
# One statement and one document, however many steps and executions move: round trips are what a commit waits for.
_APPLY = """
    WITH moved_steps AS (
        UPDATE step_executions s SET
            status = c.status, unmet = c.unmet, attempt = c.attempt, fence = c.fence, lease_losses = c.lease_losses,
            lease_owner = c.owner,
            lease_until = CASE WHEN c.status = 'running' THEN now() + make_interval(secs => $2) END,
            sched_key = CASE WHEN c.delay_s IS NULL THEN s.sched_key ELSE now() + make_interval(secs => c.delay_s) END,
            look_at = CASE WHEN c.look_in_s IS NULL THEN s.look_at ELSE now() + make_interval(secs => c.look_in_s) END,
            wait_key = c.wait_key, output = c.output, error = c.error,
            run = c.run,
            started_at = CASE WHEN c.is_reset THEN NULL WHEN c.status = 'running' THEN coalesce(s.started_at, now())
                ELSE s.started_at END,
            deadline_at = CASE WHEN c.is_reset THEN NULL WHEN c.status = 'running'
                THEN coalesce(s.deadline_at, now() + make_interval(secs => s.timeout_s)) ELSE s.deadline_at END,
            finished_at = CASE WHEN c.status::text = ANY($3::text[]) THEN now() END
        FROM jsonb_to_recordset($1::jsonb -> 'steps') AS c (
            execution_id uuid, path text, was step_status, was_fence int, status step_status, unmet int, attempt int,
            fence int, lease_losses int, owner uuid, delay_s float8, look_in_s float8, wait_key text, output jsonb,
            error jsonb, run int, is_reset bool)
        WHERE s.execution_id = c.execution_id AND s.path = c.path AND s.status = c.was AND s.fence = c.was_fence
        RETURNING 1
    ), added_steps AS (
        INSERT INTO step_executions (execution_id, namespace, path, place, kind, status, unmet, attempt, fence, run,
            map_path, item_no, input, timeout_s, lease_owner, lease_until, sched_key, started_at, deadline_at,
            finished_at)
        SELECT c.execution_id, e.namespace, c.path, c.place, c.kind, c.status, c.unmet, c.attempt, c.fence, c.run,
            c.map_path, c.item_no, c.input, c.timeout_s, c.owner,
            CASE WHEN c.status = 'running' THEN now() + make_interval(secs => $2) END,
            now() + make_interval(secs => c.delay_s), CASE WHEN c.status = 'running' THEN now() END,
            CASE WHEN c.status = 'running' THEN now() + make_interval(secs => c.timeout_s) END,
            CASE WHEN c.status::text = ANY($3::text[]) THEN now() END
        FROM jsonb_to_recordset($1::jsonb -> 'added') AS c (
            execution_id uuid, path text, place int, kind text, status step_status, unmet int, attempt int, fence int,
            run int, map_path text, item_no int, input jsonb, timeout_s float8, owner uuid, delay_s float8)
        JOIN executions e ON e.id = c.execution_id
        RETURNING 1
    ), moved_executions AS (
        UPDATE executions e SET
            status = c.status, outcome = c.outcome, open_steps = c.open_steps, last_seq = c.last_seq,
            output = c.output, error = c.error, retries = c.retries,
            started_at = CASE WHEN c.status = 'running' THEN coalesce(e.started_at, now()) ELSE e.started_at END,
            paused_at = CASE WHEN c.status = 'paused' THEN coalesce(e.paused_at, now()) END,
            cancel_requested_at = CASE WHEN c.is_cancelled THEN coalesce(e.cancel_requested_at, now()) END,
            finished_at = CASE WHEN c.is_final THEN coalesce(e.finished_at, now()) END
        FROM jsonb_to_recordset($1::jsonb -> 'executions') AS c (
            id uuid, was_seq bigint, status execution_status, outcome execution_status, open_steps int,
            last_seq bigint, output jsonb, error jsonb, retries int, is_cancelled bool, is_final bool)
        WHERE e.id = c.id AND e.last_seq = c.was_seq
        RETURNING 1
    ), journal AS (
        INSERT INTO events (execution_id, seq, type, path, attempt, data)
        SELECT execution_id, seq, type, path, attempt, data FROM jsonb_to_recordset($1::jsonb -> 'events') AS c (
            execution_id uuid, seq bigint, type text, path text, attempt int, data jsonb)
    )
    SELECT (SELECT count(*) FROM moved_steps) AS steps, (SELECT count(*) FROM added_steps) AS added,
           (SELECT count(*) FROM moved_executions) AS executions
"""
_FINAL = sorted(FINAL_STEP)


class LostUpdate(Exception):
    """A row was not what it had been when it was read; the transaction must not be kept."""


class LockedExecutions:
    """Executions whose rows this transaction holds."""

    def __init__(self, rows: Iterable[Row]) -> None:
        found = list(rows)
        self.states = {row["id"]: _execution(row) for row in found}
        self.versions: dict[UUID, tuple[UUID, int]] = {
            row["id"]: (row["workflow_id"], row["workflow_version"]) for row in found
        }
        self.was_seq = {row["id"]: row["last_seq"] for row in found}


class Journal:
    """Moves executions, in the transaction of a connection."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def lock(self, execution_ids: Iterable[UUID]) -> LockedExecutions:
        """Hold the executions until the transaction ends."""
        return LockedExecutions(await self._connection.fetch(_LOCK, sorted(set(execution_ids))))

    async def open_of(self, namespace: str, workflow_id: UUID, after: UUID, limit: int) -> list[UUID]:
        """Return up to `limit` executions of a workflow that have not ended, in the order of their ids."""
        rows = await self._connection.fetch(_OPEN_OF, namespace, workflow_id, after, limit)
        return [row["id"] for row in rows]

    async def steps(
        self, wanted: Sequence[tuple[UUID, str]], whole: Sequence[UUID]
    ) -> dict[UUID, dict[str, StepState]]:
        """Return the steps named in `wanted`, and all open steps of the executions in `whole`."""
        rows = await self._connection.fetch(_NAMED, [item[0] for item in wanted], [item[1] for item in wanted])
        if whole:
            rows += await self._connection.fetch(_OPEN, list(whole))
        return _by_execution(rows)

    async def all_steps(self, execution_id: UUID) -> dict[str, StepState]:
        """Return every step of an execution."""
        return _by_execution(await self._connection.fetch(_ALL, execution_id)).get(execution_id, {})

    async def next_items(self, wanted: Mapping[tuple[UUID, str], int]) -> dict[UUID, dict[str, StepState]]:
        """Return, for each (execution, map), so many of its items that wait for their turn."""
        rows = await self._connection.fetch(
            _NEXT_ITEMS, [key[0] for key in wanted], [key[1] for key in wanted], list(wanted.values())
        )
        return _by_execution(rows)

    async def items(self, execution_id: UUID, map_path: str) -> dict[str, StepState]:
        """Return the items of a map that are there."""
        rows = await self._connection.fetch(_ITEMS, execution_id, map_path)
        return _by_execution(rows).get(execution_id, {})

    async def completed(self, execution_ids: Iterable[UUID]) -> dict[UUID, list[str]]:
        """Return the completed steps of executions, each list in the order in which they completed."""
        found: dict[UUID, list[str]] = {}
        for row in await self._connection.fetch(_COMPLETED, sorted(execution_ids)):
            found.setdefault(row["execution_id"], []).append(row["path"])
        return found

    async def write(self, locked: LockedExecutions, advances: Iterable[Advance], lease_s: float) -> None:
        """Write back what moved, with its events.

        Raises:
            LostUpdate: a row had changed, although it was locked.
        """
        moved = [advance for advance in advances if advance.events]
        if not moved:
            return
        for advance in moved:
            if advance.removed:
                await self._connection.execute(_REMOVE, advance.execution.id, advance.removed)
        document = _document(locked, moved)
        counts = await self._connection.fetchrow(_APPLY, document, lease_s, _FINAL)
        if counts is None or tuple(counts) != tuple(len(document[name]) for name in ("steps", "added", "executions")):
            raise LostUpdate("rows changed under their lock")
        for advance in sorted(moved, key=lambda advance: advance.execution.id):
            if advance.execution.has_parent and advance.execution.is_final:
                await look_now(self._connection, f"execution:{advance.execution.id}")
                advance.left_ready += 1


def _execution(row: Row) -> ExecutionState:
    return ExecutionState(
        id=row["id"],
        status=ExecutionStatus(row["status"]),
        priority=Priority(row["priority"]),
        open_steps=row["open_steps"],
        last_seq=row["last_seq"],
        outcome=None if row["outcome"] is None else ExecutionStatus(row["outcome"]),
        error=row["error"],
        retries=row["retries"],
        has_started=row["has_started"],
        has_parent=row["has_parent"],
    )


def _by_execution(rows: Iterable[Row]) -> dict[UUID, dict[str, StepState]]:
    found: dict[UUID, dict[str, StepState]] = {}
    for row in rows:
        found.setdefault(row["execution_id"], {})[row["path"]] = _step(row)
    return found


def _step(row: Row) -> StepState:
    return StepState(
        path=row["path"],
        status=StepStatus(row["status"]),
        unmet=row["unmet"],
        attempt=row["attempt"],
        fence=row["fence"],
        lease_losses=row["lease_losses"],
        owner=row["lease_owner"],
        wait_key=row["wait_key"],
        run=row["run"],
        map_path=row["map_path"],
        item_no=row["item_no"],
        place=row["place"],
        error=row["error"],
        input=row["input"],
        output=row["output"],
    )


def _document(locked: LockedExecutions, advances: Sequence[Advance]) -> dict[str, list[dict[str, Any]]]:
    return {
        "steps": [
            _step_document(advance.execution.id, step)
            for advance in advances
            for step in advance.steps.values()
            if step.is_changed and not step.is_new
        ],
        "added": [
            _added_document(advance.execution.id, step)
            for advance in advances
            for step in advance.steps.values()
            if step.is_new
        ],
        "executions": [
            _execution_document(advance.execution, locked.was_seq[advance.execution.id]) for advance in advances
        ],
        "events": [
            {
                "execution_id": str(advance.execution.id),
                "seq": event.seq,
                "type": event.type,
                "path": event.path,
                "attempt": event.attempt,
                "data": event.data,
            }
            for advance in advances
            for event in advance.events
        ],
    }


def _step_document(execution_id: UUID, step: StepState) -> dict[str, Any]:
    return {
        "execution_id": str(execution_id),
        "path": step.path,
        "was": step.was,
        "was_fence": step.was_fence,
        "status": step.status,
        "unmet": step.unmet,
        "attempt": step.attempt,
        "fence": step.fence,
        "lease_losses": step.lease_losses,
        "owner": None if step.owner is None else str(step.owner),
        "delay_s": step.delay_s,
        "look_in_s": step.look_in_s,
        "wait_key": step.wait_key,
        "output": step.output,
        "error": step.error,
        "run": step.run,
        "is_reset": step.is_reset,
    }


def _added_document(execution_id: UUID, step: StepState) -> dict[str, Any]:
    return {
        "execution_id": str(execution_id),
        "path": step.path,
        "place": step.place,
        "kind": step.kind,
        "status": step.status,
        "unmet": step.unmet,
        "attempt": step.attempt,
        "fence": step.fence,
        "run": step.run,
        "map_path": step.map_path,
        "item_no": step.item_no,
        "input": step.input,
        "timeout_s": step.timeout_s,
        "owner": None if step.owner is None else str(step.owner),
        "delay_s": step.delay_s,
    }


def _execution_document(execution: ExecutionState, was_seq: int) -> dict[str, Any]:
    return {
        "id": str(execution.id),
        "was_seq": was_seq,
        "status": execution.status,
        "outcome": execution.outcome,
        "open_steps": execution.open_steps,
        "last_seq": execution.last_seq,
        "output": execution.output,
        "error": execution.error,
        "retries": execution.retries,
        "is_cancelled": execution.outcome is ExecutionStatus.CANCELLED,
        "is_final": execution.is_final,
    }
