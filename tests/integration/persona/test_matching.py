"""Finding a persona for a piece of work, by the service with a real model."""

from typing import Any

import asyncpg
import pytest

from support.postgres import DatabaseUrls
from support.service import ServiceUnderTest
from tmws_contracts.scopes import SCOPES

pytestmark = pytest.mark.usefixtures("embedding")
PERSONAS = "/api/v1/personas"


async def match(persona: ServiceUnderTest, namespace: str = "default", **body: Any) -> dict[str, Any]:
    answer = await persona.call("POST", f"{PERSONAS}/match", json=body, namespace=namespace)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def best(persona: ServiceUnderTest, namespace: str = "default", **body: Any) -> str:
    return (await match(persona, namespace, **body))["items"][0]["id"]


async def vectors(database: DatabaseUrls, namespace: str) -> dict[str, bytes]:
    connection = await asyncpg.connect(database.for_service("persona"))
    try:
        rows = await connection.fetch("SELECT * FROM persona_vectors WHERE namespace = $1", namespace)
    finally:
        await connection.close()
    return {row["persona_id"]: row["embedding"] for row in rows}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("our web pages take ten seconds to load", "artemis"),
        ("was somebody trying to break into the system with a stolen password?", "hestia"),
        ("two colleagues argue about who has to do it", "eris"),
        ("put down what we learned, so that others can read it next year", "muses"),
    ],
)
async def test_meaning_finds_the_persona(persona: ServiceUnderTest, text: str, expected: str) -> None:
    assert await best(persona, text=text) == expected


async def test_capability_finds_its_persona(persona: ServiceUnderTest) -> None:
    found = await match(persona, capabilities=["roadmap"])
    assert [(item["id"], item["score"]) for item in found["items"]] == [("hera", 1.0)]
    assert found["degraded"] == []


async def test_changed_persona_is_found_by_what_it_is_now(persona: ServiceUnderTest, database: DatabaseUrls) -> None:
    await persona.call("POST", PERSONAS, json={"id": "cook", "name": "Cook"}, namespace="changing")
    await match(persona, "changing", text="dinner")
    before = await vectors(database, "changing")
    change = {"description": "Prepares dinner for guests.", "capabilities": ["recipes"]}
    await persona.call("PUT", f"{PERSONAS}/cook", json=change, namespace="changing")
    assert await best(persona, "changing", text="a meal for our visitors") == "cook"
    after = await vectors(database, "changing")
    assert {name for name in before if before[name] != after[name]} == {"cook"}


async def test_deleted_persona_leaves_no_vector(persona: ServiceUnderTest, database: DatabaseUrls) -> None:
    await match(persona, "deleting", text="anything")
    await persona.call("DELETE", f"{PERSONAS}/eris", namespace="deleting")
    assert "eris" not in await vectors(database, "deleting")
    assert "eris" not in [item["id"] for item in (await match(persona, "deleting", text="team conflict"))["items"]]


async def test_personas_of_another_namespace_are_not_found(persona: ServiceUnderTest) -> None:
    body = {"id": "diver", "name": "Diver", "capabilities": ["diving"]}
    await persona.call("POST", PERSONAS, json=body, namespace="elsewhere")
    found = await match(persona, "here", text="diving", capabilities=["diving"], limit=50)
    assert "diver" not in [item["id"] for item in found["items"]]


async def test_words_answer_while_the_embedding_service_is_down(persona_alone: ServiceUnderTest) -> None:
    found = await match(persona_alone, text="a security audit")
    assert found["items"][0]["id"] == "hestia"
    assert found["items"][0]["signals"]["semantic"] is None
    assert found["degraded"] == ["semantic"]


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({}, ""),
        ({"text": ""}, "/text"),
        ({"text": "  "}, "/text"),
        ({"text": "x" * 8_193}, "/text"),
        ({"text": 1}, "/text"),
        ({"text": "x", "limit": 0}, "/limit"),
        ({"text": "x", "limit": 51}, "/limit"),
        ({"text": "x", "capabilities": ["x"] * 21}, "/capabilities"),
        ({"text": "x", "capabilities": [""]}, "/capabilities/0"),
        ({"text": "x", "persona": "athena"}, "/persona"),
    ],
)
async def test_bad_search_is_refused_by_its_pointer(persona_alone: ServiceUnderTest, body: Any, pointer: str) -> None:
    answer = await persona_alone.call("POST", f"{PERSONAS}/match", json=body)
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["pointer"] == pointer


async def test_longest_text_in_any_script_is_answered(persona: ServiceUnderTest) -> None:
    for letter in ("a", "字", "\U0001d518", "\u202e", "\U000e0041"):
        assert (await match(persona, text=letter * 8_192))["degraded"] == []


async def test_searching_needs_the_scope(persona_alone: ServiceUnderTest) -> None:
    scopes = SCOPES - {"persona:read"}
    answer = await persona_alone.call("POST", f"{PERSONAS}/match", json={"text": "x"}, scopes=scopes)
    assert answer.status_code == 403


async def test_name_of_the_call_is_no_id(persona_alone: ServiceUnderTest) -> None:
    for body in ({"name": "Match"}, {"id": "match", "name": "x"}):
        answer = await persona_alone.call("POST", PERSONAS, json=body)
        assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, "/id")
