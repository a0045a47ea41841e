"""Counts are right at once, whoever writes, and before and after they are added up."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

import pytest

from support.memories import store
from support.postgres import DatabaseUrls
from support.service import ServiceUnderTest
from tmws_memory.counts import TALLY
from tmws_shared.database import Database

STATS = "/api/v1/memory/stats"


@pytest.fixture
async def connected(memory: ServiceUnderTest, database: DatabaseUrls) -> AsyncGenerator[Database]:
    connected = await Database.connect(database.for_service("memory"), name="test")
    yield connected
    await connected.close()


async def stats(memory: ServiceUnderTest, **caller: Any) -> dict[str, Any]:
    answer = await memory.call("GET", STATS, **caller)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def test_empty_namespace_counts_nothing(memory: ServiceUnderTest) -> None:
    assert await stats(memory, namespace="empty") == {
        "by_tier": {"short_term": 0, "long_term": 0},
        "deleted": 0,
        "pending": 0,
        "shared": 0,
        "collections": 0,
        "folded": 0,
        "settled": 0,
        "bytes": 0,
    }


async def test_every_change_is_counted(memory: ServiceUnderTest, connected: Database) -> None:
    first = await store(memory, "äöü", namespace="life")
    second = await store(memory, "12345", namespace="life", ttl_seconds=600)
    third = await store(memory, "gone", namespace="life")
    await TALLY.add_up(connected)

    await memory.call("PATCH", f"/api/v1/memory/{first['id']}", json={"content": "abc"}, namespace="life")
    await memory.call("PATCH", f"/api/v1/memory/{second['id']}", json={"tier": "long_term"}, namespace="life")
    await memory.call("DELETE", f"/api/v1/memory/{third['id']}", namespace="life")

    expected = {
        "by_tier": {"short_term": 0, "long_term": 2},
        "deleted": 1,
        "pending": 0,
        "shared": 0,
        "collections": 1,
        "folded": 0,
        "settled": 0,
        "bytes": 8,
    }
    assert await stats(memory, namespace="life") == expected
    assert await TALLY.add_up(connected) > 0
    assert await stats(memory, namespace="life") == expected


async def test_restored_and_purged_are_counted(memory: ServiceUnderTest) -> None:
    back, gone = [await store(memory, content, namespace="ends") for content in ("back", "gone")]
    for stored in (back, gone):
        await memory.call("DELETE", f"/api/v1/memory/{stored['id']}", namespace="ends")
    await memory.call("POST", f"/api/v1/memory/{back['id']}/restore", namespace="ends")
    await memory.call("DELETE", f"/api/v1/memory/{gone['id']}?purge=true", namespace="ends")

    counted = await stats(memory, namespace="ends")

    assert (counted["by_tier"]["long_term"], counted["deleted"], counted["bytes"]) == (1, 0, 4)


async def test_pending_ones_are_counted(memory_alone: ServiceUnderTest) -> None:
    body = {"items": [{"content": "no vectors"}, {"content": "none either"}]}
    await memory_alone.call("POST", "/api/v1/memory/store/batch", json=body, namespace="waiting")

    assert (await stats(memory_alone, namespace="waiting"))["pending"] == 2


async def test_concurrent_writers_lose_no_count(memory: ServiceUnderTest, connected: Database) -> None:
    writers = [store(memory, f"counted {n}", namespace="many") for n in range(40)]

    await asyncio.gather(*writers, TALLY.add_up(connected), TALLY.add_up(connected))
    await asyncio.gather(TALLY.add_up(connected), TALLY.add_up(connected))

    assert (await stats(memory, namespace="many"))["by_tier"]["long_term"] == 40


async def test_private_memories_of_others_are_not_counted(memory: ServiceUnderTest) -> None:
    await store(memory, "Nobody's business.", persona="hera", visibility="private", namespace="discreet")

    theirs = await stats(memory, namespace="discreet", persona="eris")
    own = await stats(memory, namespace="discreet", persona="hera")

    assert (theirs["by_tier"]["long_term"], theirs["collections"], theirs["bytes"]) == (0, 0, 0)
    assert (own["by_tier"]["long_term"], own["collections"]) == (1, 1)


async def test_what_others_share_is_counted_apart(memory: ServiceUnderTest) -> None:
    stored = await store(memory, "From abroad.", namespace="there")
    path = f"/api/v1/memory/{stored['id']}/share"
    await memory.call("POST", path, json={"namespace": "here"}, namespace="there")

    counted = await stats(memory, namespace="here")

    assert (counted["shared"], counted["by_tier"]["long_term"]) == (1, 0)


async def test_both_ways_to_ask_tell_the_same(memory: ServiceUnderTest) -> None:
    await store(memory, "Asked twice.", namespace="twice")

    internal = (await memory.call("GET", "/stats", namespace="twice")).json()

    assert internal == await stats(memory, namespace="twice")
