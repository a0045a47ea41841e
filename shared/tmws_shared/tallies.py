"""Counts that are kept by triggers: each change is appended to one table, and added up into another one later.

Nobody counts a million rows to answer a request, and nobody who writes waits for a counter.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from tmws_shared.database import Database

_AT_ONCE: Final = 10_000
# Whoever reads in the meantime sees all of it before, or all of it after.
_ADD_UP: Final = """
    WITH gone AS (
        DELETE FROM {changes} WHERE ctid = ANY(ARRAY(SELECT ctid FROM {changes} LIMIT $1 FOR UPDATE SKIP LOCKED))
        RETURNING {keys}, {values}
    ), added AS (
        INSERT INTO {counts} AS t ({keys}, {values})
        SELECT {keys}, {sums} FROM gone GROUP BY {keys} ORDER BY {keys}
        ON CONFLICT ({keys}) DO UPDATE SET {added}
    )
    SELECT count(*) FROM gone
"""


@dataclass(frozen=True, slots=True)
class Tally:
    """Two tables with the same columns: `counts` has one row for each of `keys`, `changes` has any number."""

    counts: str
    changes: str
    keys: Sequence[str]
    values: Sequence[str]

    async def add_up(self, database: Database) -> int:
        """Add the noted changes to the counts; return how many there were."""
        statement = self._statement()
        done = 0
        while added := await database.fetchval(statement, _AT_ONCE):
            done += added
        return done

    def _statement(self) -> str:
        return _ADD_UP.format(
            counts=self.counts,
            changes=self.changes,
            keys=", ".join(self.keys),
            values=", ".join(self.values),
            sums=", ".join(f"sum({name})" for name in self.values),
            added=", ".join(f"{name} = t.{name} + EXCLUDED.{name}" for name in self.values),
        )
