"""What the items of a map gave."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from tmws_shared.database import Connection

_RESULTS = """SELECT status::text, output, error, finished_at IS NOT NULL AS has_ended FROM step_executions
    WHERE execution_id = $1 AND map_path = $2 ORDER BY item_no"""


async def item_results(connection: Connection, execution_id: UUID, map_path: str) -> list[dict[str, Any]] | None:
    """Return status, output and error of each item, in the order of the list; None while one has not ended."""
    rows = await connection.fetch(_RESULTS, execution_id, map_path)
    if not all(row["has_ended"] for row in rows):
        return None
    return [{"status": row["status"], "output": row["output"], "error": row["error"]} for row in rows]
