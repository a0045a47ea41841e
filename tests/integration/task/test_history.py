"""History, comments, events and the graph of tasks."""

import asyncio
from itertools import pairwise

import asyncpg
import pytest

from support.postgres import DatabaseUrls
from support.service import ServiceUnderTest, running, settings_for
from support.tasks import Board
from tmws_contracts.common import Page
from tmws_contracts.task_history import Comment, TaskEvent, TaskGraph
from tmws_task.settings import TaskSettings
from tmws_task.worker import build as build_worker


@pytest.fixture
def board(task: ServiceUnderTest) -> Board:
    return Board(task)


async def fetch(database: DatabaseUrls, statement: str, *values) -> list:
    connection = await asyncpg.connect(database.for_service("task"))
    try:
        return await connection.fetch(statement, *values)
    finally:
        await connection.close()


async def test_every_step_of_a_task_is_in_its_history(board: Board):
    created = await board.create()
    (one,) = await board.claim("ada")
    await board.post(one, "progress", claim_token=one["claim_token"], progress=10, note="n")
    await board.post(one, "input", claim_token=one["claim_token"], question="?")
    await board.post(one, "answer", answer="!")
    (one,) = await board.claim("bob")
    await board.post(one, "release", claim_token=one["claim_token"])
    (one,) = await board.claim("eve")
    await board.post(one, "fail", claim_token=one["claim_token"], error="broken")
    await board.post(one, "reopen")
    (one,) = await board.claim("ada")
    await board.complete(one)
    events = await board.events(created)
    assert [event["action"] for event in events] == [
        "created", "claimed", "progressed", "input_required", "answered", "claimed", "released", "claimed", "failed",
        "reopened", "claimed", "completed",
    ]  # fmt: skip
    assert [event["version"] for event in events] == list(range(1, 13))
    assert all(after["from_status"] == before["to_status"] for before, after in pairwise(events))
    assert [event["note"] for event in events if event["note"]] == ["n", "?", "!", "broken"]
    assert events[1]["agent"] == "ada"


async def test_change_says_what_was_and_what_is(board: Board):
    created = await board.create(title="Old", labels=["a"])
    await board.call("PATCH", f"/{created['id']}", json={"title": "New", "labels": ["a", "b"]}, persona="hera")
    event = (await board.events(created))[-1]
    assert event["changes"] == {"title": {"from": "Old", "to": "New"}, "labels": {"from": ["a"], "to": ["a", "b"]}}
    assert (event["author"], event["persona"]) == ("tester", "hera")


async def test_history_is_answered_as_the_contract_says(board: Board):
    created = await board.create()
    await board.call("PATCH", f"/{created['id']}", json={"title": "New"})
    answer = await board.call("GET", f"/{created['id']}/events")
    Page[TaskEvent].model_validate_json(answer.content)


async def test_history_comes_in_pages(board: Board):
    created = await board.create()
    for number in range(4):
        await board.call("PATCH", f"/{created['id']}", json={"title": f"Title {number}"})
    first = (await board.call("GET", f"/{created['id']}/events", params={"limit": 3})).json()
    second = await board.call("GET", f"/{created['id']}/events", params={"limit": 3, "cursor": first["next_cursor"]})
    assert [event["version"] for event in first["items"] + second.json()["items"]] == [1, 2, 3, 4, 5]


@pytest.mark.parametrize("statement", ["UPDATE task_events SET author = 'x'", "DELETE FROM task_events"])
async def test_history_is_not_changed(board: Board, database: DatabaseUrls, statement: str):
    created = await board.create()
    with pytest.raises(asyncpg.RaiseError):
        await fetch(database, f"{statement} WHERE task_id = $1", created["id"])


async def test_history_goes_with_its_task(board: Board, database: DatabaseUrls):
    created = await board.create()
    await board.post(created, "comments", body="hello")
    assert (await board.call("DELETE", f"/{created['id']}")).status_code == 204
    rows = await fetch(database, "SELECT 1 FROM task_events WHERE task_id = $1", created["id"])
    assert rows == []


