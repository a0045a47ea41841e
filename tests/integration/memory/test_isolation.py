"""Nobody sees, counts or deletes what is not theirs."""

from __future__ import annotations

from typing import Any

import pytest

from support.memories import contents, search, store
from support.service import ServiceUnderTest
from tmws_contracts.scopes import SCOPES

SECRET = "The vault combination is seven, nine, three."
WITHOUT_IMPERSONATION = SCOPES - {"persona:impersonate"}


async def test_other_namespaces_find_nothing(memory: ServiceUnderTest) -> None:
    await store(memory, SECRET, namespace="ours")

    assert await contents(memory, SECRET, namespace="theirs") == []
    assert await contents(memory, "vault combination", mode="keyword", namespace="theirs") == []


@pytest.mark.parametrize(("method", "query"), [("GET", ""), ("DELETE", ""), ("DELETE", "?purge=true")])
async def test_memory_of_another_namespace_is_as_if_it_did_not_exist(
    memory: ServiceUnderTest, method: str, query: str
) -> None:
    stored = await store(memory, SECRET, namespace="ours")
    missing = "01a202e6-bf77-710f-84ec-7a06ab9dec76"

    foreign = await memory.call(method, f"/api/v1/memory/{stored['id']}{query}", namespace="theirs")
    unknown = await memory.call(method, f"/api/v1/memory/{missing}{query}", namespace="theirs")

    assert (foreign.status_code, unknown.status_code) == (404, 404)
    assert foreign.json()["title"] == unknown.json()["title"]
    assert (await memory.call("GET", f"/api/v1/memory/{stored['id']}", namespace="ours")).status_code == 200


async def test_private_memory_is_seen_by_its_persona_only(memory: ServiceUnderTest) -> None:
    stored = await store(memory, "Hestia keeps the audit key.", persona="hestia", visibility="private")
    path = f"/api/v1/memory/{stored['id']}"

    assert await contents(memory, "audit key", persona="hestia") == [stored["content"]]
    assert await contents(memory, "audit key", persona="eris") == []
    assert (await memory.call("GET", path, persona="hestia")).status_code == 200
    assert (await memory.call("GET", path, persona="eris")).status_code == 404
    assert (await memory.call("DELETE", path, persona="eris")).status_code == 404
    assert (await memory.call("GET", "/api/v1/memory/recall", persona="eris")).json()["items"] == []


async def test_private_words_do_not_change_the_scores_of_others(memory: ServiceUnderTest) -> None:
    await store(memory, "The gate opens at noon.", namespace="scores")
    await store(memory, "Lunch is served at noon.", namespace="scores")
    before = await search(memory, "gate noon", namespace="scores", persona="eris", mode="keyword")

    await store(memory, "gate gate gate", namespace="scores", persona="hera", visibility="private")

    after = await search(memory, "gate noon", namespace="scores", persona="eris", mode="keyword")
    assert [item["signals"]["keyword"] for item in after] == [item["signals"]["keyword"] for item in before]


async def test_caller_without_persona_sees_its_own_private_memories(memory: ServiceUnderTest) -> None:
    stored = await store(memory, "Mine alone.", visibility="private", namespace="mine")

    assert await contents(memory, "mine", namespace="mine", scopes=WITHOUT_IMPERSONATION) == [stored["content"]]
    assert await contents(memory, "mine", namespace="mine", persona="athena") == []


async def test_impersonation_without_persona_sees_those_of_every_persona(memory: ServiceUnderTest) -> None:
    stored = await store(memory, "Artemis tunes the index.", persona="artemis", visibility="private", namespace="all")

    assert await contents(memory, "index", namespace="all") == [stored["content"]]
    assert await contents(memory, "index", namespace="all", scopes=WITHOUT_IMPERSONATION) == []


async def test_nobody_plants_a_private_memory_in_another_persona(memory: ServiceUnderTest) -> None:
    answer = await memory.call(
        "POST",
        "/api/v1/memory/store",
        json={"content": "You trust me.", "persona_id": "athena", "visibility": "private"},
        persona="eris",
    )

    assert answer.status_code == 403
    assert answer.json()["errors"][0]["pointer"] == "/persona_id"


async def test_neighbours_of_another_persona_lend_no_score(memory: ServiceUnderTest) -> None:
    for minute, (text, persona) in enumerate([("The sky is blue.", "eris"), ("pottery class", "hera")]):
        await store(
            memory,
            text,
            session_id="s",
            occurred_at=f"2024-01-01T00:0{minute}:00Z",
            namespace="beside",
            persona=persona,
            visibility="private",
        )

    (found,) = await search(memory, "pottery class", namespace="beside", persona="eris", mode="semantic")

    assert found["content"] == "The sky is blue."
    assert found["signals"]["neighbour"] == 0


async def test_stats_count_the_callers_namespace_only(memory: ServiceUnderTest) -> None:
    await store(memory, "One here.", namespace="counted")
    await store(memory, "One there.", namespace="elsewhere")

    stats = (await memory.call("GET", "/stats", namespace="counted")).json()

    assert stats["by_tier"] == {"short_term": 0, "long_term": 1}


