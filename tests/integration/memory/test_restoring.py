"""What was deleted can be listed and brought back for 30 days; what was purged cannot."""

from __future__ import annotations

from typing import Any

import asyncpg
import pytest

from support.memories import contents, store
from support.postgres import DatabaseUrls
from support.service import ServiceUnderTest

RECALL = "/api/v1/memory/recall"
MISSING = "01a202e6-bf77-710f-84ec-7a06ab9dec76"


async def delete(memory: ServiceUnderTest, stored: dict[str, Any], **caller: Any) -> None:
    answer = await memory.call("DELETE", f"/api/v1/memory/{stored['id']}", **caller)
    assert answer.status_code == 204


async def restore(memory: ServiceUnderTest, stored: dict[str, Any], **caller: Any) -> Any:
    return await memory.call("POST", f"/api/v1/memory/{stored['id']}/restore", **caller)


async def run(database: DatabaseUrls, sql: str, *values: Any) -> None:
    connection = await asyncpg.connect(database.for_service("memory"))
    await connection.execute(sql, *values)
    await connection.close()


async def test_restored_memory_is_as_it_was(memory: ServiceUnderTest) -> None:
    stored = await store(memory, "Back again.", tags=["a"], metadata={"x": 1}, importance=0.7)
    await delete(memory, stored)

    answer = await restore(memory, stored)

    assert answer.status_code == 200
    assert answer.headers["ETag"] == '"3"'
    changed = {name for name, value in answer.json().items() if stored[name] != value}
    assert changed == {"version", "updated_at"}


async def test_restored_memory_is_found_by_words_and_meaning(memory: ServiceUnderTest) -> None:
    stored = await store(memory, "The orchard blooms in April.", namespace="orchard")
    await delete(memory, stored, namespace="orchard")

    await restore(memory, stored, namespace="orchard")

    assert await contents(memory, "orchard", mode="keyword", namespace="orchard") == [stored["content"]]
    assert await contents(memory, "fruit trees", mode="semantic", namespace="orchard") == [stored["content"]]


async def test_restored_without_embedding_service_it_is_pending(
    memory: ServiceUnderTest, memory_alone: ServiceUnderTest
) -> None:
    stored = await store(memory, "Words first.", namespace="words-first")
    await delete(memory, stored, namespace="words-first")

    answer = await restore(memory_alone, stored, namespace="words-first")

    assert answer.json()["embedding_model"] is None
    assert await contents(memory_alone, "words", namespace="words-first") == ["Words first."]


async def test_restoring_what_is_there_changes_nothing(memory: ServiceUnderTest) -> None:
    stored = await store(memory, "Never left.")

    answer = await restore(memory, stored)

    assert (answer.status_code, answer.json()["version"]) == (200, 1)


async def test_content_stored_again_meanwhile_is_a_conflict_that_names_it(memory: ServiceUnderTest) -> None:
    stored = await store(memory, "Only one of us.")
    await delete(memory, stored)
    again = await store(memory, "Only one of us.")

    answer = await restore(memory, stored)

    assert again["id"] != stored["id"]
    assert answer.status_code == 409
    assert answer.json()["memory_id"] == again["id"]


async def test_retried_restore_gets_the_first_answer(memory: ServiceUnderTest) -> None:
    stored = await store(memory, "Once restored.")
    await delete(memory, stored)
    first = await restore(memory, stored, headers={"Idempotency-Key": "restore"})
    await delete(memory, stored)

    again = await restore(memory, stored, headers={"Idempotency-Key": "restore"})

    assert again.json() == first.json()
    assert (await memory.call("GET", f"/api/v1/memory/{stored['id']}")).status_code == 404


async def test_stale_etag_restores_nothing(memory: ServiceUnderTest) -> None:
    stored = await store(memory, "Stays deleted.")
    await delete(memory, stored)

    answer = await restore(memory, stored, headers={"If-Match": '"1"'})

    assert answer.status_code == 412
    assert (await memory.call("GET", f"/api/v1/memory/{stored['id']}")).status_code == 404


async def test_expired_memory_comes_back_for_a_day(memory: ServiceUnderTest, database: DatabaseUrls) -> None:
    stored = await store(memory, "Expired too soon.", ttl_seconds=60, namespace="expired")
    await run(database, "UPDATE memories SET expires_at = now() - interval '1 s' WHERE id = $1", stored["id"])

    answer = await restore(memory, stored, namespace="expired")

    assert answer.status_code == 200
    assert await contents(memory, "expired", namespace="expired") == ["Expired too soon."]


async def test_after_thirty_days_it_is_gone(memory: ServiceUnderTest, database: DatabaseUrls) -> None:
    stored = await store(memory, "Too late.")
    await delete(memory, stored)
    await run(database, "UPDATE memories SET deleted_at = now() - interval '30 days 1 s' WHERE id = $1", stored["id"])

    assert (await restore(memory, stored)).status_code == 404


