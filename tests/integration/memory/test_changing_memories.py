"""A patch changes what it names, keeps the rest, and what is found follows it at once."""

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
WITHOUT_DELETE = SCOPES - {"memory:delete"}
WITHOUT_IMPERSONATION = SCOPES - {"persona:impersonate"}


async def patch(memory: ServiceUnderTest, stored: dict[str, Any], change: dict[str, Any], **caller: Any) -> Any:
    return await memory.call("PATCH", f"/api/v1/memory/{stored['id']}", json=change, **caller)


async def index_of(database: DatabaseUrls, memory_id: str) -> dict[str, Any]:
    connection = await asyncpg.connect(database.for_service("memory"))
    try:
        row = await connection.fetchrow(
            """SELECT m.number, m.model, c.owner,
                      (SELECT count(*) FROM memory_words w WHERE w.number = m.number) AS words,
                      (SELECT count(*) FROM memory_vectors v WHERE v.number = m.number) AS vectors
               FROM memories m JOIN memory_collections c ON c.id = m.collection WHERE m.id = $1""",
            memory_id,
        )
    finally:
        await connection.close()
    return dict(row)


async def test_patch_leaves_other_fields(memory: ServiceUnderTest) -> None:
    stored = await store(memory, "Keep the rest.", tags=["a"], metadata={"x": 1}, session_id="s")

    answer = await patch(memory, stored, {"importance": 0.9})

    changed = answer.json()
    assert answer.status_code == 200
    assert changed["importance"] == 0.9
    assert {name for name in stored if name in changed and changed[name] != stored[name]} == {
        "importance",
        "version",
        "updated_at",
    }


async def test_patch_answers_with_the_new_etag(memory: ServiceUnderTest) -> None:
    stored = await store(memory, "Tagged.")

    answer = await patch(memory, stored, {"tags": ["new"]})

    assert answer.headers["ETag"] == '"2"'
    assert answer.json()["version"] == 2


@pytest.mark.parametrize("change", [{}, {"importance": 0.5}, {"metadata": {}}, {"content": "Unmoved."}])
async def test_patch_that_changes_nothing_makes_no_version(memory: ServiceUnderTest, change: dict[str, Any]) -> None:
    stored = await store(memory, "Unmoved.", namespace="unmoved")

    answer = await patch(memory, stored, change, namespace="unmoved")

    assert (answer.status_code, answer.json()["version"]) == (200, 1)


async def test_metadata_are_merged(memory: ServiceUnderTest) -> None:
    stored = await store(memory, "Merged.", metadata={"keep": 1, "drop": 2, "deep": {"a": 1, "b": 2}, "list": [1]})

    answer = await patch(memory, stored, {"metadata": {"drop": None, "deep": {"b": 3}, "list": [2], "new": True}})

    assert answer.json()["metadata"] == {"keep": 1, "deep": {"a": 1, "b": 3}, "list": [2], "new": True}


async def test_metadata_must_fit_when_merged(memory: ServiceUnderTest) -> None:
    stored = await store(memory, "Grown.", metadata={"a": "x" * 40_000})

    answer = await patch(memory, stored, {"metadata": {"b": "y" * 40_000}})

    assert answer.status_code == 422
    assert answer.json()["errors"][0]["pointer"] == "/metadata"


async def test_new_content_is_found_and_the_old_is_not(memory: ServiceUnderTest) -> None:
    stored = await store(memory, "The dog barks at night.", namespace="words")

    await patch(memory, stored, {"content": "Quarterly revenue has doubled."}, namespace="words")

    assert await contents(memory, "dog", mode="keyword", namespace="words") == []
    assert await contents(memory, "revenue", mode="keyword", namespace="words") == ["Quarterly revenue has doubled."]
    (found,) = await search(memory, "our income grew twofold", mode="semantic", namespace="words")
    assert found["similarity"] > 0.3


@pytest.mark.parametrize(
    "change",
    [
        {"content": "Something else."},
        {"metadata": {"title": "A title"}},
        {"metadata": {"speaker": "Ada"}},
        {"occurred_at": "2024-05-06T07:08:09Z"},
        {"visibility": "private"},
    ],
)
async def test_change_of_what_is_indexed_gets_a_new_number(
    memory: ServiceUnderTest, database: DatabaseUrls, change: dict[str, Any]
) -> None:
    stored = await store(memory, "Indexed anew.", namespace=f"new-{next(iter(change))}-{len(str(change))}")
    before = await index_of(database, stored["id"])

    answer = await patch(memory, stored, change, namespace=stored["namespace"])

    after = await index_of(database, stored["id"])
    assert answer.status_code == 200, answer.text
    assert after["number"] > before["number"]
    assert (after["words"], after["vectors"]) == (1, 1)


async def test_change_of_nothing_that_is_indexed_keeps_the_number(
    memory: ServiceUnderTest, database: DatabaseUrls
) -> None:
    stored = await store(memory, "Left where it is.")
    before = await index_of(database, stored["id"])

    await patch(memory, stored, {"importance": 0.1, "tags": ["x"], "metadata": {"note": "y"}})

    assert await index_of(database, stored["id"]) == before


