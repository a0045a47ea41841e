"""Listing tasks: filters, orders, cursors; who may see what."""

from typing import Any

import pytest

from support.service import ServiceUnderTest

PATH = "/api/v1/tasks"


async def create(task: ServiceUnderTest, namespace: str, **fields: Any) -> str:
    answer = await task.call("POST", PATH, json={"title": "A task", **fields}, namespace=namespace)
    return answer.json()["id"]


async def titles(task: ServiceUnderTest, namespace: str, **params: Any) -> list[str]:
    answer = await task.call("GET", PATH, params=params, namespace=namespace)
    assert answer.status_code == 200, answer.text
    return [item["title"] for item in answer.json()["items"]]


async def test_newest_comes_first(task: ServiceUnderTest) -> None:
    for title in "abc":
        await create(task, "newest", title=title)
    assert await titles(task, "newest") == ["c", "b", "a"]


@pytest.mark.parametrize(
    ("sort", "expected"), [("oldest", "abcd"), ("priority", "cdab"), ("due", "bdac"), ("newest", "dcba")]
)
async def test_pages_follow_the_order_without_gap_or_repeat(task: ServiceUnderTest, sort: str, expected: str) -> None:
    namespace = f"pages-{sort}"
    await create(task, namespace, title="a", priority="low")
    await create(task, namespace, title="b", priority="low", due_at="2030-01-01T00:00:00Z")
    await create(task, namespace, title="c", priority="urgent")
    await create(task, namespace, title="d", priority="high", due_at="2031-01-01T00:00:00.123456Z")
    seen, cursor = "", {}
    for _ in range(4):
        answer = await task.call("GET", PATH, params={"limit": 1, "sort": sort, **cursor}, namespace=namespace)
        seen += answer.json()["items"][0]["title"]
        cursor = {"cursor": answer.json()["next_cursor"]}
    assert seen == expected
    assert cursor["cursor"] is None


async def test_filters_narrow_the_list(task: ServiceUnderTest) -> None:
    first = await create(task, "filters", title="first", labels=["x"], assigned_persona="athena")
    await create(task, "filters", title="second", depends_on=[first], priority="high", parent_id=first)
    await task.call("PUT", f"{PATH}/{first}", json={"status": "in_progress"}, namespace="filters")
    assert await titles(task, "filters", status="in_progress") == ["first"]
    assert await titles(task, "filters", status=["in_progress", "pending"]) == ["second", "first"]
    assert await titles(task, "filters", label="x") == ["first"]
    assert await titles(task, "filters", assigned_persona="athena") == ["first"]
    assert await titles(task, "filters", priority="high") == ["second"]
    assert await titles(task, "filters", parent_id=first) == ["second"]
    assert await titles(task, "filters", ready="true") == []
    assert await titles(task, "filters", updated_since="2100-01-01T00:00:00Z") == []


async def test_list_shows_one_namespace_only(task: ServiceUnderTest) -> None:
    await create(task, "mine", title="mine")
    await create(task, "theirs", title="theirs")
    assert await titles(task, "mine") == ["mine"]


async def test_cursor_with_other_filters_is_refused(task: ServiceUnderTest) -> None:
    for title in "ab":
        await create(task, "cursor", title=title)
    page = await task.call("GET", PATH, params={"limit": 1}, namespace="cursor")
    cursor = page.json()["next_cursor"]
    changed = await task.call(
        "GET", PATH, params={"limit": 1, "cursor": cursor, "status": "failed"}, namespace="cursor"
    )
    foreign = await task.call("GET", PATH, params={"limit": 1, "cursor": cursor}, namespace="elsewhere")
    forged = await task.call("GET", PATH, params={"cursor": "A" * 40}, namespace="cursor")
    assert [answer.status_code for answer in (changed, foreign, forged)] == [400, 400, 400]


@pytest.mark.parametrize(
    "params", [{"limit": 0}, {"limit": 201}, {"limit": "9" * 5000}, {"limit": "x"}, {"sort": "title"}]
)
async def test_bad_query_parameter_is_named(task: ServiceUnderTest, params: dict[str, Any]) -> None:
    answer = await task.call("GET", PATH, params=params)
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["pointer"] == f"?{next(iter(params))}"


async def test_unknown_query_parameter_is_refused_by_its_name(task: ServiceUnderTest) -> None:
    answer = await task.call("GET", PATH, params={"statsu": "pending"})
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["pointer"] == "?statsu"


async def test_pointer_of_a_repeated_parameter_is_its_name(task: ServiceUnderTest) -> None:
    answer = await task.call("GET", PATH, params={"status": ["pending", "nonsense"]})
    assert answer.json()["errors"][0]["pointer"] == "?status"


async def test_stats_count_by_status(task: ServiceUnderTest) -> None:
    first = await create(task, "stats")
    await create(task, "stats", depends_on=[first])
    stats = (await task.call("GET", "/stats", namespace="stats")).json()
    assert (stats["by_status"]["pending"], stats["ready"]) == (2, 1)


async def test_reading_needs_the_scope(task: ServiceUnderTest) -> None:
    answer = await task.call("GET", PATH, scopes=frozenset({"task:write"}))
    assert answer.status_code == 403
    assert answer.json()["error"] == "insufficient_scope"


async def test_writing_needs_the_scope(task: ServiceUnderTest) -> None:
    answer = await task.call("POST", PATH, json={"title": "x"}, scopes=frozenset({"task:read"}))
    assert answer.status_code == 403


async def test_no_token_is_refused(task: ServiceUnderTest) -> None:
    answer = await task.client.get(PATH)
    assert answer.status_code == 401