async def test_purged_memory_cannot_be_restored(memory: ServiceUnderTest) -> None:
    stored = await store(memory, "Gone for good.")
    await memory.call("DELETE", f"/api/v1/memory/{stored['id']}?purge=true")

    assert (await restore(memory, stored)).status_code == 404
    assert (await restore(memory, {"id": MISSING})).status_code == 404


async def test_restoring_needs_its_scope(memory: ServiceUnderTest) -> None:
    stored = await store(memory, "Let it be.")
    await delete(memory, stored)

    answer = await restore(memory, stored, scopes=frozenset({"memory:read", "memory:delete"}))

    assert answer.status_code == 403


async def test_deleted_memories_are_listed_latest_deletion_first(memory: ServiceUnderTest) -> None:
    first, second, kept = [await store(memory, content, namespace="trash") for content in ("first", "second", "kept")]
    await delete(memory, second, namespace="trash")
    await delete(memory, first, namespace="trash")

    listed = (await memory.call("GET", RECALL, params={"deleted": True}, namespace="trash")).json()["items"]

    assert [item["content"] for item in listed] == ["first", "second"]
    assert all(item["deleted_at"] for item in listed)
    remaining = (await memory.call("GET", RECALL, namespace="trash")).json()["items"]
    assert [item["id"] for item in remaining] == [kept["id"]]


async def test_pages_of_deleted_memories_continue_without_gap_or_repetition(memory: ServiceUnderTest) -> None:
    for n in range(5):
        await delete(memory, await store(memory, f"Page {n}", namespace="pages"), namespace="pages")
    query = {"deleted": True, "limit": 3, "sort": "oldest"}

    first = (await memory.call("GET", RECALL, params=query, namespace="pages")).json()
    rest = await memory.call("GET", RECALL, params=query | {"cursor": first["next_cursor"]}, namespace="pages")

    listed = [item["content"] for item in first["items"] + rest.json()["items"]]
    assert listed == [f"Page {n}" for n in range(5)]


async def test_cursor_of_the_living_does_not_fit_the_deleted(memory: ServiceUnderTest) -> None:
    for n in range(2):
        await store(memory, f"Alive {n}", namespace="cursors")
    first = (await memory.call("GET", RECALL, params={"limit": 1}, namespace="cursors")).json()

    answer = await memory.call(
        "GET", RECALL, params={"deleted": True, "cursor": first["next_cursor"]}, namespace="cursors"
    )

    assert answer.status_code == 400


async def test_deleted_private_memories_are_listed_for_their_owner_only(memory: ServiceUnderTest) -> None:
    stored = await store(memory, "My own rubbish.", persona="hera", visibility="private", namespace="bin")
    await delete(memory, stored, persona="hera", namespace="bin")

    own = await memory.call("GET", RECALL, params={"deleted": True}, persona="hera", namespace="bin")
    others = await memory.call("GET", RECALL, params={"deleted": True}, persona="eris", namespace="bin")

    assert [item["id"] for item in own.json()["items"]] == [stored["id"]]
    assert others.json()["items"] == []
    assert (await restore(memory, stored, persona="eris", namespace="bin")).status_code == 404


@pytest.mark.parametrize(
    ("query", "pointer"),
    [("deleted=true&sort=used", "?sort"), ("deleted=true&shared=true", "?shared"), ("deleted=perhaps", "?deleted")],
)
async def test_wrong_combination_is_named(memory: ServiceUnderTest, query: str, pointer: str) -> None:
    answer = await memory.call("GET", f"{RECALL}?{query}")

    assert answer.status_code == 422
    assert answer.json()["errors"][0]["pointer"] == pointer


async def test_purge_takes_shares_uses_and_kept_answers(memory: ServiceUnderTest, database: DatabaseUrls) -> None:
    key = {"Idempotency-Key": "leave-no-trace"}
    body = {"content": "Every trace of it."}
    stored = (await memory.call("POST", "/api/v1/memory/store", json=body, headers=key)).json()
    share = await memory.call(
        "POST",
        f"/api/v1/memory/{stored['id']}/share",
        json={"namespace": "friends"},
        headers={"Idempotency-Key": "share-no-trace"},
    )
    await run(
        database,
        "INSERT INTO memory_uses (memory_id, namespace, uses, last_used_at) VALUES ($1, 'default', 1, now())",
        stored["id"],
    )

    await memory.call("DELETE", f"/api/v1/memory/{stored['id']}?purge=true")

    connection = await asyncpg.connect(database.for_service("memory"))
    left = await connection.fetchrow(
        """SELECT (SELECT count(*) FROM memory_shares WHERE memory_id = $1) AS shares,
                  (SELECT count(*) FROM memory_uses WHERE memory_id = $1) AS uses,
                  (SELECT count(*) FROM idempotency_keys WHERE key LIKE '%no-trace') AS answers""",
        stored["id"],
    )
    await connection.close()
    assert share.status_code == 201
    assert dict(left) == {"shares": 0, "uses": 0, "answers": 0}
