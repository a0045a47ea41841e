"""Executions that steps of others wait for."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from tmws_shared.database import Connection, Row

_PARENT = """SELECT namespace, principal, depth, coalesce(root_execution_id, id) AS root_id, status::text, outcome::text
    FROM executions WHERE id = $1"""
# Attempts of one run of a step wait for each other, so that the second finds what the first has launched.
_TURN = (
    "SELECT pg_advisory_xact_lock(hashtextextended($1::uuid::text || chr(31) || $2 || chr(31) || $3::int::text, 11))"
)
_CHILD = """SELECT id FROM executions
    WHERE parent_execution_id = $1 AND parent_path = $2 AND parent_run = $3"""
_BY_NAME = """SELECT id FROM workflows WHERE namespace = $1 AND name = $2 AND deleted_at IS NULL
    ORDER BY created_at DESC, id DESC LIMIT 2"""
_STATE = "SELECT status::text, output, error FROM executions WHERE id = $1"


async def parent_of(connection: Connection, execution_id: UUID) -> Row | None:
    """Return what a child takes over from its parent."""
    return await connection.fetchrow(_PARENT, execution_id)


async def find_child(connection: Connection, execution_id: UUID, path: str, run: int) -> UUID | None:
    """Return the child that a run of a step has launched; nobody else can launch it until the transaction ends."""
    await connection.execute(_TURN, execution_id, path, run)
    return await connection.fetchval(_CHILD, execution_id, path, run)


async def workflows_named(connection: Connection, namespace: str, name: str) -> list[UUID]:
    """Return up to two workflows of that name."""
    return [row["id"] for row in await connection.fetch(_BY_NAME, namespace, name)]


async def state_of(connection: Connection, execution_id: UUID) -> tuple[str, Any, Any] | None:
    """Return an execution's status, output and error; None when it was deleted."""
    row = await connection.fetchrow(_STATE, execution_id)
    return None if row is None else (row["status"], row["output"], row["error"])