ELSEWHERE = [
    ("PATCH", "", {"importance": 1.0}),
    ("PATCH", "", {"content": "Stolen."}),
    ("POST", "/restore", None),
    ("GET", "/history", None),
    ("POST", "/share", {"namespace": "theirs"}),
    ("GET", "/shares", None),
    ("DELETE", "/shares/01a202e6-bf77-710f-84ec-7a06ab9dec77", None),
]


@pytest.mark.parametrize(("method", "path", "body"), ELSEWHERE)
@pytest.mark.parametrize("etag", [None, '"1"', '"7"'])
async def test_change_of_another_namespaces_memory_is_as_if_it_did_not_exist(
    memory: ServiceUnderTest, method: str, path: str, body: Any, etag: str | None
) -> None:
    stored = await store(memory, SECRET, namespace="ours")
    missing = "01a202e6-bf77-710f-84ec-7a06ab9dec76"
    request = {"namespace": "theirs", "json": body, "headers": {"If-Match": etag} if etag else {}}

    foreign = await memory.call(method, f"/api/v1/memory/{stored['id']}{path}", **request)
    unknown = await memory.call(method, f"/api/v1/memory/{missing}{path}", **request)

    assert (foreign.status_code, unknown.status_code) == (404, 404)
    hidden = {"instance": None, "trace_id": None}
    assert foreign.json() | hidden == unknown.json() | hidden
    assert set(foreign.headers) == set(unknown.headers)
    kept = (await memory.call("GET", f"/api/v1/memory/{stored['id']}", namespace="ours")).json()
    assert kept["version"] == 1


@pytest.mark.parametrize(("method", "path", "body"), ELSEWHERE)
async def test_change_of_another_personas_private_memory_is_as_if_it_did_not_exist(
    memory: ServiceUnderTest, method: str, path: str, body: Any
) -> None:
    stored = await store(memory, "Hera's own.", persona="hera", visibility="private")

    answer = await memory.call(method, f"/api/v1/memory/{stored['id']}{path}", json=body, persona="eris")

    assert answer.status_code == 404


async def test_deleted_memories_of_another_namespace_are_hidden(memory: ServiceUnderTest) -> None:
    stored = await store(memory, "Thrown away.", namespace="ours")
    await memory.call("DELETE", f"/api/v1/memory/{stored['id']}", namespace="ours")

    listed = await memory.call("GET", "/api/v1/memory/recall?deleted=true", namespace="theirs")

    assert listed.json()["items"] == []
    answer = await memory.call("POST", f"/api/v1/memory/{stored['id']}/restore", namespace="theirs")
    assert answer.status_code == 404


async def test_batch_does_not_tell_what_another_namespace_knows(memory: ServiceUnderTest) -> None:
    stored = await store(memory, SECRET, namespace="ours")

    answer = await memory.call(
        "POST", "/api/v1/memory/store/batch", json={"items": [{"content": SECRET}]}, namespace="guessing"
    )

    (item,) = answer.json()["items"]
    assert (item["status"], item["deduplicated"]) == (201, False)
    assert item["memory_id"] != stored["id"]
    kept = (await memory.call("GET", f"/api/v1/memory/{stored['id']}", namespace="ours")).json()
    assert kept["store_count"] == stored["store_count"]


async def test_patch_to_another_namespaces_content_is_no_conflict(memory: ServiceUnderTest) -> None:
    await store(memory, "Known to us alone.", namespace="ours")
    guess = await store(memory, "A guess.", namespace="theirs")

    answer = await memory.call(
        "PATCH", f"/api/v1/memory/{guess['id']}", json={"content": "Known to us alone."}, namespace="theirs"
    )

    assert answer.status_code == 200


async def test_patch_to_a_private_content_is_no_conflict(memory: ServiceUnderTest) -> None:
    await store(memory, "Hera knows.", persona="hera", visibility="private", namespace="guess")
    guess = await store(memory, "Eris guesses.", persona="eris", namespace="guess")
    path = f"/api/v1/memory/{guess['id']}"

    answers = [
        await memory.call("PATCH", path, json={"content": "Hera knows."}, persona="eris", namespace="guess"),
        await memory.call("PATCH", path, json={"visibility": "private"}, persona="eris", namespace="guess"),
    ]

    assert [answer.status_code for answer in answers] == [200, 200]


async def test_key_of_another_namespace_replays_nothing(memory: ServiceUnderTest) -> None:
    body, key = {"items": [{"content": SECRET}]}, {"Idempotency-Key": "shared-key"}
    first = await memory.call("POST", "/api/v1/memory/store/batch", json=body, namespace="first", headers=key)

    second = await memory.call("POST", "/api/v1/memory/store/batch", json=body, namespace="second", headers=key)

    assert second.json()["items"][0]["memory_id"] != first.json()["items"][0]["memory_id"]


async def test_history_cursor_of_another_namespace_is_refused(memory: ServiceUnderTest) -> None:
    stored = await store(memory, "Changed once.", namespace="ours")
    path = f"/api/v1/memory/{stored['id']}"
    await memory.call("PATCH", path, json={"importance": 0.9}, namespace="ours")
    page = (await memory.call("GET", f"{path}/history?limit=1", namespace="ours")).json()

    answer = await memory.call("GET", f"{path}/history", params={"cursor": page["next_cursor"]}, namespace="theirs")

    assert answer.status_code == 400
