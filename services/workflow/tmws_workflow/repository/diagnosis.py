"""What a diagnosis looks at: the steps that have not ended, those that failed, and the queue before a step."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from tmws_shared.database import Connection, Row

SHOWN_STEPS = 200
MOST_AHEAD = 10_000
# Items of maps whose turn has not come say nothing.
# `since` is the step's latest line in the journal; one that has none has stood there from the beginning.
_STEPS = """
    SELECT s.path, s.kind, s.status::text, s.attempt, s.unmet, s.lease_losses, s.sched_key, s.wait_key, s.look_at,
           s.deadline_at, s.error, s.lease_until, w.host, w.seen_at, now() AS now, coalesce(j.at, e.created_at) AS since
    FROM executions e JOIN step_executions s ON s.execution_id = e.id LEFT JOIN workers w ON w.id = s.lease_owner
    LEFT JOIN LATERAL (
        SELECT at FROM events WHERE execution_id = e.id AND path = s.path ORDER BY seq DESC LIMIT 1
    ) j ON true
    WHERE e.id = $1 AND s.status::text = ANY($2::text[])
          AND NOT (s.status = 'pending' AND s.item_no IS NOT NULL AND s.unmet > 0)
    ORDER BY s.status = 'pending', s.place, s.path LIMIT $3
"""
_AHEAD = """SELECT count(*) FROM (
    SELECT 1 FROM step_executions WHERE namespace = $1 AND status = 'ready' AND sched_key < $2 LIMIT $3) a"""
_OPEN = ["pending", "ready", "running", "waiting"]
_UNSUCCESSFUL = ["failed", "timed_out", "outcome_unknown"]


async def open_steps(connection: Connection, execution_id: UUID) -> list[Row]:
    """Return up to 200 steps that have not ended, those that have started first."""
    return await connection.fetch(_STEPS, execution_id, _OPEN, SHOWN_STEPS)


async def unsuccessful_steps(connection: Connection, execution_id: UUID) -> list[Row]:
    """Return up to 200 steps that did not end well."""
    return await connection.fetch(_STEPS, execution_id, _UNSUCCESSFUL, SHOWN_STEPS)


async def steps_ahead(connection: Connection, namespace: str, sched_key: datetime) -> int:
    """Count the ready steps of a namespace that are before this place in the queue, up to 10,000."""
    return await connection.fetchval(_AHEAD, namespace, sched_key, MOST_AHEAD)
