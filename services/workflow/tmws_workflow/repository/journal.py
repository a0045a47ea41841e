"""How the state of executions moves: locked, read, and written back with its events in one statement."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any
from uuid import UUID

from tmws_contracts.common import Priority
from tmws_contracts.workflow import ExecutionStatus, StepStatus
from tmws_shared.database import Connection, Row
from tmws_workflow.engine import Advance, ExecutionState, StepState

# Whoever changes anything in an execution holds its row. Several are locked in the order of their ids, so that two
# committers cannot wait for each other; claims skip what is locked and never wait.
_LOCK = """
    SELECT id, workflow_id, workflow_version, status::text, outcome::text, priority::text, open_steps, last_seq, error
    FROM executions WHERE id = ANY($1::uuid[]) ORDER BY id FOR NO KEY UPDATE
"""
_LOCK_OPEN = """SELECT id FROM executions WHERE namespace = $1 AND workflow_id = $2
    AND status IN ('pending', 'running', 'cancelling') ORDER BY id LIMIT 1000"""
_COLUMNS = "execution_id, path, status::text, unmet, attempt, fence, lease_losses, lease_owner, wait_key"
_NAMED = f"""SELECT {_COLUMNS} FROM unnest($1::uuid[], $2::text[]) AS wanted (execution_id, path)
    JOIN step_executions USING (execution_id, path)"""  # noqa: S608 -- our own columns
_OPEN = f"""SELECT {_COLUMNS} FROM step_executions
    WHERE execution_id = ANY($1::uuid[]) AND status IN ('pending', 'ready', 'running', 'waiting')"""  # noqa: S608 -- our own columns
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
            started_at = CASE WHEN c.status = 'running' THEN coalesce(s.started_at, now()) ELSE s.started_at END,
            deadline_at = CASE WHEN c.status = 'running'
                THEN coalesce(s.deadline_at, now() + make_interval(secs => s.timeout_s)) ELSE s.deadline_at END,
            finished_at = CASE WHEN c.status IN ('completed', 'failed', 'timed_out', 'cancelled', 'skipped')
                THEN now() END
        FROM jsonb_to_recordset($1::jsonb -> 'steps') AS c (
            execution_id uuid, path text, was step_status, was_fence int, status step_status, unmet int, attempt int,
            fence int, lease_losses int, owner uuid, delay_s float8, look_in_s float8, wait_key text, output jsonb,
            error jsonb)
        WHERE s.execution_id = c.execution_id AND s.path = c.path AND s.status = c.was AND s.fence = c.was_fence
        RETURNING 1
    ), moved_executions AS (
        UPDATE executions e SET
            status = c.status, outcome = c.outcome, open_steps = c.open_steps, last_seq = c.last_seq,
            output = c.output, error = c.error,
            started_at = CASE WHEN c.status = 'running' THEN coalesce(e.started_at, now()) ELSE e.started_at END,
            cancel_requested_at = CASE WHEN c.is_cancelled THEN coalesce(e.cancel_requested_at, now()) END,
            finished_at = CASE WHEN c.is_final THEN coalesce(e.finished_at, now()) END
        FROM jsonb_to_recordset($1::jsonb -> 'executions') AS c (
            id uuid, was_seq bigint, status execution_status, outcome execution_status, open_steps int,
            last_seq bigint, output jsonb, error jsonb, is_cancelled bool, is_final bool)
        WHERE e.id = c.id AND e.last_seq = c.was_seq
        RETURNING 1
    ), journal AS (
        INSERT INTO events (execution_id, seq, type, path, attempt, data)
        SELECT execution_id, seq, type, path, attempt, data FROM jsonb_to_recordset($1::jsonb -> 'events') AS c (
            execution_id uuid, seq bigint, type text, path text, attempt int, data jsonb)
    )
    SELECT (SELECT count(*) FROM moved_steps) AS steps, (SELECT count(*) FROM moved_executions) AS executions
"""


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

    async def open_of(self, namespace: str, workflow_id: UUID) -> list[UUID]:
        """Return up to 1,000 executions of a workflow that have not ended."""
        return [row["id"] for row in await self._connection.fetch(_LOCK_OPEN, namespace, workflow_id)]

    async def steps(
        self, wanted: Sequence[tuple[UUID, str]], whole: Sequence[UUID]
    ) -> dict[UUID, dict[str, StepState]]:
        """Return the steps named in `wanted`, and all open steps of the executions in `whole`."""
        rows = await self._connection.fetch(_NAMED, [item[0] for item in wanted], [item[1] for item in wanted])
        if whole:
            rows += await self._connection.fetch(_OPEN, list(whole))
        found: dict[UUID, dict[str, StepState]] = {}
        for row in rows:
            found.setdefault(row["execution_id"], {})[row["path"]] = _step(row)
        return found

    async def write(self, locked: LockedExecutions, advances: Iterable[Advance], lease_s: float) -> None:
        """Write back what moved, with its events.

        Raises:
            LostUpdate: a row had changed, although it was locked.
        """
        moved = [advance for advance in advances if advance.events]
        if not moved:
            return
        document = _document(locked, moved)
        counts = await self._connection.fetchrow(_APPLY, document, lease_s)
        if counts is None or tuple(counts) != (len(document["steps"]), len(document["executions"])):
            raise LostUpdate("rows changed under their lock")


def _execution(row: Row) -> ExecutionState:
    return ExecutionState(
        id=row["id"],
        status=ExecutionStatus(row["status"]),
        priority=Priority(row["priority"]),
        open_steps=row["open_steps"],
        last_seq=row["last_seq"],
        outcome=None if row["outcome"] is None else ExecutionStatus(row["outcome"]),
        error=row["error"],
    )


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
    )


def _document(locked: LockedExecutions, advances: Sequence[Advance]) -> dict[str, list[dict[str, Any]]]:
    return {
        "steps": [
            _step_document(advance.execution.id, step)
            for advance in advances
            for step in advance.steps.values()
            if step.is_changed
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
        "is_cancelled": execution.outcome is ExecutionStatus.CANCELLED,
        "is_final": execution.is_final,
    }