async def test_content_changed_without_embedding_service_is_pending_and_found_by_words(
    memory: ServiceUnderTest, memory_alone: ServiceUnderTest
) -> None:
    stored = await store(memory, "first wording", namespace="pending")

    answer = await patch(memory_alone, stored, {"content": "second wording"}, namespace="pending")

    assert answer.json()["embedding_model"] is None
    assert await contents(memory_alone, "second", namespace="pending") == ["second wording"]


async def test_stale_etag_changes_nothing(memory: ServiceUnderTest) -> None:
    stored = await store(memory, "Guarded.")
    await patch(memory, stored, {"importance": 0.1})

    answer = await patch(memory, stored, {"importance": 0.2}, headers={"If-Match": '"1"'})

    assert answer.status_code == 412
    assert (await memory.call("GET", f"/api/v1/memory/{stored['id']}")).json()["importance"] == 0.1


async def test_content_of_another_memory_is_a_conflict_that_names_it(memory: ServiceUnderTest) -> None:
    other = await store(memory, "Taken already.")
    stored = await store(memory, "Will be the same.")

    answer = await patch(memory, stored, {"content": "Taken already."})

    assert answer.status_code == 409
    assert answer.json()["memory_id"] == other["id"]


async def test_many_patches_to_one_content_leave_one_with_it(memory: ServiceUnderTest) -> None:
    several = [await store(memory, f"Rival {n}", namespace="rivals") for n in range(8)]

    answers = await asyncio.gather(
        *(patch(memory, stored, {"content": "The prize."}, namespace="rivals") for stored in several)
    )

    assert sorted(answer.status_code for answer in answers) == [200, *[409] * 7]


async def test_fifty_patches_at_once_are_fifty_versions(memory: ServiceUnderTest) -> None:
    stored = await store(memory, "Popular.", namespace="popular")

    answers = await asyncio.gather(
        *(patch(memory, stored, {"metadata": {f"k{n}": n}}, namespace="popular") for n in range(50))
    )

    assert {answer.status_code for answer in answers} == {200}
    kept = (await memory.call("GET", f"/api/v1/memory/{stored['id']}", namespace="popular")).json()
    assert kept["version"] == 51
    assert kept["metadata"] == {f"k{n}": n for n in range(50)}


async def test_ten_contents_at_once_leave_the_index_of_the_last(
    memory: ServiceUnderTest, database: DatabaseUrls
) -> None:
    stored = await store(memory, "Contested.", namespace="contested")

    await asyncio.gather(
        *(patch(memory, stored, {"content": f"Contested {n}."}, namespace="contested") for n in range(10))
    )

    index = await index_of(database, stored["id"])
    assert (index["words"], index["vectors"]) == (1, 1)
    assert len(await contents(memory, "contested", mode="keyword", namespace="contested")) == 1


async def test_fields_can_be_emptied(memory: ServiceUnderTest) -> None:
    stored = await store(
        memory, "Emptied.", persona_id="hera", session_id="s", occurred_at="2024-01-01T00:00:00Z", tags=["a"]
    )

    change = {"persona_id": None, "session_id": None, "occurred_at": None, "tags": []}
    changed = (await patch(memory, stored, change)).json()

    assert {name: changed[name] for name in change} == change


@pytest.mark.parametrize(
    ("change", "pointer"),
    [
        ({"content": ""}, "/content"),
        ({"content": "x" * 65_537}, "/content"),
        ({"content": None}, "/content"),
        ({"importance": 1.1}, "/importance"),
        ({"importance": "0.5"}, "/importance"),
        ({"metadata": None}, "/metadata"),
        ({"metadata": {"a\u0000": 1}}, "/metadata"),
        ({"tags": ["x"] * 51}, "/tags"),
        ({"tags": [""]}, "/tags/0"),
        ({"session_id": " "}, "/session_id"),
        ({"occurred_at": "yesterday"}, "/occurred_at"),
        ({"tier": "forever"}, "/tier"),
        ({"ttl_seconds": 0}, "/ttl_seconds"),
        ({"ttl_seconds": 10**12}, "/ttl_seconds"),
        ({"tier": "long_term", "ttl_seconds": 60}, "/ttl_seconds"),
        ({"visibility": "public"}, "/visibility"),
        ({"persona_id": "No Slug"}, "/persona_id"),
        ({"namespace": "theirs"}, "/namespace"),
        ({"id": MISSING}, "/id"),
        ({"version": 7}, "/version"),
    ],
)
async def test_wrong_field_is_named_and_nothing_changes(
    memory: ServiceUnderTest, change: dict[str, Any], pointer: str
) -> None:
    stored = await store(memory, "Steadfast.", namespace="steadfast")

    answer = await patch(memory, stored, change | {"importance": change.get("importance", 0.9)}, namespace="steadfast")

    assert answer.status_code == 422
    assert [error["pointer"] for error in answer.json()["errors"]] == [pointer]
    kept = await memory.call("GET", f"/api/v1/memory/{stored['id']}", namespace="steadfast")
    assert kept.json()["version"] == 1


