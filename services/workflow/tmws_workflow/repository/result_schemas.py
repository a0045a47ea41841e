"""What steps that wait for an agent check its result against: theirs, whatever becomes of the task."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from tmws_shared.database import Connection

_KEEP = """INSERT INTO result_schemas (execution_id, path, schema) VALUES ($1, $2, $3)
    ON CONFLICT (execution_id, path) DO UPDATE SET schema = excluded.schema"""
_GET = "SELECT schema FROM result_schemas WHERE execution_id = $1 AND path = $2"


async def keep_schema(connection: Connection, execution_id: UUID, path: str, schema: dict[str, Any]) -> None:
    """Remember what a step expects."""
    await connection.execute(_KEEP, execution_id, path, schema)


async def schema_of(connection: Connection, execution_id: UUID, path: str) -> dict[str, Any] | None:
    """Return what a step expects; None when it takes anything."""
    return await connection.fetchval(_GET, execution_id, path)
