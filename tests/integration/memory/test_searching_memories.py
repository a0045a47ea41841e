"""The right memory is found, whatever surrounds it."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncGenerator
from typing import Any

import asyncpg
import pytest

from support.memories import contents, search, store
from support.postgres import DatabaseUrls
from support.service import ServiceUnderTest
from tmws_memory.words import idf, saturated

SEARCH = "/api/v1/memory/search"
TALK = [
    "Did you end up going last weekend?",
    "Yes, I signed up for the pottery class.",
    "Oh lovely, how long does it take?",
    "Six weeks, every Tuesday evening.",
]
FACTS = [
    "The connection pool of the orders database holds at most forty connections.",
    "Deploys to production happen on Tuesdays at six in the evening.",
    "Rotate the signing keys with the keys command, then restart the gateway.",
    "The billing service is owned by the payments team.",
    "Our logo is green because the founder likes frogs.",
    "日本で梅雨がないのは北海道と小笠原諸島である。",
]


@pytest.fixture
async def facts(memory: ServiceUnderTest) -> ServiceUnderTest:
    for fact in FACTS:
        await store(memory, fact, namespace="facts")
    return memory


@pytest.fixture
async def connection(database: DatabaseUrls) -> AsyncGenerator[asyncpg.Connection]:
    opened = await asyncpg.connect(database.for_service("memory"))
    yield opened
    await opened.close()


@pytest.mark.parametrize(
    ("query", "fact"),
    [
        ("how many database connections may be open", 0),
        ("when do we ship new versions?", 1),
        ("who is responsible for invoices", 3),
        ("what is the mascot animal behind our brand colour", 4),
        ("梅雨がない地域はどこか", 5),
    ],
)
async def test_question_in_other_words_finds_its_answer(facts: ServiceUnderTest, query: str, fact: int) -> None:
    assert (await contents(facts, query, namespace="facts"))[0] == FACTS[fact]


async def test_every_memory_of_a_small_namespace_is_ranked(facts: ServiceUnderTest) -> None:
    assert len(await search(facts, "deploys", namespace="facts")) == len(FACTS)


async def test_keyword_mode_finds_only_shared_words(facts: ServiceUnderTest) -> None:
    found = await search(facts, "rotating keys of the orders", mode="keyword", namespace="facts")

    assert [item["content"] for item in found] == [FACTS[2], FACTS[0]]
    assert {item["similarity"] for item in found} == {None}


async def test_semantic_mode_ignores_words(facts: ServiceUnderTest) -> None:
    found = await search(facts, "signing keys", mode="semantic", namespace="facts")

    assert {item["signals"]["keyword"] for item in found} == {0}
    assert found[0]["content"] == FACTS[2]


async def test_limit_is_honoured(facts: ServiceUnderTest) -> None:
    assert len(await search(facts, "deploys", limit=2, namespace="facts")) == 2


async def test_score_is_the_sum_of_its_signals(facts: ServiceUnderTest) -> None:
    found = await search(facts, "billing team", namespace="facts")

    assert [item["score"] for item in found] == [
        pytest.approx(sum(item["signals"].values()), abs=1e-5) for item in found
    ]


async def test_explanation_says_what_each_signal_saw_and_gave(facts: ServiceUnderTest) -> None:
    (found,) = await search(facts, "signing keys", namespace="facts", limit=1, explain=True)

    explained = found["explain"]
    assert list(explained) == ["semantic", "keyword", "neighbour", "importance", "recency"]
    assert sum(signal["share"] for signal in explained.values()) == pytest.approx(found["score"], abs=1e-5)
    assert explained["semantic"]["value"] == pytest.approx(found["similarity"])
    assert explained["keyword"] == {"value": 1.0, "weight": 0.4, "share": 0.4}
    assert explained["importance"]["value"] == 0.0


async def test_nothing_is_explained_unasked(facts: ServiceUnderTest) -> None:
    (found,) = await search(facts, "signing keys", namespace="facts", limit=1)

    assert found["explain"] is None


async def test_threshold_leaves_only_what_is_similar_enough(facts: ServiceUnderTest) -> None:
    found = await search(facts, "Deploys to production happen on Tuesdays.", threshold=0.7, namespace="facts")

    assert [item["content"] for item in found] == [FACTS[1]]
    assert found[0]["similarity"] >= 0.7


async def test_own_text_has_similarity_of_nearly_one(facts: ServiceUnderTest) -> None:
    found = await search(facts, FACTS[3], namespace="facts")

    assert found[0]["similarity"] == pytest.approx(1, abs=1e-3)


async def test_bm25_of_the_database_is_that_of_the_formula(memory: ServiceUnderTest) -> None:
    for text in ("apple apple pear", "apple plum quince fig date", "pear cherry"):
        await store(memory, text, namespace="fruit")

    found = await search(memory, "apple pear", mode="keyword", namespace="fruit")

    by_content = {item["content"]: item["signals"]["keyword"] for item in found}
    weight, mean = idf(3, 2), 10 / 3
    best = weight * (saturated(2, 3, mean) + saturated(1, 3, mean))
    assert by_content == {
        "apple apple pear": pytest.approx(1),
        "pear cherry": pytest.approx(weight * saturated(1, 2, mean) / best, abs=1e-5),
        "apple plum quince fig date": pytest.approx(weight * saturated(1, 5, mean) / best, abs=1e-5),
    }


async def test_neighbour_in_the_conversation_brings_the_answer_up(memory: ServiceUnderTest) -> None:
    for minute, turn in enumerate(TALK):
        await store(memory, turn, session_id="talk", occurred_at=f"2023-05-08T10:0{minute}:00Z", namespace="talk")
    await store(memory, "Gardening is done in the morning.", namespace="talk")

    found = await search(memory, "pottery class", namespace="talk")

    assert found[0]["content"] == TALK[1]
    beside = {item["content"]: item["signals"]["neighbour"] for item in found}
    assert beside[TALK[2]] > 0.2
    assert beside["Gardening is done in the morning."] == 0


async def test_important_memory_comes_first_among_equals(memory: ServiceUnderTest) -> None:
    await store(memory, "Call the plumber about the sink.", importance=0.1, namespace="equals")
    await store(memory, "Call the plumber about the sink!", importance=0.9, namespace="equals")

    assert (await contents(memory, "plumber sink", namespace="equals"))[0] == "Call the plumber about the sink!"


async def test_long_content_is_found_by_its_last_part_and_returned_whole(memory: ServiceUnderTest) -> None:
    content = (
        "The weather was grey and the train was late again. " * 150 + "The marmot hides its chocolate in the attic."
    )
    await store(memory, content, namespace="long")
    await store(memory, "Trains are late when the weather is grey.", namespace="long")

    found = await search(memory, "Where does the marmot keep its sweets?", mode="semantic", namespace="long")

    assert found[0]["content"] == content
    assert found[0]["similarity"] > found[1]["similarity"] + 0.1


@pytest.fixture
async def library(memory: ServiceUnderTest) -> ServiceUnderTest:
    """Sixty notes, of which every twentieth is special."""
    if not await search(memory, "note", namespace="library", limit=1):
        await asyncio.gather(*(_shelve(memory, number) for number in range(60)))
    return memory


async def _shelve(memory: ServiceUnderTest, number: int) -> None:
    is_rare = number % 20 == 0
    await store(
        memory,
        f"Note {number} about the harbour and its ships.",
        namespace="library",
        tags=["rare", "note"] if is_rare else ["note"],
        importance=0.9 if is_rare else 0.3,
        metadata={"shelf": {"row": 7 if is_rare else 1, "side": "left"}},
        persona_id="muses" if is_rare else "hera",
        session_id="rare-session" if is_rare else None,
        tier="short_term" if is_rare else "long_term",
    )


@pytest.mark.parametrize(
    "filters",
    [
        {"tags": ["rare"]},
        {"tags": ["note", "rare"]},
        {"metadata": {"shelf": {"row": 7}}},
        {"importance_min": 0.8},
        {"persona_id": "muses"},
        {"session_id": "rare-session"},
        {"tier": "short_term"},
        {"tags": ["note"], "importance_min": 0.8, "persona_id": "muses"},
    ],
    ids=str,
)
async def test_filter_leaves_exactly_what_satisfies_it(library: ServiceUnderTest, filters: dict[str, Any]) -> None:
    found = await contents(library, "harbour ships", filters=filters, namespace="library")

    assert sorted(found) == [f"Note {number} about the harbour and its ships." for number in (0, 20, 40)]


async def test_creation_time_limits_the_search(library: ServiceUnderTest) -> None:
    (first,) = await search(library, "note 0", limit=1, filters={"tags": ["rare"]}, namespace="library")

    before = await search(library, "note", filters={"created_before": "2020-01-01T00:00:00Z"}, namespace="library")
    after = await search(library, "note", filters={"created_after": "2020-01-01T00:00:00Z"}, namespace="library")

    assert first["created_at"] > "2020"
    assert (len(before), len(after)) == (0, 10)


async def test_vector_of_another_model_is_never_compared(
    memory: ServiceUnderTest, connection: asyncpg.Connection
) -> None:
    await store(memory, "Vectors age.", namespace="models")
    await connection.execute("INSERT INTO memory_models (name, precision) VALUES ('old', 'int8')")
    await connection.execute(
        """UPDATE memory_vectors SET model = (SELECT id FROM memory_models WHERE name = 'old')
           WHERE number IN (SELECT number FROM memories WHERE namespace = 'models')"""
    )

    by_meaning = await search(memory, "Vectors age.", mode="semantic", namespace="models")
    by_words = await search(memory, "Vectors age.", namespace="models")

    assert by_meaning == []
    assert [item["similarity"] for item in by_words] == [None]


async def test_hybrid_falls_back_to_words_and_says_so(facts: ServiceUnderTest, memory_alone: ServiceUnderTest) -> None:
    answer = await memory_alone.call("POST", SEARCH, json={"query": "signing keys"}, namespace="facts")

    found = answer.json()
    assert (answer.status_code, found["degraded"]) == (200, ["semantic"])
    assert found["results"][0]["content"] == FACTS[2]


async def test_keyword_search_does_not_miss_the_embedding_service(
    facts: ServiceUnderTest, memory_alone: ServiceUnderTest
) -> None:
    body = {"query": "signing keys", "mode": "keyword"}

    answer = await memory_alone.call("POST", SEARCH, json=body, namespace="facts")

    assert (answer.status_code, answer.json()["degraded"]) == (200, [])


@pytest.mark.parametrize("body", [{"mode": "semantic"}, {"threshold": 0.5}], ids=str)
async def test_search_that_needs_vectors_answers_503_without_them(
    memory_alone: ServiceUnderTest, body: dict[str, Any]
) -> None:
    answer = await memory_alone.call("POST", SEARCH, json={"query": "signing keys", **body})

    assert answer.status_code == 503
    assert "Retry-After" in answer.headers


async def test_finding_counts_as_use(database: DatabaseUrls, memory: ServiceUnderTest) -> None:
    stored = await store(memory, "Seldom used.", namespace="uses")

    await search(memory, "seldom", namespace="uses")
    await asyncio.sleep(1.5)

    used = (await memory.call("GET", f"/api/v1/memory/{stored['id']}", namespace="uses")).json()
    assert used["access_count"] == 1
    assert used["last_accessed_at"] is not None
    assert used["version"] == stored["version"]


@pytest.mark.parametrize(
    "query", ["?!", "🎉", "שלום", "the of and", "x" * 8192, "'); DROP TABLE x; --", "a & b | !c:*"]
)
async def test_any_query_is_answered(facts: ServiceUnderTest, query: str) -> None:
    found = await search(facts, query, namespace="facts")

    assert all(math.isfinite(item["score"]) for item in found)


async def test_empty_namespace_has_no_results(memory: ServiceUnderTest) -> None:
    assert await search(memory, "anything", namespace="empty") == []


BAD: list[tuple[dict[str, Any], str]] = [
    ({}, "/query"),
    ({"query": ""}, "/query"),
    ({"query": "  "}, "/query"),
    ({"query": "a\x00"}, "/query"),
    ({"query": "x" * 8193}, "/query"),
    ({"query": ["x"]}, "/query"),
    ({"query": "x", "limit": 0}, "/limit"),
    ({"query": "x", "limit": 101}, "/limit"),
    ({"query": "x", "limit": "10"}, "/limit"),
    ({"query": "x", "mode": "vector"}, "/mode"),
    ({"query": "x", "threshold": 1.5}, "/threshold"),
    ({"query": "x", "threshold": 0.5, "mode": "keyword"}, "/threshold"),
    ({"query": "x", "mode": "keyword", "threshold": 0.5}, "/threshold"),
    ({"query": "x", "namespace": "other"}, "/namespace"),
    ({"query": "x", "filters": []}, "/filters"),
    ({"query": "x", "filters": {"owner": "me"}}, "/filters/owner"),
    ({"query": "x", "filters": {"tags": ["\x00"]}}, "/filters/tags/0"),
    ({"query": "x", "filters": {"metadata": {"a": "\x00"}}}, "/filters/metadata"),
    ({"query": "x", "filters": {"importance_min": 2}}, "/filters/importance_min"),
    ({"query": "x", "filters": {"tier": "none"}}, "/filters/tier"),
    ({"query": "x", "filters": {"created_after": "now"}}, "/filters/created_after"),
]


@pytest.mark.parametrize(("body", "pointer"), BAD, ids=lambda value: value if isinstance(value, str) else "")
async def test_bad_field_of_a_search_is_named(memory: ServiceUnderTest, body: dict[str, Any], pointer: str) -> None:
    answer = await memory.call("POST", SEARCH, json=body)

    assert answer.status_code == 422, answer.text
    assert [error["pointer"] for error in answer.json()["errors"]] == [pointer]