async def test_lifetime_makes_it_short_term(memory: ServiceUnderTest) -> None:
    stored = await store(memory, "Mortal from now on.")

    changed = (await patch(memory, stored, {"ttl_seconds": 600})).json()

    assert changed["tier"] == "short_term"
    assert changed["expires_at"] is not None


async def test_long_term_memory_does_not_expire(memory: ServiceUnderTest) -> None:
    stored = await store(memory, "Kept for good.", ttl_seconds=600)

    changed = (await patch(memory, stored, {"tier": "long_term"})).json()

    assert (changed["tier"], changed["expires_at"]) == ("long_term", None)


async def test_short_term_named_again_keeps_its_end(memory: ServiceUnderTest) -> None:
    stored = await store(memory, "Same end.", ttl_seconds=600)

    changed = (await patch(memory, stored, {"tier": "short_term"})).json()

    assert changed["expires_at"] == stored["expires_at"]


async def test_memory_made_private_is_seen_by_its_owner_only(memory: ServiceUnderTest, database: DatabaseUrls) -> None:
    stored = await store(memory, "No longer for all.", namespace="hidden", persona="hera")

    answer = await patch(memory, stored, {"visibility": "private"}, namespace="hidden", persona="hera")

    assert answer.status_code == 200, answer.text
    assert (await index_of(database, stored["id"]))["owner"] == "persona:hera"
    assert await contents(memory, "longer", namespace="hidden", persona="hera") == ["No longer for all."]
    assert await contents(memory, "longer", namespace="hidden", persona="eris") == []
    path = f"/api/v1/memory/{stored['id']}"
    assert (await memory.call("GET", path, namespace="hidden", persona="eris")).status_code == 404


async def test_private_memory_made_visible_is_found_by_all(memory: ServiceUnderTest) -> None:
    stored = await store(memory, "For all now.", namespace="open", persona="hera", visibility="private")

    await patch(memory, stored, {"visibility": "namespace"}, namespace="open", persona="hera")

    assert await contents(memory, "all", mode="keyword", namespace="open", persona="eris") == ["For all now."]


async def test_nobody_makes_a_memory_private_to_another_persona(memory: ServiceUnderTest) -> None:
    stored = await store(memory, "Stay here.", persona="hera", namespace="stay")

    answer = await patch(memory, stored, {"visibility": "private"}, persona="eris", namespace="stay")

    assert answer.status_code == 403
    assert answer.json()["errors"][0]["pointer"] == "/persona_id"


@pytest.mark.parametrize("change", [{"visibility": "private"}, {"ttl_seconds": 60}])
async def test_taking_a_memory_away_needs_the_right_to_delete(memory: ServiceUnderTest, change: dict[str, Any]) -> None:
    stored = await store(memory, "Needed by all.", persona="hera", namespace="needed")

    answer = await patch(memory, stored, change, persona="hera", namespace="needed", scopes=WITHOUT_DELETE)

    assert answer.status_code == 403
    assert answer.json()["scope"] == "memory:delete"


async def test_memory_is_not_attributed_to_a_foreign_persona(memory: ServiceUnderTest) -> None:
    stored = await store(memory, "Who said it?", persona="eris", namespace="forged")

    answer = await patch(
        memory, stored, {"persona_id": "athena"}, persona="eris", namespace="forged", scopes=WITHOUT_IMPERSONATION
    )

    assert answer.status_code == 403
    assert answer.json()["errors"][0]["pointer"] == "/persona_id"


async def test_foreign_persona_is_not_stored_either(memory: ServiceUnderTest) -> None:
    body = {"content": "I am Athena.", "persona_id": "athena"}

    answer = await memory.call("POST", "/api/v1/memory/store", json=body, persona="eris", scopes=WITHOUT_IMPERSONATION)

    assert answer.status_code == 403
    assert answer.json()["errors"][0]["pointer"] == "/persona_id"


async def test_other_fields_of_a_foreign_personas_memory_can_be_changed(memory: ServiceUnderTest) -> None:
    stored = await store(memory, "Athena said it.", persona="athena", namespace="common")

    answer = await patch(
        memory, stored, {"tags": ["checked"]}, persona="eris", namespace="common", scopes=WITHOUT_IMPERSONATION
    )

    assert (answer.status_code, answer.json()["persona_id"]) == (200, "athena")


@pytest.mark.parametrize("state", ["missing", "deleted"])
async def test_what_is_not_there_cannot_be_changed(memory: ServiceUnderTest, state: str) -> None:
    stored = await store(memory, f"Gone: {state}.")
    await memory.call("DELETE", f"/api/v1/memory/{stored['id']}")

    answer = await patch(memory, {"missing": {"id": MISSING}, "deleted": stored}[state], {"importance": 1.0})

    assert answer.status_code == 404


async def test_changing_needs_its_scope(memory: ServiceUnderTest) -> None:
    stored = await store(memory, "Read only.")

    answer = await patch(memory, stored, {"importance": 1.0}, scopes=frozenset({"memory:read"}))

    assert answer.status_code == 403
