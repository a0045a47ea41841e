"""Memories of the first schema are found after the upgrade: by meaning at once, by words once they have been read."""

from __future__ import annotations

import asyncio

import asyncpg
import pytest
from alembic import command
from alembic.config import Config

from support.memories import contents, search
from support.postgres import DatabaseUrls, PostgresForTests
from support.service import SECRET, running, settings_for
from tmws_memory.app import build
from tmws_memory.directory import Directory
from tmws_memory.embedding_client import EmbeddingClient
from tmws_memory.pending import Backlog
from tmws_memory.settings import MemorySettings
from tmws_shared.auth import InternalTokens
from tmws_shared.database import Database
from tmws_shared.http import ServiceClient

OLD = """
    INSERT INTO memory_embeddings (id, namespace, owner, content, content_hash, embedding, embedding_model,
        embedding_precision, tier, visibility, source, length, access_count)
    SELECT gen_random_uuid(), 'old', '', 'The ' || n || 'th lamp was replaced.', sha256(n::text::bytea),
           array_fill(0.05, ARRAY[384])::real[]::halfvec, 'all-MiniLM-L6-v2', 'int8', 'long_term', 'namespace',
           'me', 4, n
    FROM generate_series(1, 3) n
"""


@pytest.fixture
async def old(postgres: PostgresForTests) -> DatabaseUrls:
    urls = postgres.create_database()
    config = Config()
    config.set_main_option("script_location", "tmws_memory:migrations")
    config.attributes.update(url=urls.for_service("memory"), schema="memory")
    await asyncio.to_thread(command.upgrade, config, "0001")
    connection = await asyncpg.connect(urls.for_service("memory"))
    await connection.execute(OLD)
    await connection.close()
    return urls


async def test_memories_survive_the_upgrade(old: DatabaseUrls, embedding_url: str) -> None:
    settings = settings_for(MemorySettings, "memory", old, embedding_url=embedding_url)
    async with running(build(settings), "memory") as memory:
        by_meaning = await search(memory, "lamp", mode="semantic", namespace="old")
        before = await contents(memory, "third 3th lamp", mode="keyword", namespace="old")
        await work_off(old, embedding_url)
        after = await contents(memory, "3th lamp", mode="keyword", namespace="old")

    assert sorted(item["access_count"] for item in by_meaning) == [1, 2, 3]
    assert before == []
    assert after[0] == "The 3th lamp was replaced."


async def work_off(old: DatabaseUrls, embedding_url: str) -> None:
    database = await Database.connect(old.for_service("memory"), name="test")
    embedding = EmbeddingClient(ServiceClient(embedding_url, "embedding", InternalTokens(SECRET)))
    await Backlog(database, Directory(database), embedding, notice_s=0).work_off()
    await embedding.close()
    await database.close()
