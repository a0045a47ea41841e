"""Imports by a process that is killed, and what streams cost it."""

from __future__ import annotations

import asyncio
import hashlib
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from support.bulk import embedding, lines, pieces
from support.memory_process import MemoryProcess
from support.postgres import DatabaseUrls

pytestmark = pytest.mark.long

COUNT = 3_000
# What an import without a break leaves, but for ids, numbers and times.
ROWS = """
    SELECT m.content, m.importance, m.tags, m.metadata::text, m.session_id, m.tier::text, m.store_count, m.version,
           m.created_at, encode(w.words, 'hex') AS words,
           (SELECT string_agg(encode(halfvec_send(v.embedding), 'hex'), ' ' ORDER BY v.position)
            FROM memory.memory_vectors v WHERE v.number = m.number AND v.model = m.model) AS vectors
    FROM memory.memories m JOIN memory.memory_words w ON w.number = m.number
    JOIN memory.memory_fresh f ON f.number = m.number
    WHERE m.namespace = $1 ORDER BY m.content
"""
HALVES = """
    SELECT (SELECT count(*) FROM memory.memories) AS memories, (SELECT count(*) FROM memory.memory_words) AS words,
           (SELECT count(*) FROM memory.memory_fresh) AS fresh,
           (SELECT count(*) FROM memory.memory_vectors) AS vectors,
           (SELECT sum(stored) FROM memory.memory_imports) AS stored
"""


@pytest.fixture(scope="module")
def memory_process(database: DatabaseUrls) -> Iterator[MemoryProcess]:
    with (
        tempfile.TemporaryDirectory(prefix="tmws-m-") as folder,
        MemoryProcess(database, Path(folder)) as process,
    ):
        yield process


@pytest.fixture(scope="module")
def file() -> bytes:
    made = "2024-05-06T07:08:09Z"
    vectors = [embedding(seed) for seed in range(20)]
    return lines(
        *(
            {
                "content": f"Entry {n:05} of the log of the harbour office.",
                "created_at": made,
                "importance": n % 10 / 10,
                "tags": [f"t{n % 7}"],
                "session_id": f"s{n // 50}",
                "embedding": vectors[n % 20],
            }
            for n in range(COUNT)
        )
    )


async def query(database: DatabaseUrls, sql: str, *values: Any) -> list[asyncpg.Record]:
    connection = await asyncpg.connect(database.admin)
    try:
        return await connection.fetch(sql, *values)
    finally:
        await connection.close()


async def rows(database: DatabaseUrls, namespace: str) -> list[asyncpg.Record]:
    return await query(database, ROWS, namespace)


async def run_through(process: MemoryProcess, file: bytes, namespace: str, key: str = "") -> dict[str, Any]:
    async with process.importing(pieces(file, 65536), key, namespace) as answer:
        return [line async for line in answer][-1]


async def kill_after_a_batch(process: MemoryProcess, file: bytes, namespace: str, key: str = "") -> None:
    """Send two thirds of the file, wait until something is kept, and kill."""
    async with process.importing(unended(file), key, namespace) as answer:
        async for line in answer:
            if line.get("stored", 0) >= 1000:
                process.kill()
                break
    process.restart()


async def unended(file: bytes) -> AsyncIterator[bytes]:
    async for piece in pieces(file[: 2 * len(file) // 3], 65536):
        yield piece
    await asyncio.Event().wait()


@pytest.mark.parametrize("key", ["?import_id=killed", ""])
async def test_import_killed_in_the_middle_ends_with_exactly_the_same_rows(
    memory_process: MemoryProcess, database: DatabaseUrls, file: bytes, key: str
) -> None:
    await run_through(memory_process, file, f"whole{key}")
    await kill_after_a_batch(memory_process, file, f"killed{key}", key)
    (halves,) = await query(database, HALVES)

    summary = await run_through(memory_process, file, f"killed{key}", key)

    assert halves["memories"] == halves["words"] == halves["fresh"] == halves["vectors"] == halves["stored"]
    assert (summary["read"], summary["failed"]) == (COUNT, 0)
    assert await rows(database, f"killed{key}") == await rows(database, f"whole{key}")
    assert len(await rows(database, f"killed{key}")) == COUNT


async def test_caller_that_goes_away_leaves_what_was_committed(
    memory_process: MemoryProcess, database: DatabaseUrls, file: bytes
) -> None:
    async with memory_process.importing(unended(file), "?import_id=left", "left") as answer:
        async for line in answer:
            if line.get("stored", 0) >= 1000:
                break

    summary = await run_through(memory_process, file, "left", "?import_id=left")

    assert summary.get("stored") == COUNT, summary
    assert len(await rows(database, "left")) == COUNT


async def test_neither_export_nor_import_is_held_whole(memory_process: MemoryProcess, file: bytes) -> None:
    await run_through(memory_process, file, "flat")
    before = memory_process.resident_mb
    twice = hashlib.sha256()

    for _ in range(4):
        async with memory_process.asking("GET", "/api/v1/memory/export?vectors=true", None, "flat") as answer:
            async for piece in answer:
                twice.update(piece)
        await run_through(memory_process, file, "flat")

    assert memory_process.resident_mb < before + 30
