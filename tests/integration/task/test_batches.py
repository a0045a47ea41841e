"""Many operations at once: whole graphs, all or nothing, each by itself."""

from typing import Any

import pytest

from support.service import ServiceUnderTest
from support.tasks import Board
from tmws_contracts.task_batch import TaskBatchResult

MISSING = "01900000-0000-7000-8000-000000000000"


@pytest.fixture
def board(task: ServiceUnderTest) -> Board:
    return Board(task)


def create(ref: str | None = None, **fields: Any) -> dict[str, Any]:
    return {"op": "create", "title": ref or "A task", **({"ref": ref} if ref else {}), **fields}


async def run(board: Board, *operations: dict[str, Any], **options: Any) -> Any:
    return await board.call("POST", "/batch", json={"operations": list(operations), **options})


async def statuses(board: Board, *operations: dict[str, Any], **options: Any) -> list[int]:
    answer = await run(board, *operations, **options)
    assert answer.status_code == 200, answer.text
    return [item["status"] for item in answer.json()["items"]]


async def test_whole_graph_goes_in_at_once_in_any_order(board: Board):
    answer = await run(
        board,
        create("d", depends_on=["#b", "#c"], priority="urgent"),
        create("b", depends_on=["#a"], priority="low"),
        create("c", depends_on=["#a"], parent_id="#d"),
        create("a", priority="low"),
    )
    items = answer.json()["items"]
    TaskBatchResult.model_validate_json(answer.content)
    assert [item["status"] for item in items] == [201] * 4
    d, b, c, a = [await board.get(item["id"]) for item in items]
    assert set(d["depends_on"]) == {b["id"], c["id"]}
    assert (c["parent_id"], a["effective_priority"], b["effective_priority"]) == (d["id"], "urgent", "urgent")
    assert [one["ready"] for one in (a, b, c, d)] == [True, False, False, False]


async def test_graph_of_a_batch_is_worked_off_in_its_order(board: Board):
    await run(board, create("c", depends_on=["#b"]), create("b", depends_on=["#a"]), create("a"))
    done = []
    while claimed := await board.claim():
        done.append(claimed[0]["title"])
        await board.complete(claimed[0])
    assert done == ["a", "b", "c"]


async def test_five_hundred_tasks_in_a_chain_are_made(board: Board):
    chain = [create("t0"), *(create(f"t{n}", depends_on=[f"#t{n - 1}"]) for n in range(1, 499))]
    last = create("t499", depends_on=["#t498"], priority="urgent")
    assert await statuses(board, *chain, last) == [201] * 500
    (first,) = await board.claim()
    assert (first["title"], first["effective_priority"]) == ("t0", "urgent")


async def test_circle_is_refused_by_the_operations_that_close_it(board: Board):
    answer = await run(
        board, create("x"), create("a", depends_on=["#x", "#b"]), create("b", depends_on=["#a"]),
        create("c", depends_on=["#b"]),
    )  # fmt: skip
    items = answer.json()["items"]
    assert [item["status"] for item in items] == [201, 409, 409, 409]
    assert items[1]["problem"]["errors"][0]["pointer"] == "/operations/1/depends_on/1"
    assert items[1]["problem"]["type"] == "urn:tmws:problem:dependency-cycle"
    assert items[3]["problem"]["type"] == "urn:tmws:problem:operation-skipped"


async def test_atomic_batch_keeps_nothing_when_one_fails(board: Board):
    answer = await run(board, create("a"), {"op": "complete", "id": MISSING}, atomic=True)
    assert (answer.status_code, answer.json()["operation"]) == (404, 1)
    assert (await board.call("GET")).json()["items"] == []


async def test_others_of_a_batch_that_is_not_atomic_go_on(board: Board):
    existing = await board.create()
    assert await statuses(
        board,
        {"op": "complete", "id": existing["id"], "result": {"n": 1}},
        {"op": "cancel", "id": existing["id"]},
        {"op": "nonsense"},
        create(title=""),
        create(depends_on=[MISSING]),
        create("good"),
        {"op": "update", "id": "#good", "change": {"title": "Better"}},
        {"op": "fail", "id": "#good", "error": "no"},
        {"op": "reopen", "id": "#good"},
        {"op": "delete", "id": "#good"},
        {"op": "cancel", "id": "#unknown"},
    ) == [200, 409, 422, 422, 422, 201, 200, 200, 200, 204, 422]
    assert (await board.get(existing["id"]))["result"] == {"n": 1}


@pytest.mark.parametrize(
    ("operation", "pointer"),
    [
        ({"op": "create", "title": 5}, "/operations/0/title"),
        ({"op": "create", "title": "x", "colour": 1}, "/operations/0/colour"),
        ({"op": "create", "title": "x", "depends_on": ["#no"]}, "/operations/0/depends_on/0"),
        ({"op": "create", "title": "x", "parent_id": "not an id"}, "/operations/0/parent_id"),
        ({"op": "create", "title": "x", "output_schema": {"type": 3}}, "/operations/0/output_schema/type"),
        ({"op": "update", "id": MISSING, "change": {"priority": "huge"}}, "/operations/0/change/priority"),
        ({"op": "explode"}, "/operations/0/op"),
        ({}, "/operations/0/op"),
        (7, "/operations/0/op"),
    ],
)
async def test_bad_operation_is_refused_by_its_pointer(board: Board, operation: Any, pointer: str):
    for atomic in (False, True):
        answer = await run(board, operation, atomic=atomic)
        problem = answer.json() if atomic else answer.json()["items"][0]["problem"]
        assert (problem["status"], problem["errors"][0]["pointer"]) == (422, pointer)


@pytest.mark.parametrize("count", [0, 501])
async def test_batch_has_one_to_five_hundred_operations(board: Board, count: int):
    answer = await run(board, *[create()] * count)
    assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, "/operations")


async def test_same_key_makes_the_tasks_once(board: Board):
    body = {"operations": [create("a"), create("b")]}
    answers = [await board.call("POST", "/batch", json=body, headers={"Idempotency-Key": "k"}) for _ in range(2)]
    assert answers[0].content == answers[1].content
    assert len((await board.call("GET")).json()["items"]) == 2


async def test_batch_does_nothing_to_another_namespaces_tasks(board: Board, task: ServiceUnderTest):
    foreign = await Board(task).create()
    verbs = ("complete", "fail", "cancel", "reopen", "delete")
    given = [{"op": verb, "id": foreign["id"]} for verb in verbs]
    assert await statuses(board, *given, create(depends_on=[foreign["id"]])) == [404, 404, 404, 404, 404, 422]
