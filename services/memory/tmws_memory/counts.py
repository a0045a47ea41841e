"""SQL of how many memories there are. Triggers note by how much each write changes the counts; they are added up later,
so that writers never wait for a counter and nobody counts rows to answer a request."""

from __future__ import annotations

from typing import Any, Final

from tmws_contracts.memory import MemoryStats, Tier
from tmws_memory.visibility import LIVE, MINE, SHARED, Reader
from tmws_shared.database import Connection, Database

_COUNTS: Final = "short_term, long_term, deleted, pending, bytes"
_SUMS: Final = ", ".join(f"coalesce(sum({name}), 0)::bigint AS {name}" for name in _COUNTS.split(", "))
_STATS: Final = f"""
    WITH mine AS MATERIALIZED (SELECT c.id, c.folded, c.settled FROM memory_collections c WHERE {MINE})
    SELECT {_SUMS}, (SELECT count(*) FROM mine) AS collections,
           (SELECT coalesce(sum(folded), 0)::bigint FROM mine) AS folded,
           (SELECT coalesce(sum(settled), 0)::bigint FROM mine) AS settled,
           (SELECT count(DISTINCT m.id) FROM memory_shares s JOIN memories m ON m.id = s.memory_id
            WHERE {SHARED} AND {LIVE}) AS shared
    FROM (SELECT {_COUNTS} FROM memory_counts WHERE collection = ANY(ARRAY(SELECT id FROM mine))
          UNION ALL
          SELECT {_COUNTS} FROM memory_count_changes WHERE collection = ANY(ARRAY(SELECT id FROM mine))) t
"""  # noqa: S608 -- our own fragments
_AT_ONCE: Final = 10_000
# Whoever reads in the meantime sees all of it before, or all of it after.
_ADD_UP: Final = f"""
    WITH gone AS (
        DELETE FROM memory_count_changes WHERE ctid = ANY(ARRAY(
            SELECT ctid FROM memory_count_changes LIMIT $1 FOR UPDATE SKIP LOCKED))
        RETURNING collection, {_COUNTS}
    ), added AS (
        INSERT INTO memory_counts AS t (collection, {_COUNTS})
        SELECT collection, {_SUMS} FROM gone GROUP BY collection ORDER BY collection
        ON CONFLICT (collection) DO UPDATE SET
            {", ".join(f"{name} = t.{name} + EXCLUDED.{name}" for name in _COUNTS.split(", "))}
    )
    SELECT count(*) FROM gone
"""  # noqa: S608 -- our own fragments


async def read_stats(connection: Connection, reader: Reader) -> MemoryStats:
    """Return the counts of what the reader may see."""
    row: Any = await connection.fetchrow(_STATS, *reader.values)
    by_tier = {tier: row[tier.value] for tier in Tier}
    others = {name: row[name] for name in ("deleted", "pending", "shared", "collections", "bytes", "folded", "settled")}
    return MemoryStats(by_tier=by_tier, **others)


async def add_up(database: Database) -> int:
    """Add the noted changes to the counts; return how many there were."""
    done = 0
    while added := await database.fetchval(_ADD_UP, _AT_ONCE):
        done += added
    return done
