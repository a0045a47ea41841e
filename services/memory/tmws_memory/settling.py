"""Moves the vectors of a collection that has grown to a shelf of its own, with a graph over them.

Nobody waits for it: a shelf is filled and its graph built beside the old place, then the collection is pointed to it
in one short transaction. What is stored meanwhile stays fresh until the next time. A few fresh vectors are added to
the graph one by one; many are cheaper together with all others in a new one.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from time import monotonic
from typing import Final

import asyncpg

from tmws_memory.settings import MemorySettings
from tmws_shared.database import Connection, Database

_log = logging.getLogger(__name__)

# Up to so many vectors are compared one by one in about a millisecond.
SETTLE_MIN: Final = 1_000
APPEND_AT_ONCE: Final = 100
# From this share of the settled ones on, a new graph costs less than adding to the old one.
REBUILD_SHARE: Final = 0.5
BUILD_TIMEOUT_S: Final = 6 * 3600.0
# No search that was pointed to a shelf takes this long.
GRACE_S: Final = 60.0
_BYTES_PER_VECTOR: Final = 1_600

_COUNT_FRESH: Final = """
    SELECT count(*) FROM (SELECT FROM memory_vectors_0 WHERE collection = $1 LIMIT $2) f
"""
_STATE: Final = "SELECT shelf, settled FROM memory_collections WHERE id = $1"
_LOCK: Final = "SELECT shelf FROM memory_collections WHERE id = $1 FOR NO KEY UPDATE"
# A build holds these locks of its session for as long as it takes: only one does it, and a dead one's shelf is seen.
_HOLD: Final = "SELECT pg_try_advisory_lock(hashtext('tmws memory ' || $1), $2)"
_RELEASE: Final = "SELECT pg_advisory_unlock(hashtext('tmws memory ' || $1), $2)"
_NEXT_SHELF: Final = "SELECT nextval('memory_shelves')"
_CREATE: Final = """
    CREATE TABLE memory_vectors_{shelf} (LIKE memory_vectors INCLUDING DEFAULTS INCLUDING STORAGE);
    ALTER TABLE memory_vectors ATTACH PARTITION memory_vectors_{shelf} FOR VALUES IN ({shelf});
"""
_FILL: Final = """
    INSERT INTO memory_vectors_{shelf}
    SELECT {shelf}, collection, number, position, model, embedding FROM memory_vectors
    WHERE shelf IN (0, {old}) AND collection = $1
"""
# Denser than pgvector's own choice (16, 64): mixtures of sentences in one place have a recall@10 of 0.98, not 0.93, for
# twice the time of building and none of searching.
_BUILD: Final = """
    CREATE INDEX memory_vectors_{shelf}_graph ON memory_vectors_{shelf}
    USING hnsw (embedding halfvec_ip_ops) WITH (m = 24, ef_construction = 128)
"""
# What was copied is fresh no more; what was forgotten or embedded anew since it was copied is taken out again.
_TAKE_OVER: Final = """
    DELETE FROM memory_vectors_0 f USING memory_vectors_{shelf} s
    WHERE f.collection = $1 AND f.number = s.number AND f.position = s.position AND f.model = s.model
"""
_CLEAN: Final = """
    DELETE FROM memory_vectors_{shelf} s WHERE NOT EXISTS (
        SELECT 1 FROM memories m WHERE m.number = s.number AND m.deleted_at IS NULL AND m.model = s.model)
"""
_POINT: Final = """
    UPDATE memory_collections SET shelf = $2, settled = (SELECT count(*) FROM memory_vectors_{shelf}) WHERE id = $1
"""
_APPEND: Final = """
    WITH moved AS (
        DELETE FROM memory_vectors_0 WHERE ctid = ANY(ARRAY(
            SELECT ctid FROM memory_vectors_0 WHERE collection = $1 LIMIT $2))
        RETURNING collection, number, position, model, embedding)
    INSERT INTO memory_vectors_{shelf} SELECT {shelf}, * FROM moved
"""
_GREW: Final = "UPDATE memory_collections SET settled = settled + $2 WHERE id = $1"
_UNUSED: Final = """
    SELECT substring(t.relname FROM '[0-9]+$')::integer AS shelf
    FROM pg_inherits i JOIN pg_class t ON t.oid = i.inhrelid
    WHERE i.inhparent = 'memory_vectors'::regclass AND t.relname <> 'memory_vectors_0'
      AND substring(t.relname FROM '[0-9]+$')::integer NOT IN (SELECT shelf FROM memory_collections)
