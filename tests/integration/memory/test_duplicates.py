"""Near duplicates: found in the background, told to who owns them, and never merged."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any

import pytest

from support.bulk import exported, import_file, lines
from support.memories import store
from support.postgres import DatabaseUrls
from support.service import ServiceUnderTest
from tmws_memory.alike import clusters, comparing
from tmws_memory.alike.comparing import Comparer
from tmws_memory.settings import MemorySettings
from tmws_memory.settling import Settler
from tmws_shared.database import Database

A = "The office in Kiel is closed on Mondays and Tuesdays."
A_TOO = "The office in Kiel is closed on Monday and Tuesday."
A_AGAIN = "the office in kiel is closed on mondays and tuesdays"
B = "Backups run every night at three in the morning."
B_TOO = "Backups run each night at three in the morning."
NEAR_IN_MEANING_ONLY = "On Mondays and Tuesdays nobody works at the Kiel branch."


@pytest.fixture
async def worker_database(memory: ServiceUnderTest, database: DatabaseUrls) -> AsyncGenerator[Database]:
    opened = await Database.connect(database.for_service("memory"), name="comparer")
    yield opened
    await opened.close()


@pytest.fixture
def comparer(worker_database: Database) -> Comparer:
    return Comparer(worker_database)


async def duplicates(memory: ServiceUnderTest, query: str = "", **caller: Any) -> dict[str, Any]:
    answer = await memory.call("GET", f"/api/v1/memory/duplicates{query}", **caller)
    assert answer.status_code == 200, answer.text
    return answer.json()


def told(page: dict[str, Any]) -> list[set[str]]:
    return [{each["excerpt"] for each in cluster["memories"]} for cluster in page["items"]]


async def test_near_duplicates_are_one_cluster(memory: ServiceUnderTest, comparer: Comparer) -> None:
    for content in (A, B, A_TOO, A_AGAIN, "Something else altogether."):
        await store(memory, content, namespace="one")

    await comparer.compare_all(pause=0)

    page = await duplicates(memory, namespace="one")
    assert told(page) == [{A, A_TOO, A_AGAIN}]
    assert page["next_cursor"] is None
    assert page["scan"] == {"waiting": 0, "unembedded": 0, "is_complete": True}


async def test_pairs_say_how_much_they_are_alike(memory: ServiceUnderTest, comparer: Comparer) -> None:
    first = await store(memory, A, namespace="pairs")
    second = await store(memory, A_AGAIN, namespace="pairs")

    await comparer.compare_all(pause=0)

    ((pair,),) = [cluster["pairs"] for cluster in (await duplicates(memory, namespace="pairs"))["items"]]
    assert {pair["first"], pair["second"]} == {first["id"], second["id"]}
    assert pair["similarity"] > 0.97
    assert pair["overlap"] == 1.0


async def test_threshold_chooses_how_alike(memory: ServiceUnderTest, comparer: Comparer) -> None:
    await store(memory, B, namespace="threshold")
    await store(memory, B_TOO, namespace="threshold")
    await comparer.compare_all(pause=0)

    loose = await duplicates(memory, "?threshold=0.85", namespace="threshold")
    strict = await duplicates(memory, "?threshold=1.0", namespace="threshold")

    assert told(loose) == [{B, B_TOO}]
    assert told(strict) == []


async def test_same_meaning_in_other_words_is_no_duplicate(memory: ServiceUnderTest, comparer: Comparer) -> None:
    await store(memory, A, namespace="words")
    await store(memory, NEAR_IN_MEANING_ONLY, namespace="words")

    await comparer.compare_all(pause=0)

    assert told(await duplicates(memory, "?threshold=0.85&overlap=0.5", namespace="words")) == []


@pytest.mark.parametrize(
    "query", ["?threshold=0.5", "?threshold=1.1", "?overlap=0.1", "?limit=0", "?limit=51", "?min=1"]
)
async def test_impossible_wishes_are_refused(memory: ServiceUnderTest, query: str) -> None:
    answer = await memory.call("GET", f"/api/v1/memory/duplicates{query}")

    assert answer.status_code == 422
    assert answer.json()["errors"][0]["pointer"] == query.partition("=")[0]


async def test_scan_says_what_waits(memory: ServiceUnderTest) -> None:
    await store(memory, A, namespace="waiting")
    await store(memory, A_TOO, namespace="waiting")

    page = await duplicates(memory, namespace="waiting")

    assert page["items"] == []
    assert page["scan"] == {"waiting": 2, "unembedded": 0, "is_complete": False}


async def test_what_is_not_embedded_is_told(memory_alone: ServiceUnderTest) -> None:
    await store(memory_alone, A, namespace="unembedded")

    scan = (await duplicates(memory_alone, namespace="unembedded"))["scan"]

    assert scan == {"waiting": 0, "unembedded": 1, "is_complete": False}


async def test_pages_show_each_cluster_once(memory: ServiceUnderTest, comparer: Comparer) -> None:
    contents = [
        f"{name} keeps the {name} ledger in the northern archive." for name in ("Anna", "Bert", "Cleo", "Dora", "Emil")
    ]
    for content in contents:
        await store(memory, content, namespace="pages")
        await store(memory, content.lower().rstrip("."), namespace="pages")
    await comparer.compare_all(pause=0)

    seen: list[str] = []
    query = "?limit=2&overlap=0.9"
    page = await duplicates(memory, query, namespace="pages")
    seen += [cluster["memories"][0]["id"] for cluster in page["items"]]
    second = await duplicates(memory, f"{query}&cursor={page['next_cursor']}", namespace="pages")
    seen += [cluster["memories"][0]["id"] for cluster in second["items"]]
    third = await duplicates(memory, f"{query}&cursor={second['next_cursor']}", namespace="pages")
    seen += [cluster["memories"][0]["id"] for cluster in third["items"]]

    assert len(seen) == len(set(seen)) == 5
    assert third["next_cursor"] is None


async def test_cursor_of_other_criteria_is_refused(memory: ServiceUnderTest, comparer: Comparer) -> None:
    for content in (A, A_AGAIN, B, B.lower()):
        await store(memory, content, namespace="cursor")
    await comparer.compare_all(pause=0)
    cursor = (await duplicates(memory, "?limit=1", namespace="cursor"))["next_cursor"]

    answer = await memory.call(
        "GET", f"/api/v1/memory/duplicates?threshold=0.9&limit=1&cursor={cursor}", namespace="cursor"
    )

    assert answer.status_code == 400


async def test_deleted_memory_is_in_no_cluster(memory: ServiceUnderTest, comparer: Comparer) -> None:
    stored = await store(memory, A, namespace="deleted")
    await store(memory, A_TOO, namespace="deleted")
    await comparer.compare_all(pause=0)

    await memory.call("DELETE", f"/api/v1/memory/{stored['id']}", namespace="deleted")

    assert (await duplicates(memory, namespace="deleted"))["items"] == []


async def test_pairs_of_what_is_gone_are_swept(
    memory: ServiceUnderTest, comparer: Comparer, worker_database: Database
) -> None:
    stored = await store(memory, A, namespace="swept")
    await store(memory, A_TOO, namespace="swept")
    await comparer.compare_all(pause=0)
    await memory.call("DELETE", f"/api/v1/memory/{stored['id']}?purge=true", namespace="swept")
    before = await worker_database.fetchval("SELECT count(*) FROM memory_pairs")

    await comparer.sweep()

    assert await worker_database.fetchval("SELECT count(*) FROM memory_pairs") < before


async def test_changed_memory_is_compared_anew(memory: ServiceUnderTest, comparer: Comparer) -> None:
    stored = await store(memory, "Nothing alike.", namespace="changed")
    await store(memory, A, namespace="changed")
    await comparer.compare_all(pause=0)

    await memory.call("PATCH", f"/api/v1/memory/{stored['id']}", json={"content": A_TOO}, namespace="changed")
    await comparer.compare_all(pause=0)

    assert told(await duplicates(memory, namespace="changed")) == [{A, A_TOO}]


async def test_duplicates_among_settled_vectors_are_found(
    memory: ServiceUnderTest, comparer: Comparer, worker_database: Database
) -> None:
    await store(memory, A, namespace="settled")
    collection = await worker_database.fetchval("SELECT id FROM memory_collections WHERE namespace = 'settled'")
    await Settler(worker_database, MemorySettings.model_construct(memory_index_build_mb=64)).rebuild(collection)
    await comparer.compare_all(pause=0)

    await store(memory, A_TOO, namespace="settled")
    await comparer.compare_all(pause=0)

    assert told(await duplicates(memory, namespace="settled")) == [{A, A_TOO}]


async def test_bulk_waits_for_its_shelf(
    memory: ServiceUnderTest, comparer: Comparer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(comparing, "FRESH_MOST", 1)
    await store(memory, A, namespace="bulk")
    await store(memory, A_TOO, namespace="bulk")

    await comparer.compare_all(pause=0)

    assert (await duplicates(memory, namespace="bulk"))["scan"]["waiting"] == 2


async def test_imported_vectors_are_compared(memory: ServiceUnderTest, comparer: Comparer) -> None:
    await store(memory, A, namespace="imported1")
    await store(memory, A_TOO, namespace="imported1")
    records = await exported(memory, "?vectors=true", namespace="imported1")

    await import_file(memory, lines(*records), namespace="imported2")
    await comparer.compare_all(pause=0)

    assert told(await duplicates(memory, namespace="imported2")) == [{A, A_TOO}]


async def test_large_cluster_is_cut_and_says_so(
    memory: ServiceUnderTest, comparer: Comparer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clusters, "MAX_MEMBERS", 3)
    for number in range(5):
        await store(memory, f"{A} {'!' * number}", namespace="large")
    await comparer.compare_all(pause=0)

    page = await duplicates(memory, "?threshold=0.85", namespace="large")

    assert [len(cluster["memories"]) for cluster in page["items"]] == [3]
    assert page["items"][0]["is_truncated"]


async def test_nothing_is_told_of_other_namespaces_and_personas(memory: ServiceUnderTest, comparer: Comparer) -> None:
    await store(memory, A, namespace="mine")
    await store(memory, A_TOO, namespace="yours")
    await store(memory, A_AGAIN, persona="hera", visibility="private", namespace="mine")
    await store(memory, A_TOO, persona="hera", visibility="private", namespace="mine")
    await comparer.compare_all(pause=0)
    await store(memory, B, persona="hera", visibility="private", namespace="mine")

    eris = await duplicates(memory, "?threshold=0.85", persona="eris", namespace="mine")
    hera = await duplicates(memory, "?threshold=0.85", persona="hera", namespace="mine")

    assert eris["items"] == []
    assert eris["scan"]["waiting"] == 0
    assert told(hera) == [{A_AGAIN, A_TOO}]
    assert hera["scan"]["waiting"] == 1
