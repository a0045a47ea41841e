"""Short-term memories expire or are promoted; deleted ones are purged; and nothing else ever vanishes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from datetime import timedelta
from typing import Any

import pytest

from support.memories import contents, search, store
from support.postgres import DatabaseUrls
from support.service import ServiceUnderTest, running, settings_for
from tmws_memory.app import build
from tmws_memory.keeping import MemoryKeeping
from tmws_memory.models import RAW_TYPES
from tmws_memory.settings import MemorySettings
from tmws_memory.worker import Gardener
from tmws_memory.worker import build as build_worker
from tmws_shared.database import Database


@pytest.fixture
async def pool(database: DatabaseUrls, memory: ServiceUnderTest) -> AsyncGenerator[Database]:
    opened = await Database.connect(database.for_service("memory"), name="test", raw_types=RAW_TYPES)
    yield opened
    await opened.close()


@pytest.fixture
def gardener(pool: Database, database: DatabaseUrls) -> Gardener:
    return Gardener(MemoryKeeping(pool), settings_for(MemorySettings, "memory", database))


async def age(pool: Database, memory_id: str, by: timedelta) -> None:
    await pool.execute(
        "UPDATE memories SET expires_at = expires_at - $2::interval, deleted_at = deleted_at - $2::interval "
        "WHERE id = $1",
        memory_id,
        by,
    )


async def row_of(pool: Database, memory_id: str) -> dict[str, Any] | None:
    row = await pool.fetchrow(
        "SELECT tier::text, expires_at, deleted_at, version FROM memories WHERE id = $1", memory_id
    )
    return dict(row) if row else None


async def test_expired_memory_is_invisible_before_any_job_ran(memory: ServiceUnderTest, pool: Database) -> None:
    stored = await store(memory, "Milk is in the fridge.", ttl_seconds=60)

    await age(pool, stored["id"], timedelta(minutes=2))

    assert (await memory.call("GET", f"/api/v1/memory/{stored['id']}")).status_code == 404
    assert await contents(memory, "milk fridge") == []


async def test_job_deletes_what_has_expired(memory: ServiceUnderTest, pool: Database, gardener: Gardener) -> None:
    stored = await store(memory, "The meeting moved to room four.", ttl_seconds=60)
    await age(pool, stored["id"], timedelta(minutes=2))

    await gardener.tend()

    kept = await row_of(pool, stored["id"])
    assert kept is not None
    assert (kept["deleted_at"] is not None, kept["version"]) == (True, 2)


async def test_unexpired_and_long_term_memories_stay(
    memory: ServiceUnderTest, pool: Database, gardener: Gardener
) -> None:
    short = await store(memory, "Still fresh.", tier="short_term")
    long = await store(memory, "Here to stay.")

    await gardener.tend()

    assert (await memory.call("GET", f"/api/v1/memory/{short['id']}")).json()["tier"] == "short_term"
    assert (await memory.call("GET", f"/api/v1/memory/{long['id']}")).status_code == 200


async def test_important_memory_is_promoted(memory: ServiceUnderTest, gardener: Gardener) -> None:
    stored = await store(memory, "The customer cancels on Friday.", tier="short_term", importance=0.8)

    await gardener.tend()

    promoted = (await memory.call("GET", f"/api/v1/memory/{stored['id']}")).json()
    assert (promoted["tier"], promoted["expires_at"], promoted["version"]) == ("long_term", None, 2)


async def test_used_memory_is_promoted_even_when_its_time_was_over(
    memory: ServiceUnderTest, pool: Database, gardener: Gardener
) -> None:
    stored = await store(memory, "The lift needs a key card.", tier="short_term")
    for _ in range(3):
        await search(memory, "lift key card")
    await asyncio.sleep(1.5)
    await age(pool, stored["id"], timedelta(days=2))

    await gardener.tend()

    promoted = (await memory.call("GET", f"/api/v1/memory/{stored['id']}")).json()
    assert promoted["tier"] == "long_term"


async def test_storing_an_expired_content_again_revives_it(memory: ServiceUnderTest, pool: Database) -> None:
    stored = await store(memory, "The code is 1234.", ttl_seconds=60)
    await age(pool, stored["id"], timedelta(minutes=2))

    await store(memory, "The code is 1234.", ttl_seconds=60)

    assert (await memory.call("GET", f"/api/v1/memory/{stored['id']}")).status_code == 200


async def test_purge_erases_after_thirty_days_and_not_before(
    memory: ServiceUnderTest, pool: Database, gardener: Gardener
) -> None:
    old, recent = await store(memory, "Long gone."), await store(memory, "Just gone.")
    for stored in (old, recent):
        await memory.call("DELETE", f"/api/v1/memory/{stored['id']}")
    await age(pool, old["id"], timedelta(days=31))
    await age(pool, recent["id"], timedelta(days=29))

    await gardener.purge()

    assert await row_of(pool, old["id"]) is None
    assert await row_of(pool, recent["id"]) is not None


# arq 0.28 closes its pool by the name that redis 5 deprecates.
@pytest.mark.filterwarnings("ignore:Call to deprecated close:DeprecationWarning")
async def test_worker_hears_the_bell_and_promotes_what_is_used(
    database: DatabaseUrls, embedding_url: str, empty_redis_url: str
) -> None:
    settings = settings_for(MemorySettings, "memory", database, empty_redis_url, embedding_url=embedding_url)
    async with running(build_worker(settings), "memory-worker"), running(build(settings), "memory") as memory:
        await asyncio.sleep(0.5)
        stored = await store(memory, "The demo account is called otter.", tier="short_term")
        for _ in range(3):
            await search(memory, "demo account otter")

        assert await eventually_tier(memory, stored["id"]) == "long_term"


async def eventually_tier(memory: ServiceUnderTest, memory_id: str) -> str:
    tier = ""
    for _ in range(100):
        tier = (await memory.call("GET", f"/api/v1/memory/{memory_id}")).json()["tier"]
        if tier == "long_term":
            break
        await asyncio.sleep(0.05)
    return tier


async def test_counts_of_use_survive_an_outage_of_the_database(
    memory: ServiceUnderTest, pool: Database, database: DatabaseUrls
) -> None:
    stored = await store(memory, "Counted later.")
    await search(memory, "counted later")
    accesses = memory.app.state.searcher._accesses
    healthy, lost = accesses._keeping, await Database.connect(database.for_service("memory"), name="lost")
    await lost.close()

    accesses._keeping = MemoryKeeping(lost)
    await accesses.flush()
    accesses._keeping = healthy
    await accesses.flush()

    assert (await memory.call("GET", f"/api/v1/memory/{stored['id']}")).json()["access_count"] == 1
