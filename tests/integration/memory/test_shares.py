"""A shared memory is read and found by whom it was shared with, until the share ends; never changed by them."""

from __future__ import annotations

import asyncio
from typing import Any

import asyncpg
import pytest

from support.memories import contents, search, store
from support.postgres import DatabaseUrls
from support.service import ServiceUnderTest
from tmws_contracts.scopes import SCOPES

MISSING = "01a202e6-bf77-710f-84ec-7a06ab9dec76"
RECALL = "/api/v1/memory/recall"


async def share(memory: ServiceUnderTest, stored: dict[str, Any], body: dict[str, Any], **caller: Any) -> Any:
    return await memory.call("POST", f"/api/v1/memory/{stored['id']}/share", json=body, **caller)


async def shares(memory: ServiceUnderTest, stored: dict[str, Any], **caller: Any) -> list[dict[str, Any]]:
    answer = await memory.call("GET", f"/api/v1/memory/{stored['id']}/shares", **caller)
    assert answer.status_code == 200, answer.text
    return answer.json()["items"]


async def reads(memory: ServiceUnderTest, stored: dict[str, Any], **caller: Any) -> int:
    return (await memory.call("GET", f"/api/v1/memory/{stored['id']}", **caller)).status_code


async def end(database: DatabaseUrls, share_id: str) -> None:
    connection = await asyncpg.connect(database.for_service("memory"))
    await connection.execute("UPDATE memory_shares SET expires_at = now() - interval '1 s' WHERE id = $1", share_id)
    await connection.close()


async def test_share_is_answered_as_it_was_made(memory: ServiceUnderTest) -> None:
    stored = await store(memory, "To be shared.")

    answer = await share(memory, stored, {"persona_id": "hera", "namespace": "b", "ttl_seconds": 600})

    made = answer.json()
    assert answer.status_code == 201
    assert (made["memory_id"], made["namespace"], made["persona_id"]) == (stored["id"], "b", "hera")
    assert made["created_by"] == "tester"
    assert made["expires_at"] > made["created_at"]
    assert answer.headers["Location"] == f"/api/v1/memory/{stored['id']}/shares/{made['id']}"
    assert await shares(memory, stored) == [made]


async def test_namespace_reads_finds_and_lists_what_is_shared_with_it(memory: ServiceUnderTest) -> None:
    stored = await store(memory, "The lighthouse keeper retired.", namespace="giving")
    assert await reads(memory, stored, namespace="taking") == 404

    await share(memory, stored, {"namespace": "taking"}, namespace="giving")

    assert await reads(memory, stored, namespace="taking") == 200
    assert await contents(memory, "lighthouse", mode="keyword", namespace="taking") == [stored["content"]]
    assert await contents(memory, "who works at the sea signal?", mode="semantic", namespace="taking") == [
        stored["content"]
    ]
    listed = (await memory.call("GET", RECALL, params={"shared": True}, namespace="taking")).json()["items"]
    assert [item["id"] for item in listed] == [stored["id"]]


async def test_plain_recall_shows_no_other_namespace(memory: ServiceUnderTest) -> None:
    stored = await store(memory, "Abroad.", namespace="abroad")
    await share(memory, stored, {"namespace": "home"}, namespace="abroad")

    assert (await memory.call("GET", RECALL, namespace="home")).json()["items"] == []


async def test_share_with_a_persona_is_for_it_alone(memory: ServiceUnderTest) -> None:
    stored = await store(memory, "For Artemis only.", namespace="giver")

    await share(memory, stored, {"persona_id": "artemis", "namespace": "taker"}, namespace="giver")

    assert await reads(memory, stored, namespace="taker", persona="artemis") == 200
    assert await reads(memory, stored, namespace="taker", persona="eris") == 404
    assert await reads(memory, stored, namespace="taker") == 404
    assert await reads(memory, stored, namespace="elsewhere", persona="artemis") == 404


async def test_private_memory_is_shared_with_a_persona_of_the_same_namespace(memory: ServiceUnderTest) -> None:
    stored = await store(memory, "Between us.", persona="hera", visibility="private", namespace="pair")

    await share(memory, stored, {"persona_id": "artemis"}, persona="hera", namespace="pair")

    assert await contents(memory, "between", namespace="pair", persona="artemis") == ["Between us."]
    assert await contents(memory, "between", namespace="pair", persona="eris") == []


