"""SQL of how many memories there are. Triggers note by how much each write changes the counts."""

from __future__ import annotations

from typing import Any, Final

from tmws_contracts.memory import MemoryStats, Tier
from tmws_contracts.persona_figures import PersonaMemories
from tmws_memory.visibility import LIVE, MINE, SHARED, VISIBLE, Reader
from tmws_shared.database import Connection
from tmws_shared.tallies import Tally

_NAMES: Final = ("short_term", "long_term", "deleted", "pending", "bytes")
_COUNTS: Final = ", ".join(_NAMES)
_SUMS: Final = ", ".join(f"coalesce(sum({name}), 0)::bigint AS {name}" for name in _NAMES)
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
# Through an index by persona.
_OF_PERSONA: Final = f"""SELECT count(*) AS memories, max(m.created_at) AS newest_at FROM memories m
    WHERE {VISIBLE} AND m.namespace = $1 AND m.persona_id = $5"""  # noqa: S608 -- our own fragments
TALLY: Final = Tally("memory_counts", "memory_count_changes", ("collection",), _NAMES)


async def read_stats(connection: Connection, reader: Reader) -> MemoryStats:
    """Return the counts of what the reader may see."""
    row: Any = await connection.fetchrow(_STATS, *reader.values)
    by_tier = {tier: row[tier.value] for tier in Tier}
    others = {name: row[name] for name in ("deleted", "pending", "shared", "collections", "bytes", "folded", "settled")}
    return MemoryStats(by_tier=by_tier, **others)


async def count_for_persona(connection: Connection, reader: Reader, persona_id: str) -> PersonaMemories:
    """Count the memories of a persona that the reader may see."""
    row: Any = await connection.fetchrow(_OF_PERSONA, *reader.values, persona_id)
    return PersonaMemories(memories=row["memories"], newest_at=row["newest_at"])