async def test_comment_is_kept_with_who_said_it(board: Board):
    created = await board.create()
    said = await board.call("POST", f"/{created['id']}/comments", json={"body": "Looks good"}, persona="hera")
    assert said.status_code == 201
    answer = await board.call("GET", f"/{created['id']}/comments")
    (comment,) = Page[Comment].model_validate_json(answer.content).items
    assert (comment.body, comment.persona, comment.author) == ("Looks good", "hera", "tester")


async def test_blank_comment_is_refused(board: Board):
    answer = await board.post(await board.create(), "comments", body="  ")
    assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, "/body")


@pytest.mark.parametrize("what", ["events", "comments", "graph"])
async def test_another_namespaces_task_shows_nothing(board: Board, task: ServiceUnderTest, what: str):
    created = await board.create()
    assert (await Board(task).call("GET", f"/{created['id']}/{what}")).status_code == 404
    assert (await Board(task).post(created, "comments", body="x")).status_code == 404


async def test_changes_are_told_in_small_events(board: Board, database: DatabaseUrls):
    created = await board.create(title="T", assigned_persona="hera")
    (one,) = await board.claim("ada", personas=["hera"])
    await board.post(one, "release", claim_token=one["claim_token"])
    (one,) = await board.claim("ada", personas=["hera"])
    await board.complete(one)
    rows = await fetch(database, "SELECT type, data FROM outbox WHERE subject = $1 ORDER BY position", created["id"])
    assert [row["type"] for row in rows] == [
        "task.created", "task.claimed", "task.released", "task.ready", "task.claimed", "task.completed",
    ]  # fmt: skip
    assert '"title": "T"' in rows[0]["data"]
    assert '"assigned_persona": "hera"' in rows[0]["data"]
    assert '"ready": true' in rows[0]["data"]


async def test_completion_tells_what_it_has_made_ready(board: Board, database: DatabaseUrls):
    first = await board.create()
    second = await board.create(depends_on=[first["id"]])
    await board.complete(first)
    rows = await fetch(database, "SELECT type FROM outbox WHERE subject = $1 ORDER BY position", second["id"])
    assert [row["type"] for row in rows] == ["task.created", "task.ready"]


async def test_graph_has_both_directions_as_far_as_asked(board: Board):
    ids = [(await board.create(title="0"))["id"]]
    for number in range(1, 5):
        ids.append((await board.create(title=str(number), depends_on=[ids[-1]]))["id"])
    near = TaskGraph.model_validate_json((await board.call("GET", f"/{ids[2]}/graph", params={"depth": 1})).content)
    assert [(node.title, node.distance) for node in near.nodes] == [("2", 0), ("1", 1), ("3", 1)]
    assert len(near.edges) == 2
    assert near.is_cut_off
    whole = (await board.call("GET", f"/{ids[2]}/graph")).json()
    assert {node["title"]: node["ready"] for node in whole["nodes"]} == {"0": True} | dict.fromkeys("1234", False)
    assert not whole["is_cut_off"]


async def test_finished_tasks_are_counted_as_they_change(board: Board, task: ServiceUnderTest):
    async def stats() -> dict:
        return (await task.call("GET", "/stats", namespace=board.namespace)).json()

    first, second, third = [await board.create() for _ in range(3)]
    await board.complete(first)
    await board.post(second, "cancel")
    assert (await stats())["by_status"] | {"in_progress": 0} == {
        "pending": 1, "in_progress": 0, "input_required": 0, "completed": 1, "failed": 0, "cancelled": 1,
    }  # fmt: skip
    await board.post(second, "reopen")
    await board.call("DELETE", f"/{first['id']}")
    counted = await stats()
    assert (counted["by_status"]["cancelled"], counted["by_status"]["completed"], counted["ready"]) == (0, 0, 2)
    assert third["id"]


async def test_worker_adds_up_what_was_counted(board: Board, database: DatabaseUrls, task: ServiceUnderTest):
    await board.complete(await board.create())
    noted = "SELECT 1 FROM task_count_changes WHERE namespace = $1"
    assert len(await fetch(database, noted, board.namespace)) == 1
    async with running(build_worker(settings_for(TaskSettings, "task", database)), "task-worker"), asyncio.timeout(10):
        while await fetch(database, noted, board.namespace):
            await asyncio.sleep(0.02)
    stats = (await task.call("GET", "/stats", namespace=board.namespace)).json()
    assert stats["by_status"]["completed"] == 1
