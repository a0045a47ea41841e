"""Every change is a version: by whom, when, and what it was before."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import asyncpg
import pytest

from support.memories import store
from support.postgres import DatabaseUrls
from support.service import ServiceUnderTest
from tmws_memory.keeping import MemoryKeeping
from tmws_shared.database import Database


async def history(memory: ServiceUnderTest, stored: dict[str, Any], **caller: Any) -> list[dict[str, Any]]:
    answer = await memory.call("GET", f"/api/v1/memory/{stored['id']}/history", **caller)
    assert answer.status_code == 200, answer.text
    return answer.json()["items"]


async def act(memory: ServiceUnderTest, method: str, path: str, **options: Any) -> dict[str, Any]:
    answer = await memory.call(method, f"/api/v1/memory/{path}", **options)
    assert answer.status_code < 300, answer.text
    return answer.json() if answer.content else {}


@pytest.fixture
async def keeping(memory: ServiceUnderTest, database: DatabaseUrls) -> Any:
    connected = await Database.connect(database.for_service("memory"), name="test")
    yield MemoryKeeping(connected)
    await connected.close()


async def expire(database: DatabaseUrls, memory_id: str) -> None:
    connection = await asyncpg.connect(database.for_service("memory"))
    await connection.execute("UPDATE memories SET expires_at = now() - interval '1 s' WHERE id = $1", memory_id)
    await connection.close()


async def test_first_version_tells_who_stored_it(memory: ServiceUnderTest) -> None:
    stored = await store(memory, "First of all.")

    assert await history(memory, stored) == [
        {
            "version": 1,
            "action": "stored",
            "by": "tester",
            "persona_id": None,
            "at": stored["created_at"],
            "changes": {},
        }
    ]


async def test_patch_tells_each_field_before_and_after(memory: ServiceUnderTest) -> None:
    stored = await store(memory, "Before.", importance=0.2, metadata={"a": 1}, tags=["x"], persona="hera")

    change = {"content": "After.", "importance": 0.4, "metadata": {"b": 2}, "tags": ["y"]}
    changed = await act(memory, "PATCH", stored["id"], json=change, persona="hera")

    latest = (await history(memory, stored))[0]
    assert (latest["version"], latest["action"], latest["by"], latest["persona_id"]) == (2, "changed", "tester", "hera")
    assert latest["at"] == changed["updated_at"]
    assert latest["changes"] == {
        "content": {"from": "Before.", "to": "After."},
        "importance": {"from": 0.2, "to": 0.4},
        "metadata": {"from": {"a": 1}, "to": {"a": 1, "b": 2}},
        "tags": {"from": ["x"], "to": ["y"]},
    }


async def test_repetition_that_changes_something_is_a_version(memory: ServiceUnderTest) -> None:
    stored = await store(memory, "Said again.", importance=0.2, tags=["a"])
    await store(memory, "Said again.", importance=0.8, tags=["b"])

    latest = (await history(memory, stored))[0]

    assert (latest["version"], latest["action"]) == (2, "repeated")
    assert latest["changes"] == {
        "importance": {"from": 0.2, "to": 0.8},
        "tags": {"from": ["a"], "to": ["a", "b"]},
    }


async def test_repetition_that_changes_nothing_is_no_version(memory: ServiceUnderTest) -> None:
    stored = await store(memory, "Nothing new.")
    await store(memory, "Nothing new.")

    assert [version["version"] for version in await history(memory, stored)] == [1]


async def test_whole_life_is_told_newest_first(memory: ServiceUnderTest) -> None:
    stored = await store(memory, "A long life.")
    share = await act(memory, "POST", f"{stored['id']}/share", json={"namespace": "friends"})
    await act(memory, "DELETE", f"{stored['id']}/shares/{share['id']}")
    await act(memory, "PATCH", stored["id"], json={"importance": 1.0})
    await act(memory, "DELETE", stored["id"])
    await act(memory, "POST", f"{stored['id']}/restore")

    versions = await history(memory, stored)

    assert [version["action"] for version in versions] == [
        "restored",
        "deleted",
        "changed",
        "revoked",
        "shared",
        "stored",
    ]
    assert [version["version"] for version in versions] == [6, 5, 4, 3, 2, 1]
    assert versions[4]["changes"]["share"]["to"]["namespace"] == "friends"


async def test_deleted_memory_keeps_its_history(memory: ServiceUnderTest) -> None:
    stored = await store(memory, "Deleted, not forgotten.")
    await act(memory, "DELETE", stored["id"])

    assert [version["action"] for version in await history(memory, stored)] == ["deleted", "stored"]


async def test_promotion_is_told(memory: ServiceUnderTest, keeping: MemoryKeeping) -> None:
    stored = await store(memory, "Worth keeping.", tier="short_term", importance=0.9)

    await keeping.promote(3, 0.7)

    latest = (await history(memory, stored))[0]
    assert (latest["version"], latest["action"], latest["by"]) == (2, "promoted", "tmws")
    assert latest["changes"]["tier"] == {"from": "short_term", "to": "long_term"}
    assert latest["changes"]["expires_at"]["to"] is None


async def test_expiry_is_told(memory: ServiceUnderTest, keeping: MemoryKeeping, database: DatabaseUrls) -> None:
    stored = await store(memory, "Not worth keeping.", tier="short_term", importance=0.1)
    await expire(database, stored["id"])

    await keeping.expire(3, 0.7)

    latest = (await history(memory, stored))[0]
    assert (latest["version"], latest["action"], latest["by"]) == (2, "expired", "tmws")


async def test_pages_continue_without_gap_or_repetition(memory: ServiceUnderTest) -> None:
    stored = await store(memory, "Changed often.")
    for n in range(4):
        await act(memory, "PATCH", stored["id"], json={"metadata": {"n": n}})
    path = f"/api/v1/memory/{stored['id']}/history"

    first = (await memory.call("GET", path, params={"limit": 3})).json()
    rest = (await memory.call("GET", path, params={"limit": 3, "cursor": first["next_cursor"]})).json()

    assert [item["version"] for item in first["items"] + rest["items"]] == [5, 4, 3, 2, 1]
    assert rest["next_cursor"] is None


async def test_cursor_fits_no_other_memory(memory: ServiceUnderTest) -> None:
    one, other = await store(memory, "One history."), await store(memory, "Another history.")
    await act(memory, "PATCH", one["id"], json={"importance": 0.1})
    first = (await memory.call("GET", f"/api/v1/memory/{one['id']}/history", params={"limit": 1})).json()

    answer = await memory.call("GET", f"/api/v1/memory/{other['id']}/history", params={"cursor": first["next_cursor"]})

    assert answer.status_code == 400


async def test_purge_takes_the_history(
    memory: ServiceUnderTest, keeping: MemoryKeeping, database: DatabaseUrls
) -> None:
    stored = await store(memory, "Without a trace.")
    await act(memory, "PATCH", stored["id"], json={"content": "Without any trace."})
    await act(memory, "DELETE", stored["id"])

    await keeping.purge(timedelta(0))

    connection = await asyncpg.connect(database.for_service("memory"))
    left = await connection.fetchval("SELECT count(*) FROM memory_history WHERE memory_id = $1", stored["id"])
    await connection.close()
    assert left == 0
    assert (await memory.call("GET", f"/api/v1/memory/{stored['id']}/history")).status_code == 404


async def test_what_changed_while_private_is_told_to_who_changed_it_only(memory: ServiceUnderTest) -> None:
    hera = {"persona": "hera", "namespace": "opened"}
    stored = await store(memory, "The code is 4711.", visibility="private", **hera)
    change = {"content": "The code was changed.", "visibility": "namespace"}
    await act(memory, "PATCH", stored["id"], json=change, **hera)
    await act(memory, "PATCH", stored["id"], json={"importance": 0.9}, **hera)

    own = await history(memory, stored, **hera)
    others = await history(memory, stored, persona="eris", namespace="opened")

    assert own[1]["changes"]["content"]["from"] == "The code is 4711."
    assert [version["changes"] for version in others] == [{"importance": {"from": 0.5, "to": 0.9}}, {}, {}]
