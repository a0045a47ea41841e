"""What could not be embedded is found by words, and by meaning once the worker has caught up."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any

import pytest

from support.memories import contents, search, store
from support.postgres import DatabaseUrls
from support.service import SECRET, ServiceUnderTest, running, settings_for
from tmws_memory.app import build
from tmws_memory.directory import Directory
from tmws_memory.embedding_client import EmbeddingClient
from tmws_memory.errors import EmbeddingDown
from tmws_memory.pending import Backlog
from tmws_memory.settings import MemorySettings
from tmws_shared.auth import InternalTokens
from tmws_shared.database import Database
from tmws_shared.http import ServiceClient

ANCHOR = "The harbour master keeps the spare anchor."
LONG = "The archive keeps every letter it was sent. " * 100


@pytest.fixture
async def pool(database: DatabaseUrls, memory: ServiceUnderTest) -> AsyncGenerator[Database]:
    opened = await Database.connect(database.for_service("memory"), name="test")
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
