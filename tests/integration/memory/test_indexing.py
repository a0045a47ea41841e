"""Words are folded, vectors settle, what is gone is swept; searches say the same all the time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import Any
from uuid import UUID

import pytest

from support.memories import contents, search, store
from support.postgres import DatabaseUrls
from support.service import ServiceUnderTest, settings_for
from tmws_memory.folding import Folder
from tmws_memory.models import RAW_TYPES
from tmws_memory.nearest import VECTOR_OPTIONS
from tmws_memory.settings import MemorySettings
from tmws_memory.settling import Settler
from tmws_shared.database import Database

SHIPS = [
    f"The {name} lies at pier {number}." for number, name in enumerate(["Alba", "Brise", "Corvo", "Dana", "Elster"])
]
NOTES = [f"Note {number}: lamp {number * 7} was replaced by crew {number % 5}." for number in range(30)]


@pytest.fixture
async def pool(database: DatabaseUrls, memory: ServiceUnderTest) -> AsyncGenerator[Database]:
    opened = await Database.connect(
        database.for_service("memory"), name="test", options=VECTOR_OPTIONS, raw_types=RAW_TYPES
    )
    yield opened
    await opened.close()


@pytest.fixture
def folder(pool: Database) -> Folder:
    return Folder(pool)


@pytest.fixture
def settler(pool: Database, database: DatabaseUrls) -> Settler:
    return Settler(pool, settings_for(MemorySettings, "memory", database))


async def fill(memory: ServiceUnderTest, namespace: str, texts: list[str], **fields: Any) -> list[dict[str, Any]]:
    return [await store(memory, text, namespace=namespace, **fields) for text in texts]


async def collection_of(pool: Database, namespace: str) -> int:
    return await pool.fetchval("SELECT id FROM memory_collections WHERE namespace = $1 AND owner = ''", namespace)


async def number_of(pool: Database, stored: dict[str, Any]) -> int:
    return await pool.fetchval("SELECT number FROM memories WHERE id = $1", UUID(stored["id"]))


async def scores(memory: ServiceUnderTest, query: str, **fields: Any) -> list[tuple[str, float]]:
    return [(item["content"], item["score"]) for item in await search(memory, query, **fields)]


async def test_folded_words_score_as_fresh_ones_do(memory: ServiceUnderTest, pool: Database, folder: Folder) -> None:
    await fill(memory, "folded", SHIPS)
    fresh = await scores(memory, "Brise at the pier", mode="keyword", namespace="folded")

    folded = await folder.fold(await collection_of(pool, "folded"))

    assert folded == len(SHIPS)
    assert await scores(memory, "Brise at the pier", mode="keyword", namespace="folded") == fresh


async def test_words_folded_later_join_the_earlier_ones(
    memory: ServiceUnderTest, pool: Database, folder: Folder
) -> None:
    await fill(memory, "later", SHIPS[:3])
    await folder.fold(await collection_of(pool, "later"))
    await fill(memory, "later", SHIPS[3:])

    before = await scores(memory, "which ship lies at a pier", mode="keyword", namespace="later")
    await folder.fold(await collection_of(pool, "later"))

    assert len(before) == len(SHIPS)
    assert await scores(memory, "which ship lies at a pier", mode="keyword", namespace="later") == before


async def test_few_fresh_memories_are_left_as_they_are(
    memory: ServiceUnderTest, pool: Database, folder: Folder
) -> None:
    await fill(memory, "few", SHIPS)
    collection = await collection_of(pool, "few")

    await folder.fold_when_due(collection)

    assert await pool.fetchval("SELECT count(*) FROM memory_fresh WHERE collection = $1", collection) == len(SHIPS)


async def test_purged_memory_is_swept_from_blocks_and_counts(
    memory: ServiceUnderTest, pool: Database, folder: Folder
) -> None:
    kept, *gone = await fill(memory, "swept", SHIPS)
    collection = await collection_of(pool, "swept")
    await folder.fold(collection)
    for stored in gone:
        await memory.call("DELETE", f"/api/v1/memory/{stored['id']}?purge=true", namespace="swept")

    await folder.sweep_due(least=1)

    blocks = await pool.fetch(
        "SELECT low, high, octet_length(postings) AS size FROM memory_blocks WHERE collection = $1", collection
    )
    counts = await pool.fetchrow("SELECT folded, folded_length FROM memory_collections WHERE id = $1", collection)
    number = await number_of(pool, kept)
    assert {(row["low"], row["high"], row["size"]) for row in blocks} == {(number, number, 8)}
    assert counts is not None
    assert counts["folded"] == 1
    assert await pool.fetchval("SELECT count(*) FROM memory_forgotten WHERE collection = $1", collection) == 0


async def test_memory_deleted_while_fresh_never_reaches_a_block(
    memory: ServiceUnderTest, pool: Database, folder: Folder
) -> None:
    (stored,) = await fill(memory, "short", SHIPS[:1])
    await memory.call("DELETE", f"/api/v1/memory/{stored['id']}", namespace="short")
    collection = await collection_of(pool, "short")

    await folder.fold(collection)
    await folder.sweep_due(least=1)

    assert await pool.fetchval("SELECT count(*) FROM memory_blocks WHERE collection = $1", collection) == 0
    assert await pool.fetchval("SELECT folded FROM memory_collections WHERE id = $1", collection) == 0


async def test_settled_vectors_answer_as_fresh_ones_do(
    memory: ServiceUnderTest, pool: Database, settler: Settler
) -> None:
    await fill(memory, "settled", NOTES)
    before = await scores(memory, "who replaced lamp 63", namespace="settled")
    collection = await collection_of(pool, "settled")

    assert await settler.rebuild(collection)

    fresh = await pool.fetchval("SELECT count(*) FROM memory_vectors_0 WHERE collection = $1", collection)
    assert fresh == 0
    assert await scores(memory, "who replaced lamp 63", namespace="settled") == before


async def test_what_is_stored_after_settling_is_found_at_once(
    memory: ServiceUnderTest, pool: Database, settler: Settler
) -> None:
    await fill(memory, "after", NOTES)
    await settler.rebuild(await collection_of(pool, "after"))

    await store(memory, "The vault's code is changed on Fridays.", namespace="after")

    found = await contents(
        memory, "on which day do we change the code of the safe?", mode="semantic", namespace="after"
    )
    assert found[0] == "The vault's code is changed on Fridays."


async def test_second_shelf_replaces_the_first_which_is_dropped(
    memory: ServiceUnderTest, pool: Database, settler: Settler
) -> None:
    await fill(memory, "twice", NOTES[:10])
    collection = await collection_of(pool, "twice")
    await settler.rebuild(collection)
    first = await pool.fetchval("SELECT shelf FROM memory_collections WHERE id = $1", collection)
    await fill(memory, "twice", NOTES[10:])

    await settler.rebuild(collection)
    await settler.drop_unused(grace_s=0)

    assert await pool.fetchval("SELECT settled FROM memory_collections WHERE id = $1", collection) == len(NOTES)
    assert await pool.fetchval("SELECT to_regclass($1)", f"memory_vectors_{first}") is None
    assert len(await search(memory, "lamp", mode="semantic", limit=100, namespace="twice")) == len(NOTES)


async def test_shelf_of_a_killed_worker_is_dropped_once_nobody_can_be_building_it(
    pool: Database, settler: Settler
) -> None:
    await pool.execute("CREATE TABLE memory_vectors_900000 PARTITION OF memory_vectors FOR VALUES IN (900000)")

    await settler.drop_unused(grace_s=60)
    kept = await pool.fetchval("SELECT to_regclass('memory_vectors_900000') IS NOT NULL")
    await settler.drop_unused(grace_s=0)

    assert kept
    assert await pool.fetchval("SELECT to_regclass('memory_vectors_900000')") is None


async def test_what_changes_while_vectors_settle_is_right_afterwards(
    memory: ServiceUnderTest, pool: Database, settler: Settler
) -> None:
    stored = await fill(memory, "moving", NOTES)
    collection = await collection_of(pool, "moving")

    async def change() -> None:
        for item in stored[:10]:
            await memory.call("DELETE", f"/api/v1/memory/{item['id']}", namespace="moving")
        await fill(memory, "moving", SHIPS)

    await asyncio.gather(settler.rebuild(collection), change())
    await settler.rebuild(collection)

    found = await contents(memory, "lamp or ship", mode="semantic", limit=100, namespace="moving")
    assert sorted(found) == sorted([*NOTES[10:], *SHIPS])


@pytest.mark.parametrize("mode", ["hybrid", "semantic", "keyword"])
async def test_filter_leaves_exactly_its_memories_though_a_graph_is_there(
    memory: ServiceUnderTest, pool: Database, settler: Settler, mode: str
) -> None:
    namespace = f"graph-{mode}"
    await fill(memory, namespace, NOTES)
    rare = await fill(memory, namespace, [f"Lamp {number} is rare." for number in range(3)], tags=["rare"])
    await settler.rebuild(await collection_of(pool, namespace))

    found = await search(
        memory, "which crew replaced the lamp?", mode=mode, filters={"tags": ["rare"]}, namespace=namespace
    )

    assert {item["id"] for item in found} == {item["id"] for item in rare}


async def test_deleted_vectors_do_not_crowd_out_the_others(
    memory: ServiceUnderTest, pool: Database, settler: Settler
) -> None:
    gone = await fill(memory, "crowd", [f"The red lamp number {number} burns." for number in range(120)])
    await fill(memory, "crowd", SHIPS)
    await settler.rebuild(await collection_of(pool, "crowd"))
    for item in gone:
        await memory.call("DELETE", f"/api/v1/memory/{item['id']}", namespace="crowd")

    found = await contents(memory, "red lamp burns", mode="semantic", namespace="crowd")

    assert sorted(found) == sorted(SHIPS)


async def test_graph_over_one_namespace_hides_nothing_of_another(
    memory: ServiceUnderTest, pool: Database, settler: Settler
) -> None:
    await fill(memory, "large", NOTES)
    await settler.rebuild(await collection_of(pool, "large"))
    await fill(memory, "small", NOTES[:12])

    found = await search(memory, "who replaced the lamp?", mode="semantic", namespace="small", limit=20)

    assert len(found) == 12
    assert {item["namespace"] for item in found} == {"small"}
