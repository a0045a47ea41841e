"""How executions have ended, counted by triggers: each change is appended, and added up later. Nobody counts a million
rows to answer a request, and nobody who ends an execution waits for a counter."""

from __future__ import annotations

from typing import Final

from tmws_contracts.workflow import ExecutionStatus
from tmws_shared.database import Connection, Database

_ENDED: Final = """
    SELECT status::text, sum(executions)::bigint AS executions FROM (
        SELECT status, executions FROM ended_counts WHERE namespace = $1
        UNION ALL
        SELECT status, executions FROM ended_count_changes WHERE namespace = $1
    ) c GROUP BY status
"""
OPEN: Final = """SELECT status::text, count(*) AS executions FROM executions
    WHERE namespace = $1 AND status NOT IN ('completed', 'failed', 'cancelled', 'timed_out') GROUP BY status"""
_AT_ONCE: Final = 10_000
# Whoever reads in the meantime sees all of it before, or all of it after.
_ADD_UP: Final = """
    WITH gone AS (
        DELETE FROM ended_count_changes WHERE ctid = ANY(ARRAY(
            SELECT ctid FROM ended_count_changes LIMIT $1 FOR UPDATE SKIP LOCKED))
        RETURNING namespace, status, executions
    ), added AS (
        INSERT INTO ended_counts AS t (namespace, status, executions)
        SELECT namespace, status, sum(executions) FROM gone GROUP BY namespace, status ORDER BY namespace, status
        ON CONFLICT (namespace, status) DO UPDATE SET executions = t.executions + EXCLUDED.executions
    )
    SELECT count(*) FROM gone
"""


async def count_executions(connection: Connection, namespace: str) -> dict[ExecutionStatus, int]:
    """Count a namespace's executions by status."""
    rows = await connection.fetch(_ENDED, namespace) + await connection.fetch(OPEN, namespace)
    return dict.fromkeys(ExecutionStatus, 0) | {ExecutionStatus(row["status"]): row["executions"] for row in rows}


async def add_up(database: Database) -> int:
    """Add the noted changes to the counts; return how many there were."""
    done = 0
    while added := await database.fetchval(_ADD_UP, _AT_ONCE):
        done += added
    return done