async def test_twice_shared_memory_is_listed_once(memory: ServiceUnderTest) -> None:
    stored = await store(memory, "Shared both ways.", namespace="both")
    await share(memory, stored, {"namespace": "receiver"}, namespace="both")
    await share(memory, stored, {"namespace": "receiver", "persona_id": "hera"}, namespace="both")

    query = {"params": {"shared": True}, "namespace": "receiver", "persona": "hera"}
    listed = (await memory.call("GET", RECALL, **query)).json()["items"]

    assert [item["id"] for item in listed] == [stored["id"]]
    assert len(await search(memory, "both ways", namespace="receiver", persona="hera")) == 1


async def test_revoked_share_ends_at_once(memory: ServiceUnderTest) -> None:
    stored = await store(memory, "Taken back.", namespace="lender")
    made = (await share(memory, stored, {"namespace": "borrower"}, namespace="lender")).json()

    answer = await memory.call("DELETE", f"/api/v1/memory/{stored['id']}/shares/{made['id']}", namespace="lender")

    assert (answer.status_code, answer.content) == (204, b"")
    assert await reads(memory, stored, namespace="borrower") == 404
    assert await contents(memory, "taken back", namespace="borrower") == []
    assert await shares(memory, stored, namespace="lender") == []


async def test_expired_share_ends_at_once(memory: ServiceUnderTest, database: DatabaseUrls) -> None:
    stored = await store(memory, "For a while.", namespace="host")
    made = (await share(memory, stored, {"namespace": "guest", "ttl_seconds": 60}, namespace="host")).json()

    await end(database, made["id"])

    assert await reads(memory, stored, namespace="guest") == 404
    assert await contents(memory, "for a while", namespace="guest") == []
    assert (await memory.call("GET", RECALL, params={"shared": True}, namespace="guest")).json()["items"] == []
    assert await shares(memory, stored, namespace="host") == []


async def test_sharing_again_only_moves_the_end(memory: ServiceUnderTest, database: DatabaseUrls) -> None:
    stored = await store(memory, "Renewed.", namespace="renewing")
    first = await share(memory, stored, {"namespace": "reader", "ttl_seconds": 60}, namespace="renewing")
    await end(database, first.json()["id"])

    again = await share(memory, stored, {"namespace": "reader"}, namespace="renewing")

    assert (first.status_code, again.status_code) == (201, 200)
    assert (again.json()["id"], again.json()["expires_at"]) == (first.json()["id"], None)
    assert await reads(memory, stored, namespace="reader") == 200


async def test_ten_equal_shares_at_once_are_one(memory: ServiceUnderTest) -> None:
    stored = await store(memory, "Shared in a hurry.", namespace="hurry")

    answers = await asyncio.gather(
        *(share(memory, stored, {"namespace": "rushed"}, namespace="hurry") for _ in range(10))
    )

    assert sorted(answer.status_code for answer in answers) == [*[200] * 9, 201]
    assert len(await shares(memory, stored, namespace="hurry")) == 1


async def test_same_key_shares_once(memory: ServiceUnderTest) -> None:
    stored = await store(memory, "Shared once.")
    key = {"Idempotency-Key": "share"}

    first = await share(memory, stored, {"namespace": "c"}, headers=key)
    again = await share(memory, stored, {"namespace": "c"}, headers=key)

    assert (again.status_code, again.json()) == (201, first.json())


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("PATCH", "", {"importance": 1.0}),
        ("DELETE", "", None),
        ("DELETE", "?purge=true", None),
        ("POST", "/restore", None),
        ("POST", "/share", {"namespace": "further"}),
        ("GET", "/shares", None),
        ("DELETE", f"/shares/{MISSING}", None),
        ("GET", "/history", None),
    ],
)
async def test_receiver_may_read_and_nothing_else(
    memory: ServiceUnderTest, method: str, path: str, body: dict[str, Any] | None
) -> None:
    stored = await store(memory, "Look, do not touch.", namespace="museum")
    await share(memory, stored, {"namespace": "visitor"}, namespace="museum")

    answer = await memory.call(method, f"/api/v1/memory/{stored['id']}{path}", json=body, namespace="visitor")

    assert answer.status_code == 403
    assert answer.json()["type"] == "urn:tmws:problem:only-shared"
    assert await reads(memory, stored, namespace="museum") == 200


