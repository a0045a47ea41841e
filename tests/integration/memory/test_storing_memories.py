"""Memories are stored whole, once, or not at all."""

from __future__ import annotations

import asyncio
from typing import Any

import asyncpg
import pytest

from support.memories import contents, store
from support.postgres import DatabaseUrls
from support.service import ServiceUnderTest

STORE = "/api/v1/memory/store"
FULL: dict[str, Any] = {
    "content": "Melanie signed up for the pottery class.",
    "importance": 0.8,
    "metadata": {"speaker": "Melanie", "nested": {"list": [1, "zwei", None]}},
    "persona_id": "muses",
    "tags": ["hobby", "pottery"],
    "session_id": "s-1",
    "occurred_at": "2023-07-02T15:00:00+02:00",
    "tier": "short_term",
    "ttl_seconds": 3600,
    "visibility": "namespace",
}


async def rows(database: DatabaseUrls, sql: str, *args: object) -> list[asyncpg.Record]:
    connection = await asyncpg.connect(database.for_service("memory"))
    try:
        return await connection.fetch(sql, *args)
    finally:
        await connection.close()


async def test_memory_is_answered_as_it_was_stored(memory: ServiceUnderTest) -> None:
    answer = await memory.call("POST", STORE, json=FULL)

    stored = answer.json()
    kept = {name: stored[name] for name in FULL if name not in {"ttl_seconds", "occurred_at"}}
    assert answer.status_code == 201
    assert kept == {name: FULL[name] for name in kept}
    assert stored["occurred_at"] == "2023-07-02T13:00:00Z"
    assert (stored["version"], stored["store_count"], stored["deduplicated"]) == (1, 1, False)
    assert (stored["embedding_model"], stored["embedding_precision"]) == ("all-MiniLM-L6-v2", "int8")
    assert answer.headers["ETag"] == '"1"'
    assert answer.headers["Location"] == f"/api/v1/memory/{stored['id']}"


async def test_stored_memory_can_be_read(memory: ServiceUnderTest) -> None:
    stored = await store(memory, "The staging cluster has three nodes.")

    answer = await memory.call("GET", f"/api/v1/memory/{stored['id']}")

    assert answer.status_code == 200
    assert answer.json() == {name: value for name, value in stored.items() if name != "deduplicated"}


async def test_content_alone_is_enough(memory: ServiceUnderTest) -> None:
    stored = await store(memory, "Only a content.")

    assert (stored["importance"], stored["tier"], stored["visibility"]) == (0.5, "long_term", "namespace")
    assert (stored["metadata"], stored["tags"], stored["expires_at"]) == ({}, [], None)


async def test_ttl_makes_a_short_term_memory(memory: ServiceUnderTest) -> None:
    stored = await store(memory, "The door code is 4711 today.", ttl_seconds=60)

    assert stored["tier"] == "short_term"
    assert stored["expires_at"] is not None


async def test_memory_belongs_to_the_callers_persona(memory: ServiceUnderTest) -> None:
    stored = await store(memory, "Athena plans the release.", persona="athena")

    assert stored["persona_id"] == "athena"


async def test_same_content_again_is_counted_and_not_kept_twice(memory: ServiceUnderTest) -> None:
    first = await store(memory, "Backups run at two.", tags=["ops"], metadata={"by": "a"})

    answer = await memory.call(
        "POST", STORE, json={"content": "Backups run at two.", "tags": ["night"], "metadata": {"by": "b"}}
    )

    again = answer.json()
    assert (answer.status_code, again["id"], again["deduplicated"]) == (200, first["id"], True)
    assert (again["store_count"], again["tags"], again["metadata"]) == (2, ["ops", "night"], {"by": "a"})
    assert again["version"] == 2


async def test_repetition_that_adds_nothing_is_no_new_version(memory: ServiceUnderTest) -> None:
    await store(memory, "Nothing new here.", importance=0.6)

    again = await store(memory, "Nothing new here.", importance=0.2)

    assert (again["store_count"], again["version"], again["importance"]) == (2, 1, 0.6)


async def test_repetition_raises_importance_and_prolongs_life(memory: ServiceUnderTest) -> None:
    await store(memory, "Perhaps useful.", importance=0.2, ttl_seconds=60)

    again = await store(memory, "Perhaps useful.", importance=0.9, tier="long_term")

    assert (again["importance"], again["tier"], again["expires_at"]) == (0.9, "long_term", None)


