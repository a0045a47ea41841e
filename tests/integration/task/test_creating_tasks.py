"""Creating tasks: defaults, dependencies, what is refused, and doing it once."""

import asyncio
from typing import Any

import pytest

from support.service import ServiceUnderTest

MISSING = "01900000-0000-7000-8000-000000000000"


async def create(task: ServiceUnderTest, **fields: Any) -> dict[str, Any]:
    answer = await task.call("POST", "/api/v1/tasks", json={"title": "A task", **fields})
    assert answer.status_code == 201, answer.text
    return answer.json()


async def test_new_task_is_pending_medium_and_ready(task: ServiceUnderTest) -> None:
    created = await create(task)
    assert (created["status"], created["priority"], created["progress"]) == ("pending", "medium", 0)
    assert (created["ready"], created["blocked"], created["overdue"]) == (True, False, False)


async def test_task_can_be_created_in_progress(task: ServiceUnderTest) -> None:
    created = await create(task, status="in_progress", progress=25)
    assert (created["status"], created["progress"], created["ready"]) == ("in_progress", 25, False)


async def test_new_task_has_location_and_etag(task: ServiceUnderTest) -> None:
    answer = await task.call("POST", "/api/v1/tasks", json={"title": "A task"})
    assert answer.headers["location"] == f"/api/v1/tasks/{answer.json()['id']}"
    assert answer.headers["etag"] == '"1"'


async def test_created_task_is_read_back_unchanged(task: ServiceUnderTest) -> None:
    created = await create(task, description="Grüße 🚀", metadata={"a": [1, {"b": None}]}, labels=["x", "y"])
    read = await task.call("GET", f"/api/v1/tasks/{created['id']}")
    assert read.json() == created


async def test_task_with_an_open_dependency_is_blocked(task: ServiceUnderTest) -> None:
    first = await create(task)
    second = await create(task, depends_on=[first["id"]])
    assert (second["ready"], second["blocked"]) == (False, True)
    assert second["depends_on"] == [first["id"]]


async def test_unfinished_task_after_its_due_date_is_overdue(task: ServiceUnderTest) -> None:
    assert (await create(task, due_at="2020-01-01T00:00:00Z"))["overdue"] is True


async def test_same_key_gives_the_same_task(task: ServiceUnderTest) -> None:
    headers = {"Idempotency-Key": "same"}
    first, second = [await task.call("POST", "/api/v1/tasks", json={"title": "x"}, headers=headers) for _ in range(2)]
    assert second.content == first.content
    assert second.headers["idempotent-replayed"] == "true"


async def test_same_key_with_another_body_is_refused(task: ServiceUnderTest) -> None:
    headers = {"Idempotency-Key": "two bodies".replace(" ", "-")}
    await task.call("POST", "/api/v1/tasks", json={"title": "x"}, headers=headers)
    answer = await task.call("POST", "/api/v1/tasks", json={"title": "y"}, headers=headers)
    assert answer.status_code == 422
    assert answer.json()["type"] == "urn:tmws:problem:key-reused"
    assert answer.json()["errors"][0]["pointer"] == "@Idempotency-Key"


async def test_same_key_of_another_namespace_is_another_key(task: ServiceUnderTest) -> None:
    headers = {"Idempotency-Key": "shared-key"}
    mine = await task.call("POST", "/api/v1/tasks", json={"title": "x"}, headers=headers)
    theirs = await task.call("POST", "/api/v1/tasks", json={"title": "x"}, headers=headers, namespace="other")
    assert theirs.status_code == 201
    assert theirs.json()["id"] != mine.json()["id"]