"""
_DETACH: Final = "ALTER TABLE memory_vectors DETACH PARTITION memory_vectors_{shelf} CONCURRENTLY"


class Settler:
    """Keeps the shelves."""

    def __init__(self, database: Database, settings: MemorySettings) -> None:
        self._database = database
        self._memory_mb = settings.memory_index_build_mb
        self._unused_since: dict[int, float] = {}

    async def settle(self, collection: int) -> None:
        """Settle the fresh vectors of a collection, if they are many."""
        while True:
            state = await self._database.fetchrow(_STATE, collection)
            most = SETTLE_MIN if state is None else max(SETTLE_MIN, int(REBUILD_SHARE * state["settled"]))
            fresh = await self._database.fetchval(_COUNT_FRESH, collection, most)
            if state is None or fresh < SETTLE_MIN:
                return
            if state["shelf"] and fresh < most:
                is_done = await self._append(collection, state["shelf"], fresh)
            else:
                is_done = await self.rebuild(collection)
            if not is_done:
                return

    async def rebuild(self, collection: int) -> bool:
        """Give a collection a new shelf with all of its vectors; False when another worker is at it."""
        async with (
            self._database.connection() as connection,
            _held(connection, "collection", collection) as is_ours,
        ):
            if is_ours:
                await self._rebuild(connection, collection)
        return is_ours

    async def _rebuild(self, connection: Connection, collection: int) -> None:
        started = monotonic()
        shelf = int(await connection.fetchval(_NEXT_SHELF))
        async with _held(connection, "shelf", shelf):
            await self._fill(connection, collection, shelf)
        _log.info("collection %d has a new graph after %.1f s", collection, monotonic() - started)

    async def _fill(self, connection: Connection, collection: int, shelf: int) -> None:
        old = await connection.fetchval("SELECT shelf FROM memory_collections WHERE id = $1", collection)
        await connection.raw.execute(_CREATE.format(shelf=shelf))
        async with _unhurried(connection):
            await connection.raw.execute(_FILL.format(shelf=shelf, old=old), collection, timeout=BUILD_TIMEOUT_S)
        await self._build_graph(connection, shelf)
        async with _unhurried(connection):
            await connection.execute(_LOCK, collection)
            await connection.raw.execute(_TAKE_OVER.format(shelf=shelf), collection, timeout=BUILD_TIMEOUT_S)
            await connection.raw.execute(_POINT.format(shelf=shelf), collection, shelf, timeout=BUILD_TIMEOUT_S)
        # What is of no live memory answers nothing, so this may come later, and needs no lock.
        async with _unhurried(connection):
            await connection.raw.execute(_CLEAN.format(shelf=shelf), timeout=BUILD_TIMEOUT_S)

    async def _build_graph(self, connection: Connection, shelf: int) -> None:
        count: int = await connection.fetchval(f"SELECT count(*) FROM memory_vectors_{shelf}")  # noqa: S608 -- an integer
        needed_mb = max(64, min(self._memory_mb, count * _BYTES_PER_VECTOR // 2**20 + 16))
        try:
            await self._create_index(connection, shelf, needed_mb, helpers=1)
        except asyncpg.DiskFullError:
            # A container's shared memory is often too small for helpers.
            await self._create_index(connection, shelf, needed_mb, helpers=0)
        async with _unhurried(connection):
            await connection.raw.execute(f"ANALYZE memory_vectors_{shelf}", timeout=BUILD_TIMEOUT_S)

    async def _create_index(self, connection: Connection, shelf: int, memory_mb: int, *, helpers: int) -> None:
        async with _unhurried(connection):
            await connection.execute(f"SET LOCAL maintenance_work_mem = '{int(memory_mb)}MB'")
            await connection.execute(f"SET LOCAL max_parallel_maintenance_workers = {int(helpers)}")
            await connection.raw.execute(_BUILD.format(shelf=shelf), timeout=BUILD_TIMEOUT_S)

    async def _append(self, collection: int, shelf: int, fresh: int) -> bool:
        """Add fresh vectors to the graph; False when another worker, or an import, is at the collection."""
        async with (
            self._database.connection() as connection,
            _held(connection, "collection", collection) as is_ours,
        ):
            for _ in range(0, fresh if is_ours else 0, APPEND_AT_ONCE):
                async with connection.raw.transaction():
                    await connection.execute(_LOCK, collection)
                    added = await connection.execute(_APPEND.format(shelf=int(shelf)), collection, APPEND_AT_ONCE)
                    await connection.execute(_GREW, collection, added)
        return is_ours

    async def drop_unused(self, *, grace_s: float = GRACE_S) -> None:
        """Drop shelves that no collection is pointed to any more, or that a killed worker left half built."""
        async with self._database.connection() as connection:
            unused = [row["shelf"] for row in await connection.fetch(_UNUSED)]
            since = {shelf: self._unused_since.get(shelf, monotonic()) for shelf in unused}
            self._unused_since = since
            for shelf in unused:
                async with _held(connection, "shelf", shelf) as is_ours:
                    if is_ours and monotonic() - since[shelf] >= grace_s:
                        await connection.raw.execute(_DETACH.format(shelf=int(shelf)), timeout=60)
                        await connection.raw.execute(f"DROP TABLE memory_vectors_{int(shelf)}", timeout=60)


@asynccontextmanager
async def _unhurried(connection: Connection) -> AsyncGenerator[None]:
    """Run a block in a transaction whose statements may take as long as they need."""
    async with connection.raw.transaction():
        await connection.execute("SET LOCAL statement_timeout = 0")
        yield


@asynccontextmanager
async def _held(connection: Connection, kind: str, number: int) -> AsyncGenerator[bool]:
    """Hold a lock for as long as the block runs; yields whether it could be had."""
    is_ours: bool = await connection.fetchval(_HOLD, kind, number)
    try:
        yield is_ours
    finally:
        if is_ours:
            await connection.fetchval(_RELEASE, kind, number)