async def test_repetition_never_shortens_life(memory: ServiceUnderTest) -> None:
    await store(memory, "For ever.")

    again = await store(memory, "For ever.", ttl_seconds=60)

    assert (again["tier"], again["expires_at"]) == ("long_term", None)


async def test_namespaces_keep_their_own_copy(memory: ServiceUnderTest) -> None:
    here = await store(memory, "Shared wisdom.")

    there = await store(memory, "Shared wisdom.", namespace="other")

    assert there["id"] != here["id"]
    assert there["deduplicated"] is False


async def test_private_copy_is_not_merged_with_the_namespaces(memory: ServiceUnderTest) -> None:
    public = await store(memory, "Known to all.", persona="hera")

    private = await store(memory, "Known to all.", persona="hera", visibility="private")

    assert private["id"] != public["id"]


async def test_fifty_writers_of_one_content_make_one_memory(memory: ServiceUnderTest, database: DatabaseUrls) -> None:
    answers = await asyncio.gather(
        *(memory.call("POST", STORE, json={"content": "Everybody says so."}) for _ in range(50))
    )

    stored = await rows(database, "SELECT id, store_count FROM memories WHERE content = $1", "Everybody says so.")
    assert sorted(answer.status_code for answer in answers) == [200] * 49 + [201]
    assert [row["store_count"] for row in stored] == [50]


async def test_deleted_content_can_be_stored_again(memory: ServiceUnderTest) -> None:
    first = await store(memory, "Come back.")
    await memory.call("DELETE", f"/api/v1/memory/{first['id']}")

    second = await store(memory, "Come back.")

    assert second["id"] != first["id"]
    assert second["deduplicated"] is False


async def test_retry_with_the_same_key_gets_the_first_answer(memory: ServiceUnderTest) -> None:
    request = {"json": {"content": "Once only."}, "headers": {"Idempotency-Key": "memory-1"}}
    first = await memory.call("POST", STORE, **request)

    second = await memory.call("POST", STORE, **request)

    assert second.headers["Idempotent-Replayed"] == "true"
    assert (second.status_code, second.content) == (201, first.content)


async def test_store_without_embedding_is_pending_and_found_by_words_at_once(memory_alone: ServiceUnderTest) -> None:
    stored = await store(memory_alone, "The harbour master keeps the spare anchor.", namespace="pending")

    found = await contents(memory_alone, "spare anchor", namespace="pending")

    assert (stored["embedding_model"], stored["embedding_precision"]) == (None, None)
    assert found == ["The harbour master keeps the spare anchor."]


async def test_known_content_is_counted_without_embedding(
    memory: ServiceUnderTest, memory_alone: ServiceUnderTest
) -> None:
    await store(memory, "Known before the outage.")

    again = await store(memory_alone, "Known before the outage.")

    assert again["store_count"] == 2


async def test_long_content_is_kept_whole_with_a_vector_for_each_part(
    memory: ServiceUnderTest, database: DatabaseUrls
) -> None:
    content = "The journal is written before the step runs. " * 200

    stored = await store(memory, content)

    parts = await rows(
        database,
        "SELECT position FROM memory_vectors v JOIN memories m USING (number) WHERE m.id = $1 ORDER BY 1",
        stored["id"],
    )
    assert stored["content"] == content
    assert [row["position"] for row in parts] == list(range(len(parts)))
    assert len(parts) > 5


@pytest.mark.parametrize(
    "content",
    ["x" * 65_536, "雨" * 21_845, "🎉🎊🥳", "שלום עולם", "a\u202eb", "e\u0301", "-", " 'quoted'; DROP TABLE x; --"],
    ids=["64 KiB", "64 KiB of Han", "emoji", "hebrew", "bidi", "combining", "sign", "sql"],
)
async def test_unusual_content_is_kept_as_it_is(memory: ServiceUnderTest, content: str) -> None:
    stored = await store(memory, content)

    assert (await memory.call("GET", f"/api/v1/memory/{stored['id']}")).json()["content"] == content


