"""Deleted memories vanish at once, purged ones without a trace."""

from __future__ import annotations

import asyncpg
import pytest

from support.memories import contents, store
from support.postgres import DatabaseUrls
from support.service import ServiceUnderTest

LONG = "The archive keeps every letter it was sent. " * 100


async def number_of(database: DatabaseUrls, memory_id: str) -> int:
    connection = await asyncpg.connect(database.for_service("memory"))
    try:
        return await connection.fetchval("SELECT number FROM memories WHERE id = $1", memory_id)
    finally:
        await connection.close()


async def traces(database: DatabaseUrls, memory_id: str, number: int = 0) -> dict[str, int]:
    connection = await asyncpg.connect(database.for_service("memory"))
    try:
        row = await connection.fetchrow(
            """SELECT (SELECT count(*) FROM memories WHERE id = $1) AS memories,
                      (SELECT count(*) FROM memory_vectors WHERE number = $2) AS vectors,
                      (SELECT count(*) FROM memory_words WHERE number = $2) AS words,
                      (SELECT count(*) FROM idempotency_keys
                       WHERE convert_from(body, 'UTF8') LIKE '%' || $1::uuid::text || '%') AS answers""",
            memory_id,
            number,
        )
    finally:
        await connection.close()
    return dict(row)


async def test_deleted_memory_is_neither_read_nor_found(memory: ServiceUnderTest, database: DatabaseUrls) -> None:
    stored = await store(memory, "Forget the old password policy.")

    answer = await memory.call("DELETE", f"/api/v1/memory/{stored['id']}")

    assert (answer.status_code, answer.content) == (204, b"")
    assert (await memory.call("GET", f"/api/v1/memory/{stored['id']}")).status_code == 404
    assert await contents(memory, "password policy") == []
    assert (await traces(database, stored["id"]))["memories"] == 1


async def test_deleting_twice_is_not_found(memory: ServiceUnderTest) -> None:
    stored = await store(memory, "Twice.")
    await memory.call("DELETE", f"/api/v1/memory/{stored['id']}")

    assert (await memory.call("DELETE", f"/api/v1/memory/{stored['id']}")).status_code == 404


async def test_purge_leaves_no_trace(memory: ServiceUnderTest, database: DatabaseUrls) -> None:
    answer = await memory.call(
        "POST", "/api/v1/memory/store", json={"content": LONG}, headers={"Idempotency-Key": "to-be-purged"}
    )
    memory_id = answer.json()["id"]
    number = await number_of(database, memory_id)
    before = await traces(database, memory_id, number)

    await memory.call("DELETE", f"/api/v1/memory/{memory_id}?purge=true")

    assert all(before.values())
    assert await traces(database, memory_id, number) == dict.fromkeys(before, 0)


async def test_deleted_memory_can_still_be_purged(memory: ServiceUnderTest, database: DatabaseUrls) -> None:
    stored = await store(memory, "Hidden first.")
    await memory.call("DELETE", f"/api/v1/memory/{stored['id']}")

    answer = await memory.call("DELETE", f"/api/v1/memory/{stored['id']}?purge=true")

    assert answer.status_code == 204
    assert (await traces(database, stored["id"]))["memories"] == 0


async def test_stale_etag_keeps_the_memory(memory: ServiceUnderTest) -> None:
    stored = await store(memory, "Changed meanwhile.")
    await store(memory, "Changed meanwhile.", importance=0.9)
    path = f"/api/v1/memory/{stored['id']}"

    assert (await memory.call("DELETE", path, headers={"If-Match": '"1"'})).status_code == 412
    assert (await memory.call("DELETE", path, headers={"If-Match": '"2"'})).status_code == 204


@pytest.mark.parametrize("memory_id", ["nonsense", "123", "00000000-0000-0000-0000-00000000000g"])
async def test_id_that_is_no_uuid_is_named(memory: ServiceUnderTest, memory_id: str) -> None:
    answer = await memory.call("DELETE", f"/api/v1/memory/{memory_id}")

    assert answer.status_code == 422
    assert answer.json()["errors"][0]["pointer"] == "#memory_id"


async def test_deleting_needs_its_scope(memory: ServiceUnderTest) -> None:
    stored = await store(memory, "Protected.")

    answer = await memory.call(
        "DELETE", f"/api/v1/memory/{stored['id']}", scopes=frozenset({"memory:read", "memory:write"})
    )

    assert answer.status_code == 403