async def test_receivers_own_store_of_the_content_is_its_own(memory: ServiceUnderTest) -> None:
    stored = await store(memory, "Said by both.", namespace="left")
    await share(memory, stored, {"namespace": "right"}, namespace="left")

    own = await store(memory, "Said by both.", namespace="right")

    assert own["id"] != stored["id"]
    assert not own["deduplicated"]


async def test_deleted_memory_is_shown_to_nobody_until_it_is_restored(memory: ServiceUnderTest) -> None:
    stored = await store(memory, "Shown again.", namespace="owner")
    await share(memory, stored, {"namespace": "friend"}, namespace="owner")
    await memory.call("DELETE", f"/api/v1/memory/{stored['id']}", namespace="owner")
    assert await reads(memory, stored, namespace="friend") == 404

    await memory.call("POST", f"/api/v1/memory/{stored['id']}/restore", namespace="owner")

    assert await contents(memory, "shown again", namespace="friend") == ["Shown again."]


async def test_changed_memory_is_found_by_its_new_words(memory: ServiceUnderTest) -> None:
    stored = await store(memory, "Old wording.", namespace="writer")
    await share(memory, stored, {"namespace": "audience"}, namespace="writer")

    await memory.call("PATCH", f"/api/v1/memory/{stored['id']}", json={"content": "Fresh text."}, namespace="writer")

    assert await contents(memory, "fresh", mode="keyword", namespace="audience") == ["Fresh text."]
    assert await contents(memory, "wording", mode="keyword", namespace="audience") == []


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({}, "/namespace"),
        ({"ttl_seconds": 600}, "/namespace"),
        ({"namespace": "Not A Slug"}, "/namespace"),
        ({"persona_id": ""}, "/persona_id"),
        ({"namespace": "b", "ttl_seconds": 0}, "/ttl_seconds"),
        ({"namespace": "b", "ttl_seconds": 10**12}, "/ttl_seconds"),
        ({"namespace": "b", "expires_at": "2001-01-01T00:00:00Z"}, "/expires_at"),
        ({"namespace": "b", "expires_at": "2100-01-01T00:00:00Z", "ttl_seconds": 60}, "/ttl_seconds"),
        ({"namespace": "b", "read_only": False}, "/read_only"),
    ],
)
async def test_wrong_field_is_named(memory: ServiceUnderTest, body: dict[str, Any], pointer: str) -> None:
    stored = await store(memory, "Not shared.")

    answer = await share(memory, stored, body)

    assert answer.status_code == 422
    assert [error["pointer"] for error in answer.json()["errors"]] == [pointer]


async def test_sharing_needs_its_scope(memory: ServiceUnderTest) -> None:
    stored = await store(memory, "Kept in house.")
    made = (await share(memory, stored, {"namespace": "d"})).json()
    path = f"/api/v1/memory/{stored['id']}/shares/{made['id']}"

    for answer in (
        await share(memory, stored, {"namespace": "e"}, scopes=SCOPES - {"memory:share"}),
        await memory.call("DELETE", path, scopes=SCOPES - {"memory:share"}),
    ):
        assert (answer.status_code, answer.json()["scope"]) == (403, "memory:share")


async def test_unknown_share_is_not_found(memory: ServiceUnderTest) -> None:
    stored, other = await store(memory, "One shared."), await store(memory, "Other shared.")
    made = (await share(memory, other, {"namespace": "f"})).json()

    for share_id in (MISSING, made["id"]):
        answer = await memory.call("DELETE", f"/api/v1/memory/{stored['id']}/shares/{share_id}")
        assert answer.status_code == 404
    assert len(await shares(memory, other)) == 1


async def test_pages_of_shares_continue_without_gap_or_repetition(memory: ServiceUnderTest) -> None:
    stored = await store(memory, "Widely shared.")
    for n in range(5):
        await share(memory, stored, {"namespace": f"n{n}"})
    path = f"/api/v1/memory/{stored['id']}/shares"

    first = (await memory.call("GET", path, params={"limit": 3})).json()
    rest = (await memory.call("GET", path, params={"limit": 3, "cursor": first["next_cursor"]})).json()

    assert [item["namespace"] for item in first["items"] + rest["items"]] == [f"n{n}" for n in range(5)]
