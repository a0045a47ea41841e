"""Changing, completing and deleting tasks."""

import asyncio
from typing import Any

import asyncpg
import pytest

from support.postgres import DatabaseUrls
from support.service import ServiceUnderTest

MISSING = "01900000-0000-7000-8000-000000000000"


async def create(task: ServiceUnderTest, **fields: Any) -> str:
    return (await task.call("POST", "/api/v1/tasks", json={"title": "A task", **fields})).json()["id"]


async def put(task: ServiceUnderTest, task_id: str, **fields: Any) -> Any:
    return await task.call("PUT", f"/api/v1/tasks/{task_id}", json=fields)


async def complete(task: ServiceUnderTest, task_id: str, **body: Any) -> Any:
    return await task.call("POST", f"/api/v1/tasks/{task_id}/complete", json=body)


async def test_put_leaves_other_fields(task: ServiceUnderTest) -> None:
    task_id = await create(task, description="stays", labels=["stays"], priority="high")
    changed = (await put(task, task_id, title="Renamed", progress=40)).json()
    assert (changed["title"], changed["progress"]) == ("Renamed", 40)
    assert (changed["description"], changed["labels"], changed["priority"]) == ("stays", ["stays"], "high")


async def test_put_can_clear_a_field(task: ServiceUnderTest) -> None:
    task_id = await create(task, description="goes", due_at="2030-01-01T00:00:00Z")
    changed = (await put(task, task_id, description=None, due_at=None)).json()
    assert (changed["description"], changed["due_at"]) == (None, None)


async def test_change_grows_the_version(task: ServiceUnderTest) -> None:
    answer = await put(task, await create(task), title="Renamed")
    assert answer.json()["version"] == 2
    assert answer.headers["etag"] == '"2"'


async def test_stale_etag_is_refused(task: ServiceUnderTest) -> None:
    task_id = await create(task)
    await put(task, task_id, title="Somebody else's")
    answer = await task.call("PUT", f"/api/v1/tasks/{task_id}", json={"title": "Mine"}, headers={"If-Match": '"1"'})
    assert answer.status_code == 412


async def test_two_writers_with_one_etag_leave_one_winner(task: ServiceUnderTest) -> None:
    task_id = await create(task)
    writes = [
        task.call("PUT", f"/api/v1/tasks/{task_id}", json={"progress": n}, headers={"If-Match": '"1"'})
        for n in range(10)
    ]
    statuses = sorted([answer.status_code for answer in await asyncio.gather(*writes)])
    assert statuses == [200] + [412] * 9


@pytest.mark.parametrize(
    ("fields", "pointer"),
    [
        ({"title": ""}, "/title"),
        ({"progress": 101}, "/progress"),
        ({"progress": -1}, "/progress"),
        ({"status": "done"}, "/status"),
        ({"created_at": "2026-01-01T00:00:00Z"}, "/created_at"),
        ({"parent_id": MISSING}, "/parent_id"),
        ({"depends_on": [MISSING]}, "/depends_on/0"),
    ],
)
async def test_bad_change_is_refused_by_its_pointer(task: ServiceUnderTest, fields: Any, pointer: str) -> None:
    answer = await put(task, await create(task), **fields)
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["pointer"] == pointer


async def test_null_for_a_field_that_needs_a_value_is_refused(task: ServiceUnderTest) -> None:
    task_id = await create(task)
    for field in ("title", "status", "priority", "progress", "metadata", "labels", "depends_on"):
        answer = await put(task, task_id, **{field: None})
        assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, f"/{field}")


async def test_task_cannot_be_its_own_parent(task: ServiceUnderTest) -> None:
    task_id = await create(task)
    assert (await put(task, task_id, parent_id=task_id)).status_code == 409


async def test_completing_sets_progress_and_result(task: ServiceUnderTest) -> None:
    done = (await complete(task, await create(task), result={"answer": 42})).json()
    assert (done["status"], done["progress"], done["result"]) == ("completed", 100, {"answer": 42})