BAD: list[tuple[dict[str, Any], str]] = [
    ({"content": ""}, "/content"),
    ({"content": " \t\n\u3000"}, "/content"),
    ({"content": "x" * 65_537}, "/content"),
    ({"content": "雨" * 21_846}, "/content"),
    ({"content": "a\x00b"}, "/content"),
    ({"content": 3}, "/content"),
    ({"content": None}, "/content"),
    ({}, "/content"),
    ({"content": "x", "importance": 1.1}, "/importance"),
    ({"content": "x", "importance": -0.1}, "/importance"),
    ({"content": "x", "importance": "0.5"}, "/importance"),
    ({"content": "x", "importance": True}, "/importance"),
    ({"content": "x", "importance": None}, "/importance"),
    ({"content": "x", "metadata": []}, "/metadata"),
    ({"content": "x", "metadata": {"a": "\x00"}}, "/metadata"),
    ({"content": "x", "metadata": {str(n): n for n in range(257)}}, "/metadata"),
    ({"content": "x", "metadata": {"a": "x" * 65_536}}, "/metadata"),
    ({"content": "x", "metadata": {"a": {"b": {"c": {"d": {"e": {"f": {"g": {"h": {"i": 1}}}}}}}}}}, "/metadata"),
    ({"content": "x", "metadata": {"a": 2**70}}, "/metadata"),
    ({"content": "x", "persona_id": "Not A Slug"}, "/persona_id"),
    ({"content": "x", "persona_id": "x" * 101}, "/persona_id"),
    ({"content": "x", "tags": "ops"}, "/tags"),
    ({"content": "x", "tags": ["ok", " "]}, "/tags/1"),
    ({"content": "x", "tags": [f"t{n}" for n in range(51)]}, "/tags"),
    ({"content": "x", "session_id": ""}, "/session_id"),
    ({"content": "x", "session_id": "x" * 101}, "/session_id"),
    ({"content": "x", "occurred_at": "yesterday"}, "/occurred_at"),
    ({"content": "x", "occurred_at": "2023-07-02T15:00:00"}, "/occurred_at"),
    ({"content": "x", "tier": "mid_term"}, "/tier"),
    ({"content": "x", "ttl_seconds": 0}, "/ttl_seconds"),
    ({"content": "x", "ttl_seconds": 59}, "/ttl_seconds"),
    ({"content": "x", "ttl_seconds": 10**12}, "/ttl_seconds"),
    ({"content": "x", "ttl_seconds": 90.5}, "/ttl_seconds"),
    ({"content": "x", "tier": "long_term", "ttl_seconds": 60}, "/ttl_seconds"),
    ({"content": "x", "visibility": "public"}, "/visibility"),
    ({"content": "x", "namespace": "other"}, "/namespace"),
    ({"content": "x", "id": "01a202e6-bf77-710f-84ec-7a06ab9dec76"}, "/id"),
    ({"content": "x", "created_at": "2023-07-02T15:00:00Z"}, "/created_at"),
    ({"content": "x", "embedding": [0.0] * 384}, "/embedding"),
]


@pytest.mark.parametrize(("body", "pointer"), BAD, ids=lambda value: value if isinstance(value, str) else "")
async def test_bad_field_is_named_and_nothing_is_kept(
    memory: ServiceUnderTest, body: dict[str, Any], pointer: str
) -> None:
    answer = await memory.call("POST", STORE, json=body, namespace="untouched")

    stats = (await memory.call("GET", "/stats", namespace="untouched")).json()
    assert answer.status_code == 422, answer.text
    assert [error["pointer"] for error in answer.json()["errors"]] == [pointer]
    assert stats["by_tier"] == {"short_term": 0, "long_term": 0}


@pytest.mark.parametrize(
    "body",
    [b'{"content": "x", "importance": NaN}', b'{"content": "x", "importance": 1e999}', b'{"content": "\\ud800"}'],
    ids=["NaN", "infinity", "lone surrogate"],
)
async def test_json_that_cannot_be_kept_is_refused(memory: ServiceUnderTest, body: bytes) -> None:
    answer = await memory.call("POST", STORE, content=body, headers={"Content-Type": "application/json"})

    assert answer.status_code in {400, 422}


async def test_rejected_value_is_not_repeated(memory: ServiceUnderTest) -> None:
    answer = await memory.call("POST", STORE, json={"content": "x", "tier": "hunter2-secret"})

    assert "hunter2" not in answer.text


async def test_storing_needs_its_scope(memory: ServiceUnderTest) -> None:
    answer = await memory.call("POST", STORE, json={"content": "x"}, scopes=frozenset({"memory:read"}))

    assert (answer.status_code, answer.json()["scope"]) == (403, "memory:write")
