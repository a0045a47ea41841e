"""Which workers are alive."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from tmws_shared.database import Connection, Database

# Three beats.
ALIVE_S = 15.0
_SHOW = """
    WITH gone AS (DELETE FROM workers WHERE seen_at < now() - interval '1 day' AND id <> $1)
    INSERT INTO workers AS w (id, host, in_flight, capacity) VALUES ($1, $2, $3, $4)
    ON CONFLICT (id) DO UPDATE SET in_flight = EXCLUDED.in_flight, seen_at = now()
"""
_LEAVE = "DELETE FROM workers WHERE id = $1"
_SEEN = """SELECT id, host, in_flight, capacity, seen_at, seen_at > now() - make_interval(secs => $1) AS is_alive
    FROM workers ORDER BY seen_at DESC LIMIT 1000"""


@dataclass(frozen=True, slots=True)
class SeenWorker:
    """A worker, and when it was last seen."""

    id: UUID
    host: str
    in_flight: int
    capacity: int
    seen_at: datetime
    is_alive: bool


async def show_up(database: Database, worker_id: UUID, host: str, in_flight: int, capacity: int) -> None:
    """Note that a worker is alive; forget those that have not been seen for a day."""
    await database.execute(_SHOW, worker_id, host, in_flight, capacity)


async def sign_off(database: Database, worker_id: UUID) -> None:
    """Note that a worker has ended."""
    await database.execute(_LEAVE, worker_id)


async def seen_workers(connection: Connection) -> Sequence[SeenWorker]:
    """Return the workers that were seen in the last day, the latest first."""
    return [SeenWorker(**dict(row)) for row in await connection.fetch(_SEEN, ALIVE_S)]
