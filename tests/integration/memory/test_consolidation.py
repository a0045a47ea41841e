"""Consolidation: shown before it is done, done as a whole, taken back exactly."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from support.bulk import exported
from support.memories import contents, store
from support.service import ServiceUnderTest
from tmws_contracts.scopes import SCOPES

MISSING = "01a202e6-bf77-710f-84ec-7a06ab9dec76"
PATH = "/api/v1/memory/consolidate"


async def three(memory: ServiceUnderTest, namespace: str, **fields: Any) -> list[dict[str, Any]]:
    """Store three memories that differ in all that is united."""
    first = await store(
        memory, f"The {namespace} office is closed on Mondays.", tags=["a"], namespace=namespace, **fields
    )
    await store(memory, first["content"], namespace=namespace, **fields)
    second = await store(
        memory,
        f"The {namespace} office is closed on Monday.",
        tags=["b", "a"],
        importance=0.9,
        namespace=namespace,
        **fields,
    )
    third = await store(
        memory, f"The {namespace} office closes on Mondays.", tags=["c"], importance=0.1, namespace=namespace, **fields
    )
    return [await get(memory, each["id"], namespace, **fields) for each in (first, second, third)]


async def get(memory: ServiceUnderTest, memory_id: str, namespace: str, **caller: Any) -> dict[str, Any]:
    caller = {key: value for key, value in caller.items() if key == "persona"}
    return (await memory.call("GET", f"/api/v1/memory/{memory_id}", namespace=namespace, **caller)).json()


async def consolidate(memory: ServiceUnderTest, namespace: str, **wanted: Any) -> dict[str, Any]:
    answer = await memory.call("POST", PATH, json={"dry_run": False, **wanted}, namespace=namespace)
    assert answer.status_code == 201, answer.text
    return answer.json()["consolidations"][0]


async def undo(memory: ServiceUnderTest, consolidation_id: str, namespace: str) -> Any:
    return await memory.call("POST", f"/api/v1/memory/consolidations/{consolidation_id}/undo", namespace=namespace)


def ids(memories: list[dict[str, Any]]) -> list[str]:
    return [each["id"] for each in memories]


def unchanging(record: dict[str, Any]) -> dict[str, Any]:
    """What an undo must bring back: all but the version, and the time of the last change."""
    return {key: value for key, value in record.items() if key not in {"version", "updated_at"}}


async def test_dry_run_shows_what_would_happen_and_changes_nothing(memory: ServiceUnderTest) -> None:
    stored = await three(memory, "dry")

    answer = await memory.call("POST", PATH, json={"memory_ids": ids(stored)}, namespace="dry")

    (plan,) = answer.json()["consolidations"]
    assert (answer.status_code, answer.json()["dry_run"], plan["id"]) == (200, True, None)
    assert plan["keep"] == stored[1]["id"]
    assert plan["before"]["tags"] == ["b", "a"]
    assert plan["after"] == {
        "tags": ["b", "a", "c"], "importance": 0.9, "store_count": 4, "tier": "long_term", "expires_at": None,
    }  # fmt: skip
    assert {each["id"] for each in plan["removed"]} == {stored[0]["id"], stored[2]["id"]}
    assert [await get(memory, each, "dry") for each in ids(stored)] == stored


async def test_applied_it_does_what_the_dry_run_showed(memory: ServiceUnderTest) -> None:
    stored = await three(memory, "done")
    plan = (await memory.call("POST", PATH, json={"memory_ids": ids(stored)}, namespace="done")).json()[
        "consolidations"
    ]

    done = await consolidate(memory, "done", memory_ids=ids(stored))

    kept = await get(memory, done["keep"], "done")
    fields = ("keep", "before", "after", "removed")
    assert [done[field] for field in fields] == [plan[0][field] for field in fields]
    assert (kept["tags"], kept["importance"], kept["store_count"]) == (["b", "a", "c"], 0.9, 4)
    assert await contents(memory, "office Mondays", namespace="done") == [stored[1]["content"]]


async def test_the_one_to_keep_can_be_named(memory: ServiceUnderTest) -> None:
    stored = await three(memory, "named")

    done = await consolidate(memory, "named", memory_ids=ids(stored), keep=stored[2]["id"])

    assert done["keep"] == stored[2]["id"]
    assert [record["content"] for record in await exported(memory, namespace="named")] == [stored[2]["content"]]


async def test_lasting_memory_is_not_lost_in_a_passing_one(memory: ServiceUnderTest) -> None:
    passing = await store(memory, "The gate opens at nine.", ttl_seconds=3600, namespace="lasting")
    lasting = await store(memory, "The gate opens at 9.", namespace="lasting")

    await consolidate(memory, "lasting", memory_ids=[passing["id"], lasting["id"]], keep=passing["id"])

    kept = await get(memory, passing["id"], "lasting")
    assert (kept["tier"], kept["expires_at"]) == ("long_term", None)


async def test_several_clusters_are_done_as_a_whole_or_not_at_all(memory: ServiceUnderTest) -> None:
    stored = await three(memory, "whole")
    other = await store(memory, "Something else.", namespace="whole")
    clusters = [{"memory_ids": ids(stored)[:2]}, {"memory_ids": [other["id"], MISSING]}]

    answer = await memory.call("POST", PATH, json={"clusters": clusters, "dry_run": False}, namespace="whole")

    assert answer.status_code == 404
    assert answer.json()["errors"] == [
        {"pointer": "/clusters/1/memory_ids/1", "detail": "must be a memory that you may change"}
    ]
    assert len(await exported(memory, namespace="whole")) == 4


async def test_history_of_each_tells_of_it(memory: ServiceUnderTest) -> None:
    stored = await three(memory, "told")
    done = await consolidate(memory, "told", memory_ids=ids(stored))

    kept = await memory.call("GET", f"/api/v1/memory/{done['keep']}/history", namespace="told")
    removed = await memory.call("GET", f"/api/v1/memory/{done['removed'][0]['id']}/history", namespace="told")

    assert kept.json()["items"][0]["action"] == "consolidated"
    assert kept.json()["items"][0]["changes"]["store_count"] == {"from": 1, "to": 4}
    assert removed.json()["items"][0]["action"] == "deleted"
    assert removed.json()["items"][0]["changes"]["consolidated_into"]["to"] == done["keep"]


async def test_undo_brings_everything_back_exactly(memory: ServiceUnderTest) -> None:
    stored = await three(memory, "undone")
    before = await exported(memory, "?vectors=true", namespace="undone")
    done = await consolidate(memory, "undone", memory_ids=ids(stored))

    answer = await undo(memory, done["id"], "undone")

    after = await exported(memory, "?vectors=true", namespace="undone")
    assert answer.status_code == 200
    assert answer.json()["undone_by"] == "tester"
    assert [unchanging(record) for record in after] == [unchanging(record) for record in before]
    assert len(await contents(memory, "office Mondays", namespace="undone")) == 3


async def test_undo_twice_is_undo_once(memory: ServiceUnderTest) -> None:
    stored = await three(memory, "twice")
    done = await consolidate(memory, "twice", memory_ids=ids(stored))
    first = await undo(memory, done["id"], "twice")

    second = await undo(memory, done["id"], "twice")

    assert second.json() == first.json()


async def test_undo_is_refused_when_the_kept_one_was_changed(memory: ServiceUnderTest) -> None:
    stored = await three(memory, "changed")
    done = await consolidate(memory, "changed", memory_ids=ids(stored))
    await memory.call("PATCH", f"/api/v1/memory/{done['keep']}", json={"importance": 0.3}, namespace="changed")

    answer = await undo(memory, done["id"], "changed")

    assert answer.status_code == 409
    assert answer.json()["changed"] == [{"memory_id": done["keep"], "detail": "was changed"}]
    assert len(await exported(memory, namespace="changed")) == 1


async def test_undo_names_what_was_erased_restored_or_stored_again(memory: ServiceUnderTest) -> None:
    stored = [
        *await three(memory, "fate"),
        await store(memory, "The fate office is shut on Mondays.", namespace="fate"),
    ]
    done = await consolidate(memory, "fate", memory_ids=ids(stored), keep=stored[0]["id"])
    erased, restored, again = stored[1:]
    await memory.call("DELETE", f"/api/v1/memory/{erased['id']}?purge=true", namespace="fate")
    await memory.call("POST", f"/api/v1/memory/{restored['id']}/restore", namespace="fate")
    anew = await store(memory, again["content"], namespace="fate")

    answer = await undo(memory, done["id"], "fate")

    assert answer.status_code == 409
    assert {each["memory_id"]: each["detail"] for each in answer.json()["changed"]} == {
        erased["id"]: "was erased",
        restored["id"]: "was restored or changed",
        again["id"]: f"was stored again as {anew['id']}",
    }


async def test_undo_without_the_embedding_service_leaves_it_pending(
    memory: ServiceUnderTest, memory_alone: ServiceUnderTest
) -> None:
    stored = await three(memory, "alone")
    done = await consolidate(memory, "alone", memory_ids=ids(stored))

    answer = await undo(memory_alone, done["id"], "alone")

    removed = await get(memory, done["removed"][0]["id"], "alone")
    assert answer.status_code == 200
    assert removed["embedding_model"] is None
    assert len(await contents(memory, "office", namespace="alone", mode="keyword")) == 3


async def test_consolidations_are_listed_newest_first(memory: ServiceUnderTest) -> None:
    stored = [*await three(memory, "list"), await store(memory, "One more.", namespace="list")]
    first = await consolidate(memory, "list", memory_ids=ids(stored)[:2])
    second = await consolidate(memory, "list", memory_ids=ids(stored)[2:])
    path = "/api/v1/memory/consolidations?limit=1"

    page = (await memory.call("GET", path, namespace="list")).json()
    rest = (await memory.call("GET", f"{path}&cursor={page['next_cursor']}", namespace="list")).json()

    assert page["items"] == [second]
    assert rest["items"] == [first]
    assert rest["next_cursor"] is None


async def test_retry_with_the_same_key_does_it_once(memory: ServiceUnderTest) -> None:
    stored = await three(memory, "key")
    body = {"memory_ids": ids(stored), "dry_run": False}

    first = await memory.call("POST", PATH, json=body, headers={"idempotency-key": "c1"}, namespace="key")
    second = await memory.call("POST", PATH, json=body, headers={"idempotency-key": "c1"}, namespace="key")

    assert (first.status_code, second.status_code) == (201, 201)
    assert second.json() == first.json()


async def test_same_cluster_by_many_at_once_is_done_once(memory: ServiceUnderTest) -> None:
    stored = await three(memory, "race")
    body = {"memory_ids": ids(stored), "dry_run": False}

    answers = await asyncio.gather(*(memory.call("POST", PATH, json=body, namespace="race") for _ in range(8)))

    assert sorted(answer.status_code for answer in answers) == [201] + [404] * 7
    assert (await get(memory, stored[1]["id"], "race"))["store_count"] == 4


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({}, ""),
        ({"memory_ids": [MISSING]}, "/memory_ids"),
        ({"memory_ids": [MISSING, MISSING]}, "/memory_ids"),
        ({"memory_ids": [MISSING, "x"]}, "/memory_ids/1"),
        ({"clusters": []}, "/clusters"),
        ({"clusters": [{"memory_ids": [MISSING]}]}, "/clusters/0/memory_ids"),
        (
            {"memory_ids": [MISSING, MISSING[:-1] + "7"], "clusters": [{"memory_ids": [MISSING, MISSING[:-1] + "7"]}]},
            "",
        ),
        ({"memory_ids": [MISSING, MISSING[:-1] + "7"], "keep": MISSING[:-1] + "8"}, "/keep"),
        ({"memory_ids": [MISSING, MISSING[:-1] + "7"], "dry_run": "no"}, "/dry_run"),
        ({"memory_ids": [MISSING, MISSING[:-1] + "7"], "merge": True}, "/merge"),
    ],
)
async def test_bad_request_is_refused_by_name(memory: ServiceUnderTest, body: dict[str, Any], pointer: str) -> None:
    answer = await memory.call("POST", PATH, json=body)

    assert answer.status_code == 422
    assert answer.json()["errors"][0]["pointer"] == pointer


async def test_memory_in_two_clusters_is_refused(memory: ServiceUnderTest) -> None:
    stored = await three(memory, "both")
    clusters = [{"memory_ids": ids(stored)[:2]}, {"memory_ids": ids(stored)[1:]}]

    answer = await memory.call("POST", PATH, json={"clusters": clusters}, namespace="both")

    assert answer.status_code == 422
    assert answer.json()["errors"][0]["pointer"] == "/clusters/1/memory_ids/0"


async def test_memories_seen_by_different_people_are_not_made_one(memory: ServiceUnderTest) -> None:
    public = await store(memory, "For all.", namespace="seen", persona="hera")
    private = await store(memory, "For me.", visibility="private", persona="hera", namespace="seen")
    body = {"memory_ids": [public["id"], private["id"]]}

    answer = await memory.call("POST", PATH, json=body, persona="hera", namespace="seen")

    assert answer.status_code == 422
    assert answer.json()["errors"][0]["pointer"] == "/memory_ids"


async def test_others_cannot_consolidate_see_or_undo(memory: ServiceUnderTest) -> None:
    stored = await three(memory, "owned")
    more = await three(memory, "owned2")
    done = await consolidate(memory, "owned", memory_ids=ids(stored))

    foreign = await memory.call("POST", PATH, json={"memory_ids": ids(more)}, namespace="stranger")
    unknown = await memory.call("POST", PATH, json={"memory_ids": [MISSING, MISSING[:-1] + "7"]}, namespace="stranger")
    listed = await memory.call("GET", "/api/v1/memory/consolidations", namespace="stranger")
    undone = await undo(memory, done["id"], "stranger")
    missing = await undo(memory, MISSING, "stranger")

    assert (foreign.status_code, unknown.status_code, foreign.json()["title"]) == (404, 404, unknown.json()["title"])
    assert listed.json()["items"] == []
    assert (undone.status_code, missing.status_code, undone.json()["title"]) == (404, 404, missing.json()["title"])


async def test_private_memories_of_another_persona_cannot_be_consolidated(memory: ServiceUnderTest) -> None:
    stored = await three(memory, "hers", persona="hera", visibility="private")

    answer = await memory.call("POST", PATH, json={"memory_ids": ids(stored)}, persona="eris", namespace="hers")

    assert answer.status_code == 404


async def test_doing_it_needs_the_right_to_delete(memory: ServiceUnderTest) -> None:
    stored = await three(memory, "rights")
    body = {"memory_ids": ids(stored), "dry_run": False}

    answer = await memory.call("POST", PATH, json=body, scopes=SCOPES - {"memory:delete"}, namespace="rights")

    assert answer.status_code == 403
    assert len(await exported(memory, namespace="rights")) == 3
