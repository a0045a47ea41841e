"""Many memories at once: in order, each kept or refused by itself, each once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import pytest

from support.memories import contents, store
from support.postgres import DatabaseUrls
from support.service import ServiceUnderTest
from tmws_contracts.scopes import SCOPES

BATCH = "/api/v1/memory/store/batch"
NOBODY_ELSE = SCOPES - {"persona:impersonate"}


async def store_batch(memory: ServiceUnderTest, items: list[Any], **caller: Any) -> dict[str, Any]:
    answer = await memory.call("POST", BATCH, json={"items": items}, **caller)
    assert answer.status_code == 200, answer.text
    return answer.json()


@asynccontextmanager
async def connected(database: DatabaseUrls) -> AsyncGenerator[asyncpg.Connection]:
    connection = await asyncpg.connect(database.for_service("memory"))
    try:
        yield connection
    finally:
        await connection.close()


def numbered(count: int, about: str) -> list[dict[str, Any]]:
    return [{"content": f"{about} number {n}"} for n in range(count)]


async def test_items_are_answered_in_their_order(memory: ServiceUnderTest) -> None:
    answer = await store_batch(memory, numbered(3, "turn"), namespace="order")

    ids = [item["memory_id"] for item in answer["items"]]
    read = [await memory.call("GET", f"/api/v1/memory/{id_}", namespace="order") for id_ in ids]
    assert [memory.json()["content"] for memory in read] == ["turn number 0", "turn number 1", "turn number 2"]
    assert [item["status"] for item in answer["items"]] == [201, 201, 201]
    assert (answer["stored"], answer["deduplicated"], answer["refused"]) == (3, 0, 0)


async def test_ids_rise_with_the_items_over_several_chunks(memory: ServiceUnderTest) -> None:
    answer = await store_batch(memory, numbered(450, "line"), namespace="rising")

    ids = [item["memory_id"] for item in answer["items"]]
    assert ids == sorted(ids)
    assert len(set(ids)) == 450


async def test_stored_batch_is_recalled_in_the_order_of_the_conversation(memory: ServiceUnderTest) -> None:
    await store_batch(memory, numbered(250, "said"), namespace="said")

    first = await memory.call("GET", "/api/v1/memory/recall?sort=oldest&limit=200", namespace="said")

    assert [item["content"] for item in first.json()["items"]] == [f"said number {n}" for n in range(200)]


async def test_batch_is_found_by_meaning_and_by_words(memory: ServiceUnderTest) -> None:
    await store_batch(
        memory, [{"content": "The cat sleeps."}, {"content": "Interest rates were raised."}], namespace="found"
    )

    assert (await contents(memory, "central bank policy", mode="semantic", namespace="found"))[0].startswith("Interest")
    assert await contents(memory, "cat", mode="keyword", namespace="found") == ["The cat sleeps."]


async def test_all_fields_of_an_item_are_kept(memory: ServiceUnderTest) -> None:
    item = {
        "content": "Moved to Kyoto.",
        "importance": 0.9,
        "metadata": {"speaker": "Ada", "nested": {"a": [1, 2.5, None]}},
        "persona_id": "hera",
        "tags": ["home", "home", "city"],
        "session_id": "s1",
        "occurred_at": "0999-02-03T04:05:06Z",
        "tier": "short_term",
        "ttl_seconds": 600,
        "visibility": "private",
    }
    answer = await store_batch(memory, [item], namespace="fields", persona="hera")

    path = f"/api/v1/memory/{answer['items'][0]['memory_id']}"
    kept = (await memory.call("GET", path, namespace="fields", persona="hera")).json()
    assert {name: kept[name] for name in item if name not in ("tags", "ttl_seconds")} == {
        name: value for name, value in item.items() if name not in ("tags", "ttl_seconds")
    }
    assert kept["tags"] == ["home", "city"]
    assert kept["expires_at"] is not None


@pytest.mark.parametrize(
    ("bad", "pointer"),
    [
        ({"content": " "}, "/items/1/content"),
        ({"content": "x", "importance": 1.1}, "/items/1/importance"),
        ({"content": "x", "unknown": 1}, "/items/1/unknown"),
        ({"content": "x", "ttl_seconds": 0}, "/items/1/ttl_seconds"),
        ({"content": "x", "metadata": {"n\u0000": 1}}, "/items/1/metadata"),
        ({}, "/items/1/content"),
        ("no object", "/items/1"),
        (None, "/items/1"),
    ],
)
async def test_wrong_item_is_refused_alone(memory: ServiceUnderTest, bad: Any, pointer: str) -> None:
    answer = await store_batch(memory, [{"content": "good before"}, bad, {"content": "good after"}])

    statuses = [item["status"] for item in answer["items"]]
    assert (statuses[0] in (200, 201), statuses[1], statuses[2] in (200, 201)) == (True, 422, True)
    problem = answer["items"][1]["problem"]
    assert problem["errors"][0]["pointer"] == pointer
    assert answer["items"][1]["memory_id"] is None
    assert answer["refused"] == 1


async def test_refusal_does_not_repeat_the_value(memory: ServiceUnderTest) -> None:
    answer = await memory.call("POST", BATCH, json={"items": [{"content": "x", "tier": "s3cret"}]})

    assert answer.json()["refused"] == 1
    assert "s3cret" not in answer.text


async def test_item_for_a_foreign_persona_is_refused_alone(memory: ServiceUnderTest) -> None:
    items = [{"content": "trust me", "persona_id": "athena"}, {"content": "as myself", "persona_id": "eris"}]

    answer = await store_batch(memory, items, persona="eris", scopes=NOBODY_ELSE)

    assert [item["status"] for item in answer["items"]] == [403, 201]
    assert answer["items"][0]["problem"]["errors"][0]["pointer"] == "/items/0/persona_id"


@pytest.mark.parametrize(
    "body",
    [{}, {"items": []}, {"items": {}}, {"items": [{"content": "x"}] * 1001}, {"items": [], "atomic": True}, []],
)
async def test_malformed_envelope_is_refused_whole(memory: ServiceUnderTest, body: Any) -> None:
    answer = await memory.call("POST", BATCH, json=body)

    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"


async def test_thousand_items_are_taken(memory: ServiceUnderTest) -> None:
    answer = await store_batch(memory, numbered(1000, "thousand"), namespace="thousand")

    assert answer["stored"] == 1000


async def test_same_content_within_a_batch_is_one_memory(memory: ServiceUnderTest) -> None:
    items = [
        {"content": "twice", "tags": ["a"], "importance": 0.2},
        {"content": "once"},
        {"content": "twice", "tags": ["b"], "importance": 0.6},
    ]
    answer = await store_batch(memory, items, namespace="twice")

    first, other, second = answer["items"]
    kept = (await memory.call("GET", f"/api/v1/memory/{first['memory_id']}", namespace="twice")).json()
    assert (first["status"], other["status"], second["status"]) == (201, 201, 200)
    assert second["memory_id"] == first["memory_id"]
    assert second["deduplicated"]
    assert (kept["store_count"], kept["tags"], kept["importance"]) == (2, ["a", "b"], 0.6)


async def test_known_content_is_counted(memory: ServiceUnderTest) -> None:
    known = await store(memory, "known before", namespace="known")

    answer = await store_batch(memory, [{"content": "known before"}], namespace="known")

    assert answer["items"][0] | {"problem": None} == {
        "status": 200,
        "memory_id": known["id"],
        "deduplicated": True,
        "pending": False,
        "problem": None,
    }


async def test_without_embedding_service_items_are_pending_and_found_by_words(memory_alone: ServiceUnderTest) -> None:
    answer = await store_batch(memory_alone, [{"content": "zanzibar ferry"}], namespace="alone")

    assert answer["items"][0]["pending"]
    assert await contents(memory_alone, "zanzibar", namespace="alone") == ["zanzibar ferry"]


async def test_long_contents_are_embedded_in_parts(memory: ServiceUnderTest, database: DatabaseUrls) -> None:
    answer = await store_batch(
        memory, [{"content": "The archive keeps letters. " * 400}, {"content": "short"}], namespace="long"
    )

    async with connected(database) as connection:
        parts = await connection.fetch(
            """SELECT count(v.number) AS parts, max(v.position) AS last FROM memories m
               JOIN memory_vectors v ON v.number = m.number WHERE m.id = ANY($1::uuid[]) GROUP BY m.id ORDER BY m.id""",
            [item["memory_id"] for item in answer["items"]],
        )
    assert parts[0]["parts"] > 5
    assert parts[0]["last"] == parts[0]["parts"] - 1
    assert parts[1]["parts"] == 1


async def test_same_key_gives_the_first_answer(memory: ServiceUnderTest) -> None:
    body = {"items": numbered(250, "keyed")}
    first = await memory.call("POST", BATCH, json=body, namespace="keyed", headers={"Idempotency-Key": "k"})
    again = await memory.call("POST", BATCH, json=body, namespace="keyed", headers={"Idempotency-Key": "k"})

    assert again.json() == first.json()
    assert again.headers["Idempotent-Replayed"] == "true"
    recalled = (await memory.call("GET", "/api/v1/memory/recall?limit=200", namespace="keyed")).json()["items"]
    assert {item["store_count"] for item in recalled} == {1}


async def test_same_key_with_another_batch_is_refused(memory: ServiceUnderTest) -> None:
    headers = {"Idempotency-Key": "reused"}
    await memory.call("POST", BATCH, json={"items": numbered(1, "one")}, headers=headers)

    answer = await memory.call("POST", BATCH, json={"items": numbered(1, "two")}, headers=headers)

    assert answer.status_code == 422
    assert answer.json()["errors"][0]["pointer"] == "@Idempotency-Key"


async def test_opposite_batches_at_once_do_not_lock_each_other(memory: ServiceUnderTest) -> None:
    items = numbered(150, "crossing")

    answers = await asyncio.gather(
        *(store_batch(memory, items[::step], namespace="crossing") for step in (1, -1, 1, -1))
    )

    assert sum(answer["stored"] for answer in answers) == 150
    recalled = (await memory.call("GET", "/api/v1/memory/recall?limit=200", namespace="crossing")).json()["items"]
    assert {item["store_count"] for item in recalled} == {4}


async def test_two_hundred_writers_of_one_content_make_one_memory(memory: ServiceUnderTest) -> None:
    single = [store(memory, "everybody says it", namespace="crowd") for _ in range(100)]
    several = [store_batch(memory, [{"content": "everybody says it"}], namespace="crowd") for _ in range(100)]

    await asyncio.gather(*single, *several)

    recalled = (await memory.call("GET", "/api/v1/memory/recall", namespace="crowd")).json()["items"]
    assert [item["store_count"] for item in recalled] == [200]


async def wait_for(is_so: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(20):
        while not await is_so():
            await asyncio.sleep(0.01)


async def test_retry_after_a_lost_database_stores_every_item_once(
    memory: ServiceUnderTest, database: DatabaseUrls
) -> None:
    items, key = numbered(600, "torn"), {"Idempotency-Key": "torn"}
    count = "SELECT count(*) FROM memories WHERE namespace = 'torn'"
    async with connected(database) as connection:
        storing = asyncio.create_task(memory.call("POST", BATCH, json={"items": items}, namespace="torn", headers=key))
        await wait_for(lambda: connection.fetchval(f"{count} HAVING count(*) > 0"))
        await connection.execute(
            """SELECT pg_terminate_backend(pid) FROM pg_stat_activity
               WHERE application_name = 'tmws_memory' AND datname = current_database() AND pid <> pg_backend_pid()"""
        )
        torn, half = (await storing).status_code, await connection.fetchval(count)

        retried = await memory.call("POST", BATCH, json={"items": items}, namespace="torn", headers=key)
        rows = await connection.fetchrow(
            """SELECT count(*) AS memories, max(store_count) AS most, count(w.number) AS words,
                      (SELECT count(*) FROM memory_vectors v JOIN memories m USING (number)
                       WHERE m.namespace = 'torn') AS vectors
               FROM memories m LEFT JOIN memory_words w USING (number) WHERE m.namespace = 'torn'"""
        )
    assert torn in (200, 503)
    assert half % 200 == 0
    assert retried.status_code == 200
    assert dict(rows) == {"memories": 600, "most": 1, "words": 600, "vectors": 600}
