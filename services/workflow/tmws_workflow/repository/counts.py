"""How many executions there are, and how they have ended; the latter is counted by triggers."""

from __future__ import annotations

from typing import Final

from tmws_contracts.workflow import ExecutionStatus
from tmws_shared.database import Connection
from tmws_shared.tallies import Tally

_ENDED: Final = """
    SELECT status::text, sum(executions)::bigint AS executions FROM (
        SELECT status, executions FROM ended_counts WHERE namespace = $1
        UNION ALL
        SELECT status, executions FROM ended_count_changes WHERE namespace = $1
    ) c GROUP BY status
"""
OPEN: Final = """SELECT status::text, count(*) AS executions FROM executions
    WHERE namespace = $1 AND status NOT IN ('completed', 'failed', 'cancelled', 'timed_out') GROUP BY status"""
TALLY: Final = Tally("ended_counts", "ended_count_changes", ("namespace", "status"), ("executions",))


async def count_executions(connection: Connection, namespace: str) -> dict[ExecutionStatus, int]:
    """Count a namespace's executions by status."""
    rows = await connection.fetch(_ENDED, namespace) + await connection.fetch(OPEN, namespace)
    return dict.fromkeys(ExecutionStatus, 0) | {ExecutionStatus(row["status"]): row["executions"] for row in rows}
