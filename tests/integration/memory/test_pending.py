"""What could not be embedded is found by words, and by meaning once the worker has caught up."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import pytest

from support.memories import contents, search, store
from support.postgres import DatabaseUrls
from support.service import SECRET, ServiceUnderTest, running, settings_for
from tmws_memory.app import build
from tmws_memory.directory import Directory
from tmws_memory.embedding_client import EmbeddingClient
from tmws_memory.models import RAW_TYPES
from tmws_memory.pending import Backlog
from tmws_memory.settings import MemorySettings
from tmws_shared.auth import InternalTokens
from tmws_shared.database import Database
from tmws_shared.embedding import EmbeddingDown
from tmws_shared.http import ServiceClient

ANCHOR = "The harbour master keeps the spare anchor."
LONG = "The archive keeps every letter it was sent. " * 100


@pytest.fixture
async def pool(database: DatabaseUrls, memory: ServiceUnderTest) -> AsyncGenerator[Database]:
    opened = await Database.connect(database.for_service("memory"), name="test", raw_types=RAW_TYPES)
    yield opened
    await opened.close()


@pytest.fixture
async def backlog(pool: Database, embedding_url: str) -> AsyncGenerator[Backlog]:
    embedding = EmbeddingClient(ServiceClient(embedding_url, "embedding", InternalTokens(SECRET)))
    yield Backlog(pool, Directory(pool), embedding, notice_s=0)
    await embedding.close()


async def models(pool: Database, namespace: str) -> list[dict[str, Any]]:
    rows = await pool.fetch(
        """SELECT e.name, count(*) AS vectors FROM memories m JOIN memory_vectors v USING (number)
           JOIN memory_models e ON e.id = v.model WHERE m.namespace = $1 GROUP BY 1 ORDER BY 1""",
        namespace,
    )
    return [dict(row) for row in rows]


async def test_worker_embeds_what_is_pending(
    memory: ServiceUnderTest, memory_alone: ServiceUnderTest, backlog: Backlog
) -> None:
    stored = await store(memory_alone, ANCHOR, namespace="catch-up")

    await backlog.work_off()

    assert await contents(memory, "who has an extra one?", mode="semantic", namespace="catch-up") == [ANCHOR]
    answer = await memory.call("GET", f"/api/v1/memory/{stored['id']}", namespace="catch-up")
    assert (answer.json()["embedding_model"], answer.json()["version"]) == ("all-MiniLM-L6-v2", 1)


async def test_pending_long_content_gets_a_vector_for_each_part(
    memory_alone: ServiceUnderTest, backlog: Backlog, pool: Database
) -> None:
    await store(memory_alone, LONG, namespace="long")

    await backlog.work_off()

    ((_, parts),) = [tuple(row.values()) for row in await models(pool, "long")]
    assert parts > 2


async def test_nothing_is_lost_while_the_embedding_service_stays_away(
    memory_alone: ServiceUnderTest, pool: Database, tmp_path: Any
) -> None:
    await store(memory_alone, ANCHOR, namespace="away")
    nowhere = EmbeddingClient(ServiceClient(f"unix://{tmp_path}/nobody.sock", "embedding", InternalTokens(SECRET)))

    with pytest.raises(EmbeddingDown):
        await Backlog(pool, Directory(pool), nowhere, notice_s=0).work_off()

    assert await contents(memory_alone, "spare anchor", namespace="away") == [ANCHOR]
    await nowhere.close()


async def test_memory_deleted_while_pending_is_not_embedded(
    memory: ServiceUnderTest, memory_alone: ServiceUnderTest, backlog: Backlog, pool: Database
) -> None:
    stored = await store(memory_alone, ANCHOR, namespace="gone")
    await memory.call("DELETE", f"/api/v1/memory/{stored['id']}", namespace="gone")

    await backlog.work_off()

    assert await models(pool, "gone") == []


async def test_vectors_of_an_earlier_model_are_replaced(
    memory: ServiceUnderTest, backlog: Backlog, pool: Database
) -> None:
    for number in range(3):
        await store(memory, f"Bill {number} was paid.", namespace="earlier")
    await make_old(pool, "earlier")

    await backlog.work_off()

    assert await models(pool, "earlier") == [{"name": "all-MiniLM-L6-v2", "vectors": 3}]
    assert len(await search(memory, "which invoices are settled", mode="semantic", namespace="earlier")) == 3


async def make_old(pool: Database, namespace: str) -> None:
    await pool.execute("INSERT INTO memory_models (name, precision) VALUES ('earlier', 'int8') ON CONFLICT DO NOTHING")
    await pool.execute(
        """WITH old AS (UPDATE memories SET model = (SELECT id FROM memory_models WHERE name = 'earlier')
                        WHERE namespace = $1 RETURNING number, model)
           UPDATE memory_vectors v SET model = old.model FROM old WHERE v.number = old.number""",
        namespace,
    )


async def test_searches_are_right_all_the_time_while_the_model_changes(
    memory: ServiceUnderTest, database: DatabaseUrls, pool: Database, exact_embedding_url: str
) -> None:
    facts = ["Invoices are paid on Fridays.", "The spare key hangs in the boat house.", "Ada plays the cello."]
    for fact in facts:
        await store(memory, fact, namespace="changing")
    settings = settings_for(MemorySettings, "memory", database, embedding_url=exact_embedding_url)
    embedding = EmbeddingClient(ServiceClient(exact_embedding_url, "embedding", InternalTokens(SECRET)))
    async with running(build(settings), "memory") as changed:
        before = await search(changed, "on which day do we settle bills?", mode="semantic", namespace="changing")
        newer = await store(changed, "Bills from abroad are settled on Mondays.", namespace="changing")
        between = await search(changed, "when are foreign bills settled?", mode="semantic", namespace="changing")

        await Backlog(pool, Directory(pool), embedding, notice_s=0).work_off()
        after = await search(changed, "on which day are our bills settled?", mode="semantic", namespace="changing")
    await embedding.close()

    assert [len(before), len(between), len(after)] == [3, 4, 4]
    assert before[0]["content"] == facts[0]
    assert between[0]["id"] == newer["id"]
    assert {item["embedding_precision"] for item in before} == {"int8"}
    assert {item["embedding_precision"] for item in after} == {"fp32"}


@pytest.mark.long
async def test_worker_killed_while_it_embeds_goes_on_where_it_was(
    memory_alone: ServiceUnderTest,
    pool: Database,
    database: DatabaseUrls,
    embedding_url: str,
    short_directory: Path,
) -> None:
    listen = f"unix://{short_directory}/worker.sock"
    for number in range(40):
        await store(memory_alone, f"Letter {number} went to the archive. " * 20, namespace="killed")

    killed = start_worker(database, embedding_url, listen)
    await until_embedded(pool, "killed", at_least=5)
    killed.kill()
    killed.wait()
    half = await embedded(pool, "killed")
    successor = start_worker(database, embedding_url, listen)
    await until_embedded(pool, "killed", at_least=40)
    successor.terminate()
    successor.wait(10)

    assert half < 40
    rows = await pool.fetch(
        """SELECT count(v.position) AS parts, count(DISTINCT v.position) AS distinct_parts FROM memories m
           LEFT JOIN memory_vectors v USING (number) WHERE m.namespace = 'killed' GROUP BY m.id"""
    )
    assert len(rows) == 40
    assert all(row["parts"] == row["distinct_parts"] > 0 for row in rows)


def start_worker(database: DatabaseUrls, embedding_url: str, listen: str) -> subprocess.Popen[bytes]:
    environment = {
        "PATH": os.environ["PATH"],
        "TMWS_SECRET_KEY": SECRET,
        "TMWS_DATABASE_URL": database.for_service("memory"),
        "TMWS_EMBEDDING_URL": embedding_url,
        "TMWS_REDIS_URL": "",
        "TMWS_LISTEN": listen,
    }
    return subprocess.Popen([sys.executable, "-m", "tmws_memory.worker"], env=environment)


async def embedded(pool: Database, namespace: str) -> int:
    return await pool.fetchval("SELECT count(*) FROM memories WHERE namespace = $1 AND model IS NOT NULL", namespace)


async def until_embedded(pool: Database, namespace: str, *, at_least: int) -> None:
    async with asyncio.timeout(60):
        while await embedded(pool, namespace) < at_least:
            await asyncio.sleep(0.02)
