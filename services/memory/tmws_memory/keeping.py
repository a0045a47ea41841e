"""SQL of what happens to memories of all namespaces with time."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from uuid import UUID

from tmws_memory.history import TMWS
from tmws_memory.indexing import forget
from tmws_shared.database import Database

_COUNT_USES = """
    INSERT INTO memory_uses AS u (memory_id, namespace, uses, last_used_at)
    SELECT m.id, m.namespace, n.uses, $3
    FROM unnest($1::uuid[], $2::integer[]) n (id, uses) JOIN memories m ON m.id = n.id
    ORDER BY m.id FOR KEY SHARE OF m
    ON CONFLICT (memory_id) DO UPDATE SET uses = u.uses + EXCLUDED.uses,
        last_used_at = greatest(u.last_used_at, EXCLUDED.last_used_at)
"""
_IS_SHORT_AMONG = "SELECT EXISTS (SELECT 1 FROM memories WHERE id = ANY($1::uuid[]) AND tier = 'short_term')"

_BATCH = 1000
_DESERVES = """(m.importance >= $2 OR EXISTS (
    SELECT 1 FROM memory_uses u WHERE u.memory_id = m.id AND u.uses >= $1))"""
_PROMOTE = f"""
    WITH chosen AS (
        SELECT m.id, m.expires_at FROM memories m
        WHERE m.expires_at IS NOT NULL AND m.deleted_at IS NULL AND m.tier = 'short_term' AND {_DESERVES}
        ORDER BY m.expires_at LIMIT $3 FOR UPDATE OF m SKIP LOCKED
    ), promoted AS (
        UPDATE memories m SET tier = 'long_term', expires_at = NULL, version = version + 1, updated_at = now()
        FROM chosen c WHERE m.id = c.id RETURNING m.id, m.version, c.expires_at
    )
    INSERT INTO memory_history (memory_id, version, action, author, changes)
    SELECT id, version, 'promoted', $4, jsonb_build_object(
        'tier', jsonb_build_object('from', 'short_term', 'to', 'long_term'),
        'expires_at', jsonb_build_object('from', expires_at, 'to', NULL))
    FROM promoted
"""  # noqa: S608 -- our own fragments
_EXPIRE = f"""
    WITH expired AS (
        UPDATE memories SET deleted_at = now(), version = version + 1, updated_at = now(), model = NULL
        WHERE id IN (SELECT m.id FROM memories m WHERE m.expires_at <= now() AND m.deleted_at IS NULL
                         AND NOT {_DESERVES}
                     ORDER BY m.expires_at LIMIT $3 FOR UPDATE OF m SKIP LOCKED)
        RETURNING id, version, number
    ), noted AS (
        INSERT INTO memory_history (memory_id, version, action, author)
        SELECT id, version, 'expired', $4 FROM expired
    )
    SELECT number FROM expired
"""  # noqa: S608 -- our own fragments
_PURGE = """
    DELETE FROM memories WHERE id IN (
        SELECT id FROM memories WHERE deleted_at <= now() - $1::interval
        ORDER BY deleted_at LIMIT $2 FOR UPDATE SKIP LOCKED)
    RETURNING number
"""


class MemoryKeeping:
    """Uses are counted; short-term memories are promoted or expire; deleted ones are purged."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def count_uses(self, uses: Mapping[UUID, int], at: datetime) -> bool:
        """Add to the counts; return whether a short-term memory is among them."""
        async with self._database.transaction() as connection:
            await connection.execute(_COUNT_USES, list(uses), list(uses.values()), at)
            return await connection.fetchval(_IS_SHORT_AMONG, list(uses))

    async def promote(self, uses: int, importance: float) -> int:
        """Make short-term memories long-term that are used or important enough; return how many."""
        done = 0
        while changed := await self._database.execute(_PROMOTE, uses, importance, _BATCH, TMWS.subject):
            done += changed
        return done

    async def expire(self, uses: int, importance: float) -> int:
        """Delete short-term memories whose time is over, save those to be promoted; return how many."""
        done = 0
        while gone := await self._forget_those_of(_EXPIRE, uses, importance, _BATCH, TMWS.subject):
            done += gone
        return done

    async def purge(self, kept_for: timedelta) -> int:
        """Erase what was deleted longer ago; return how many."""
        done = 0
        while gone := await self._forget_those_of(_PURGE, kept_for, _BATCH):
            done += gone
        return done

    async def _forget_those_of(self, statement: str, *values: object) -> int:
        async with self._database.transaction() as connection:
            numbers = [row["number"] for row in await connection.fetch(statement, *values)]
            await forget(connection, numbers)
        return len(numbers)
