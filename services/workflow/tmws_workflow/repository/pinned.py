"""A connection that one loop keeps for itself: no pool in between, and a planner that stays on the indexes."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

from tmws_shared.database import Connection, Database, Row

# Statistics taken while the tables were small must not make the planner think that reading them whole is cheap.
_TUNE = """SELECT set_config('enable_seqscan', 'off', false), set_config('enable_hashjoin', 'off', false),
    set_config('enable_mergejoin', 'off', false)"""


class Pinned:
    """One connection that is used like a database, by one task at a time."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def fetch(self, query: str, *args: Any) -> list[Row]:
        """Return all rows of a single statement."""
        return await self._connection.fetch(query, *args)

    async def fetchrow(self, query: str, *args: Any) -> Row | None:
        """Return the first row of a single statement, or None."""
        return await self._connection.fetchrow(query, *args)

    async def fetchval(self, query: str, *args: Any) -> Any:
        """Return the first value of a single statement, or None."""
        return await self._connection.fetchval(query, *args)

    async def execute(self, query: str, *args: Any) -> int:
        """Run a single statement and return how many rows it touched."""
        return await self._connection.execute(query, *args)

    @asynccontextmanager
    async def transaction(self) -> AsyncGenerator[Connection]:
        """Run a block in one READ COMMITTED transaction."""
        async with self._connection.raw.transaction():
            yield self._connection


@asynccontextmanager
async def pinned(database: Database) -> AsyncGenerator[Pinned]:
    """Keep a connection for the length of the block.

    Raises:
        Unavailable: it was lost.
    """
    async with database.connection() as connection:
        await connection.execute(_TUNE)
        yield Pinned(connection)