async def test_completing_needs_no_body(task: ServiceUnderTest) -> None:
    answer = await task.call("POST", f"/api/v1/tasks/{await create(task)}/complete")
    assert answer.json()["status"] == "completed"


async def test_completing_twice_changes_nothing(task: ServiceUnderTest) -> None:
    task_id = await create(task)
    await complete(task, task_id, result={"n": 1})
    again = (await complete(task, task_id, result={"n": 2})).json()
    assert (again["version"], again["result"]) == (2, {"n": 1})


async def test_completing_before_its_dependencies_is_refused(task: ServiceUnderTest) -> None:
    first = await create(task)
    answer = await complete(task, await create(task, depends_on=[first]))
    assert answer.status_code == 409
    assert answer.json()["open_dependencies"] == [first]


async def test_completing_the_last_dependency_makes_a_task_ready(task: ServiceUnderTest) -> None:
    first, second = await create(task), await create(task)
    last = await create(task, depends_on=[first, second])
    await asyncio.gather(complete(task, first), complete(task, second))
    assert (await task.call("GET", f"/api/v1/tasks/{last}")).json()["ready"] is True


async def test_completed_task_is_final(task: ServiceUnderTest) -> None:
    task_id = await create(task)
    await complete(task, task_id)
    answer = await put(task, task_id, status="pending")
    assert answer.status_code == 409
    assert (answer.json()["current"], answer.json()["legal"]) == ("completed", [])


async def test_illegal_transition_names_the_legal_ones(task: ServiceUnderTest) -> None:
    task_id = await create(task)
    await put(task, task_id, status="failed", error="it broke")
    answer = await put(task, task_id, status="completed")
    assert answer.status_code == 409
    assert answer.json()["legal"] == ["pending"]


async def test_refused_transition_writes_nothing(task: ServiceUnderTest) -> None:
    task_id = await create(task)
    await complete(task, task_id)
    await put(task, task_id, status="pending", title="Not this")
    assert (await task.call("GET", f"/api/v1/tasks/{task_id}")).json()["title"] == "A task"


async def test_dependency_on_itself_is_a_cycle(task: ServiceUnderTest) -> None:
    task_id = await create(task)
    answer = await put(task, task_id, depends_on=[task_id])
    assert answer.status_code == 409
    assert answer.json()["errors"][0]["pointer"] == "/depends_on"


async def test_long_way_round_is_a_cycle(task: ServiceUnderTest) -> None:
    first = await create(task)
    second = await create(task, depends_on=[first])
    third = await create(task, depends_on=[second])
    assert (await put(task, first, depends_on=[third])).status_code == 409


async def test_two_halves_of_a_cycle_at_once_leave_one(task: ServiceUnderTest) -> None:
    first, second = await create(task), await create(task)
    answers = await asyncio.gather(put(task, first, depends_on=[second]), put(task, second, depends_on=[first]))
    assert sorted(answer.status_code for answer in answers) == [200, 409]


async def test_changed_dependencies_decide_what_is_ready(task: ServiceUnderTest) -> None:
    done, open_one = await create(task), await create(task)
    await complete(task, done)
    last = await create(task, depends_on=[open_one])
    assert (await put(task, last, depends_on=[done])).json()["ready"] is True


async def test_dependency_named_twice_counts_once(task: ServiceUnderTest) -> None:
    first, last = await create(task), await create(task)
    changed = (await put(task, last, depends_on=[first, first])).json()
    await complete(task, first)
    assert changed["depends_on"] == [first]
    assert (await task.call("GET", f"/api/v1/tasks/{last}")).json()["ready"] is True


async def test_of_two_that_become_each_others_parent_at_once_one_does(task: ServiceUnderTest) -> None:
    first, second = await create(task), await create(task)
    changes = [change for _ in range(10) for change in ((first, second), (second, first))]
    answers = await asyncio.gather(*(put(task, child, parent_id=parent) for child, parent in changes))
    assert {answer.status_code for answer in answers} == {200, 409}
    tasks = [(await task.call("GET", f"/api/v1/tasks/{one}")).json() for one in (first, second)]
    assert sum(one["parent_id"] is not None for one in tasks) == 1


