"""Signals: kept in the order they were sent in until a step takes them, each one once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from tmws_contracts.approvals import Signal
from tmws_shared.database import Connection, Row

_VIEW = "g.id, g.execution_id, g.name, g.payload, g.sent_by AS by, g.sent_at AS at"
_STATUS = "SELECT status::text FROM executions WHERE namespace = $1 AND id = $2"
_WAITING = "SELECT count(*) FROM signals WHERE execution_id = $1 AND taken_by IS NULL"
_INSERT = f"""
    INSERT INTO signals AS g (id, execution_id, name, payload, sent_by) VALUES ($1, $2, $3, $4, $5) RETURNING {_VIEW}
"""  # noqa: S608 -- our own columns
# What the run of a step took before goes first: its worker may have died before it could say so.
_FOR_STEP = """
    FROM signals g JOIN step_executions s ON s.execution_id = g.execution_id AND s.path = $3
    WHERE g.execution_id = $1 AND g.name = $2 AND (g.taken_by IS NULL OR (g.taken_by = s.path AND g.taken_run = s.run))
    ORDER BY g.taken_by IS NULL, g.position LIMIT 1
"""
_IS_THERE = f"SELECT true {_FOR_STEP}"
_TAKE = f"""
    WITH picked AS (SELECT g.id, s.path, s.run {_FOR_STEP} FOR NO KEY UPDATE OF g SKIP LOCKED)
    UPDATE signals g SET taken_by = p.path, taken_run = p.run FROM picked p WHERE g.id = p.id RETURNING {_VIEW}
"""  # noqa: S608 -- our own fragments


@dataclass(frozen=True, slots=True)
class NewSignalRow:
    """A signal to be kept."""

    id: UUID
    execution_id: UUID
    name: str
    payload: dict[str, Any]
    by: str


class SignalRepository:
    """The signals of the executions of one namespace, through one connection."""

    def __init__(self, connection: Connection, namespace: str) -> None:
        self._connection = connection
        self._namespace = namespace

    async def execution_status(self, execution_id: UUID) -> str | None:
        """Return where the execution stands; None when there is none."""
        return await self._connection.fetchval(_STATUS, self._namespace, execution_id)

    async def count_waiting(self, execution_id: UUID) -> int:
        """Return how many signals of an execution nobody has taken."""
        return await self._connection.fetchval(_WAITING, execution_id)

    async def insert(self, signal: NewSignalRow) -> Signal:
        """Keep a signal."""
        row = await self._connection.fetchrow(
            _INSERT, signal.id, signal.execution_id, signal.name, signal.payload, signal.by
        )
        if row is None:
            raise LookupError("an inserted row is returned")
        return _signal(row)


async def has_signal(connection: Connection, execution_id: UUID, name: str, path: str) -> bool:
    """Whether there is a signal for the step."""
    return await connection.fetchval(_IS_THERE, execution_id, name, path) is True


async def take_signal(connection: Connection, execution_id: UUID, name: str, path: str) -> Signal | None:
    """Take the oldest signal for the run of a step; the same one however often that run asks."""
    row = await connection.fetchrow(_TAKE, execution_id, name, path)
    return None if row is None else _signal(row)


def _signal(row: Row) -> Signal:
    return Signal.model_validate(dict(row))