async def test_fifty_requests_with_one_key_make_one_task(task: ServiceUnderTest) -> None:
    async def send() -> int:
        body = {"title": "only once", "labels": ["race"]}
        return (await task.call("POST", "/api/v1/tasks", json=body, headers={"Idempotency-Key": "race"})).status_code

    statuses = await asyncio.gather(*(send() for _ in range(50)))
    found = (await task.call("GET", "/api/v1/tasks", params={"label": "race"})).json()["items"]
    assert len(found) == 1
    assert set(statuses) <= {201, 409}


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({}, "/title"),
        ({"title": ""}, "/title"),
        ({"title": "  "}, "/title"),
        ({"title": "x" * 256}, "/title"),
        ({"title": "nul \0"}, "/title"),
        ({"title": 3}, "/title"),
        ({"title": None}, "/title"),
        ({"title": "x", "id": MISSING}, "/id"),
        ({"title": "x", "namespace": "other"}, "/namespace"),
        ({"title": "x", "status": "completed"}, "/status"),
        ({"title": "x", "priority": "URGENT"}, "/priority"),
        ({"title": "x", "assigned_persona": "Not A Slug"}, "/assigned_persona"),
        ({"title": "x", "due_at": "tomorrow"}, "/due_at"),
        ({"title": "x", "due_at": "2026-01-01T00:00:00"}, "/due_at"),
        ({"title": "x", "due_at": "0001-01-01T00:00:00+23:00"}, "/due_at"),
        ({"title": "x", "metadata": []}, "/metadata"),
        ({"title": "x", "metadata": {"a": "\0"}}, "/metadata"),
        ({"title": "x", "metadata": {"a": 2**64}}, "/metadata"),
        ({"title": "x", "metadata": {str(n): n for n in range(257)}}, "/metadata"),
        ({"title": "x", "metadata": {"a": "x" * 65_536}}, "/metadata"),
        ({"title": "x", "labels": [""]}, "/labels/0"),
        ({"title": "x", "labels": ["a"] * 51}, "/labels"),
        ({"title": "x", "depends_on": ["nope"]}, "/depends_on/0"),
        ({"title": "x", "depends_on": [MISSING]}, "/depends_on/0"),
        ({"title": "x", "due_at": "0001-01-01T00:00:00Z"}, "/due_at"),
        ({"title": "x", "due_at": "9999-12-31T23:59:59.9999999Z"}, "/due_at"),
        ({"title": "x", "parent_id": MISSING}, "/parent_id"),
        (["not an object"], ""),
    ],
)
async def test_bad_field_is_refused_by_its_pointer(task: ServiceUnderTest, body: Any, pointer: str) -> None:
    answer = await task.call("POST", "/api/v1/tasks", json=body)
    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"
    assert [error["pointer"] for error in answer.json()["errors"]] == [pointer]


async def test_rejected_value_is_not_echoed(task: ServiceUnderTest) -> None:
    body = {"title": "x", "priority": "hunter2-value", "depends_on": ["hunter2-id"], "due_at": "hunter2-time"}
    answer = await task.call("POST", "/api/v1/tasks", json=body)
    assert answer.status_code == 422
    assert "hunter2" not in answer.text


async def test_lone_surrogate_is_refused(task: ServiceUnderTest) -> None:
    headers = {"Content-Type": "application/json"}
    answer = await task.call("POST", "/api/v1/tasks", content=b'{"title": "\\ud800"}', headers=headers)
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["pointer"] == "/title"


async def test_dependency_of_another_namespace_does_not_exist(task: ServiceUnderTest) -> None:
    theirs = (await task.call("POST", "/api/v1/tasks", json={"title": "x"}, namespace="other")).json()
    answer = await task.call("POST", "/api/v1/tasks", json={"title": "y", "depends_on": [theirs["id"]]})
    assert answer.status_code == 422


async def test_unknown_dependency_is_named_by_its_place(task: ServiceUnderTest) -> None:
    known = await create(task)
    body = {"title": "x", "depends_on": [known["id"], MISSING]}
    answer = await task.call("POST", "/api/v1/tasks", json=body)
    assert answer.json()["errors"][0]["pointer"] == "/depends_on/1"
