"""Memories are listed by criteria, page by page."""

from __future__ import annotations

from typing import Any

import pytest

from support.memories import search, store
from support.service import ServiceUnderTest

RECALL = "/api/v1/memory/recall"
IMPORTANCE = [0.5, 0.9, 0.1, 0.9, 0.3]


@pytest.fixture
async def five(memory: ServiceUnderTest) -> ServiceUnderTest:
    for number, importance in enumerate(IMPORTANCE):
        await store(
            memory,
            f"memory {number}",
            namespace="five",
            importance=importance,
            tags=["even"] if number % 2 == 0 else ["odd", "third"],
            session_id="s" if number < 2 else None,
            persona_id="hera" if number == 4 else "muses",
            tier="short_term" if number == 3 else None,
        )
    return memory


async def recall(memory: ServiceUnderTest, **params: Any) -> list[str]:
    answer = await memory.call("GET", RECALL, namespace="five", params=params)
    assert answer.status_code == 200, answer.text
    return [item["content"] for item in answer.json()["items"]]


def named(*numbers: int) -> list[str]:
    return [f"memory {number}" for number in numbers]


@pytest.mark.parametrize(
    ("params", "expected"),
    [
        ({}, (4, 3, 2, 1, 0)),
        ({"sort": "oldest"}, (0, 1, 2, 3, 4)),
        ({"sort": "importance"}, (3, 1, 0, 4, 2)),
        ({"tags": "even"}, (4, 2, 0)),
        ({"tags": ["odd", "third"]}, (3, 1)),
        ({"tags": ["odd", "even"]}, ()),
        ({"session_id": "s"}, (1, 0)),
        ({"persona_id": "hera"}, (4,)),
        ({"tier": "short_term"}, (3,)),
        ({"importance_min": 0.5, "sort": "oldest"}, (0, 1, 3)),
        ({"created_before": "2020-01-01T00:00:00Z"}, ()),
        ({"created_after": "2020-01-01T00:00:00Z", "tags": "odd"}, (3, 1)),
    ],
    ids=str,
)
async def test_criteria_and_order_are_honoured(
    five: ServiceUnderTest, params: dict[str, Any], expected: tuple[int, ...]
) -> None:
    assert await recall(five, **params) == named(*expected)


@pytest.mark.parametrize("sort", ["newest", "oldest", "importance", "used"])
async def test_pages_continue_without_gap_or_repetition(five: ServiceUnderTest, sort: str) -> None:
    await search(five, "memory", namespace="five")
    await five.app.state.searcher._accesses.flush()
    whole = await recall(five, sort=sort)

    first = (await five.call("GET", RECALL, namespace="five", params={"sort": sort, "limit": 3})).json()
    rest = (
        await five.call(
            "GET", RECALL, namespace="five", params={"sort": sort, "limit": 3, "cursor": first["next_cursor"]}
        )
    ).json()

    assert [item["content"] for item in first["items"] + rest["items"]] == whole
    assert rest["next_cursor"] is None


async def test_cursor_does_not_fit_other_filters(five: ServiceUnderTest) -> None:
    first = (await five.call("GET", RECALL, namespace="five", params={"limit": 2})).json()

    other = await five.call(
        "GET", RECALL, namespace="five", params={"limit": 2, "tags": "odd", "cursor": first["next_cursor"]}
    )
    elsewhere = await five.call("GET", RECALL, namespace="six", params={"limit": 2, "cursor": first["next_cursor"]})

    assert (other.status_code, elsewhere.status_code) == (400, 400)


@pytest.mark.parametrize(
    ("params", "pointer"),
    [
        ({"sort": "best"}, "?sort"),
        ({"limit": 0}, "?limit"),
        ({"limit": 201}, "?limit"),
        ({"importance_min": 1.5}, "?importance_min"),
        ({"importance_min": "nan"}, "?importance_min"),
        ({"tier": "x"}, "?tier"),
        ({"persona_id": "Not A Slug"}, "?persona_id"),
        ({"session_id": "\x00"}, "?session_id"),
        ({"created_after": "now"}, "?created_after"),
    ],
    ids=str,
)
async def test_bad_criterion_is_named(memory: ServiceUnderTest, params: dict[str, Any], pointer: str) -> None:
    answer = await memory.call("GET", RECALL, params=params)

    assert answer.status_code == 422, answer.text
    assert [error["pointer"] for error in answer.json()["errors"]] == [pointer]
