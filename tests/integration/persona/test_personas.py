"""Personas: the six built-in ones and one's own."""

from typing import Any

import asyncpg
import pytest

from support.postgres import DatabaseUrls
from support.service import ServiceUnderTest, running, settings_for
from tmws_persona.app import build
from tmws_persona.settings import PersonaSettings

PATH = "/api/v1/personas"
TRINITAS = ["artemis", "athena", "eris", "hera", "hestia", "muses"]


async def ids(persona: ServiceUnderTest, namespace: str) -> list[str]:
    return [item["id"] for item in (await persona.call("GET", PATH, namespace=namespace)).json()["items"]]


async def test_every_namespace_begins_with_the_six(persona: ServiceUnderTest) -> None:
    assert await ids(persona, "fresh-one") == TRINITAS
    assert await ids(persona, "fresh-two") == TRINITAS


async def test_built_in_persona_has_instructions_and_capabilities(persona: ServiceUnderTest) -> None:
    athena = (await persona.call("GET", f"{PATH}/athena")).json()
    assert athena["name"] == "Athena"
    assert "orchestration" in athena["capabilities"]
    assert athena["instructions"]


async def test_edited_built_in_persona_survives_a_restart(persona: ServiceUnderTest, database: DatabaseUrls) -> None:
    await persona.call("PUT", f"{PATH}/hera", json={"description": "Mine now"}, namespace="edited")
    await forget_digests(database)
    async with running(build(settings_for(PersonaSettings, "persona", database)), "persona") as restarted:
        hera = (await restarted.call("GET", f"{PATH}/hera", namespace="edited")).json()
    assert hera["description"] == "Mine now"


async def test_unedited_built_in_persona_follows_a_new_release(
    persona: ServiceUnderTest, database: DatabaseUrls
) -> None:
    await ids(persona, "followed")
    await forget_digests(database, "UPDATE personas SET description = 'old words' WHERE namespace = 'followed'")
    async with running(build(settings_for(PersonaSettings, "persona", database)), "persona") as restarted:
        hera = (await restarted.call("GET", f"{PATH}/hera", namespace="followed")).json()
    assert hera["description"] != "old words"


async def test_deleted_built_in_persona_does_not_come_back(persona: ServiceUnderTest, database: DatabaseUrls) -> None:
    await persona.call("DELETE", f"{PATH}/eris", namespace="deleted")
    async with running(build(settings_for(PersonaSettings, "persona", database)), "persona") as restarted:
        assert "eris" not in await ids(restarted, "deleted")


async def forget_digests(database: DatabaseUrls, also: str = "SELECT 1") -> None:
    """Make the seeds look like those of an older release."""
    connection = await asyncpg.connect(database.for_service("persona"))
    await connection.execute(f"UPDATE persona_seeds SET digest = ''; {also}")
    await connection.close()


async def test_persona_gets_an_id_from_its_name(persona: ServiceUnderTest) -> None:
    answer = await persona.call("POST", PATH, json={"name": "Ada Lovelace", "capabilities": ["mathematics"]})
    assert answer.status_code == 201
    assert answer.json()["id"] == "ada-lovelace"
    assert answer.headers["location"] == f"{PATH}/ada-lovelace"


async def test_taken_id_is_a_conflict(persona: ServiceUnderTest) -> None:
    answer = await persona.call("POST", PATH, json={"id": "athena", "name": "Another"})
    assert answer.status_code == 409
    assert answer.json()["errors"][0]["pointer"] == "/id"


async def test_put_leaves_other_fields(persona: ServiceUnderTest) -> None:
    before = (await persona.call("GET", f"{PATH}/muses", namespace="put")).json()
    after = (await persona.call("PUT", f"{PATH}/muses", json={"name": "The Muses"}, namespace="put")).json()
    assert after["name"] == "The Muses"
    assert after["capabilities"] == before["capabilities"]
    assert after["version"] == before["version"] + 1


async def test_stale_etag_is_refused(persona: ServiceUnderTest) -> None:
    headers = {"If-Match": '"99"'}
    changed = await persona.call("PUT", f"{PATH}/muses", json={"name": "x"}, headers=headers)
    deleted = await persona.call("DELETE", f"{PATH}/muses", headers=headers)
    assert (changed.status_code, deleted.status_code) == (412, 412)


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({}, "/name"),
        ({"name": ""}, "/name"),
        ({"name": "日本"}, "/id"),
        ({"name": "x", "id": "Not A Slug"}, "/id"),
        ({"name": "x", "id": "../etc"}, "/id"),
        ({"name": "x", "capabilities": "all"}, "/capabilities"),
        ({"name": "x", "capabilities": [1]}, "/capabilities/0"),
        (
            {"name": "x", "configuration": {"a": {"b": {"c": {"d": {"e": {"f": {"g": {"h": {"i": 1}}}}}}}}}},
            "/configuration",
        ),
        ({"name": "x", "is_admin": True}, "/is_admin"),
    ],
)
async def test_bad_field_is_refused_by_its_pointer(persona: ServiceUnderTest, body: Any, pointer: str) -> None:
    answer = await persona.call("POST", PATH, json=body)
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["pointer"] == pointer


async def test_missing_persona_is_not_found(persona: ServiceUnderTest) -> None:
    assert (await persona.call("GET", f"{PATH}/nobody")).status_code == 404


async def test_pages_cover_all_personas_once(persona: ServiceUnderTest) -> None:
    seen: list[str] = []
    params: dict[str, Any] = {"limit": 4}
    for _ in range(2):
        page = (await persona.call("GET", PATH, params=params, namespace="paged")).json()
        seen += [item["id"] for item in page["items"]]
        params["cursor"] = page["next_cursor"]
    assert seen == TRINITAS