async def test_task_cannot_lie_under_its_own_subtask(task: ServiceUnderTest) -> None:
    top = await create(task)
    middle = await create(task, parent_id=top)
    bottom = await create(task, parent_id=middle)
    refused = await put(task, top, parent_id=bottom)
    assert (refused.status_code, refused.json()["errors"][0]["pointer"]) == (409, "/parent_id")
    assert refused.json()["type"] == "urn:tmws:problem:parent-cycle"


async def test_patch_merges_metadata_and_put_replaces_it(task: ServiceUnderTest) -> None:
    task_id = await create(task, metadata={"a": 1, "b": {"c": 2, "d": 3}})
    patched = await task.call("PATCH", f"/api/v1/tasks/{task_id}", json={"metadata": {"a": None, "b": {"c": 4}}})
    assert patched.json()["metadata"] == {"b": {"c": 4, "d": 3}}
    assert (await put(task, task_id, metadata={"e": 5})).json()["metadata"] == {"e": 5}


async def test_patch_with_a_stale_etag_is_refused(task: ServiceUnderTest) -> None:
    task_id = await create(task)
    await put(task, task_id, title="Another")
    stale = await task.call("PATCH", f"/api/v1/tasks/{task_id}", json={"title": "x"}, headers={"If-Match": '"1"'})
    assert stale.status_code == 412


async def test_deleted_task_is_gone(task: ServiceUnderTest) -> None:
    task_id = await create(task)
    assert (await task.call("DELETE", f"/api/v1/tasks/{task_id}")).status_code == 204
    assert (await task.call("GET", f"/api/v1/tasks/{task_id}")).status_code == 404


async def test_task_that_others_wait_for_is_not_deleted(task: ServiceUnderTest) -> None:
    first = await create(task)
    dependent = await create(task, depends_on=[first])
    answer = await task.call("DELETE", f"/api/v1/tasks/{first}")
    assert answer.status_code == 409
    assert answer.json()["dependents"] == [dependent]


@pytest.mark.parametrize(("method", "suffix"), [("GET", ""), ("PUT", ""), ("DELETE", ""), ("POST", "/complete")])
async def test_missing_task_is_not_found(task: ServiceUnderTest, method: str, suffix: str) -> None:
    body = {"json": {}} if method in {"PUT", "POST"} else {}
    answer = await task.call(method, f"/api/v1/tasks/{MISSING}{suffix}", **body)
    assert answer.status_code == 404


@pytest.mark.parametrize(("method", "suffix"), [("GET", ""), ("PUT", ""), ("DELETE", ""), ("POST", "/complete")])
async def test_task_of_another_namespace_looks_missing(task: ServiceUnderTest, method: str, suffix: str) -> None:
    task_id = await create(task)
    body = {"json": {}} if method in {"PUT", "POST"} else {}
    theirs = await task.call(method, f"/api/v1/tasks/{task_id}{suffix}", namespace="other", **body)
    missing = await task.call(method, f"/api/v1/tasks/{MISSING}{suffix}", namespace="other", **body)
    assert theirs.status_code == missing.status_code == 404
    assert theirs.json() | {"instance": "", "trace_id": ""} == missing.json() | {"instance": "", "trace_id": ""}


async def test_finished_task_leaves_an_event_in_the_outbox(task: ServiceUnderTest, database: DatabaseUrls) -> None:
    task_id = await create(task)
    await complete(task, task_id)
    connection = await asyncpg.connect(database.for_service("task"))
    types = await connection.fetch("SELECT type FROM outbox WHERE subject = $1 ORDER BY position", task_id)
    await connection.close()
    assert [row["type"] for row in types] == ["task.created", "task.completed"]
