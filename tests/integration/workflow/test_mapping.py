"""A map does its step for each item, so many at once, and gathers what became of them."""

import asyncio
from collections import Counter

import pytest

from support.upstream import ok, upstream
from support.workflow_engine import Engine, statuses, step_of

FOUND = ok(b'{"items": []}')
NEVER_ENDING = [b"HTTP/1.1 200 OK\r\n"] + [b"X: y\r\n"] * 200
DOUBLE = {"uses": "transform", "with": {"twice": "${{ item * 2 }}", "at": "${{ index }}"}}
LATER_ITEMS = "SELECT status::text FROM step_executions WHERE execution_id = $1 AND item_no > 0"
NOT_ENDED = "SELECT count(*) FROM step_executions WHERE execution_id = $1 AND finished_at IS NULL"
PICKY = {"uses": "transform", "with": {"ten": "${{ 10 / item }}"}}


def has_completed_items(execution) -> bool:
    return 0 < execution["progress"] < 80


def each(over, step, **others):
    options = {key: others.pop(key) for key in ("concurrency", "max_items") if key in others}
    return {"id": "each", "uses": "map", "with": {"over": over} | options, "step": step} | others


async def test_items_are_done_and_gathered_in_order(engine: Engine):
    numbers = {"id": "numbers", "uses": "transform", "with": {"list": [3, 1, 2]}}
    twice = {"n": "${{ steps.each.output[1].output.twice }}"}
    after = {"id": "after", "uses": "transform", "needs": ["each"], "with": twice}
    async with engine.worker():
        execution = await engine.run(
            numbers, each("${{ steps.numbers.output.list }}", DOUBLE, needs=["numbers"]), after
        )
    assert step_of(execution, "each")["output"] == [
        {"status": "completed", "output": {"twice": 6, "at": 0}, "error": None},
        {"status": "completed", "output": {"twice": 2, "at": 1}, "error": None},
        {"status": "completed", "output": {"twice": 4, "at": 2}, "error": None},
    ]
    assert step_of(execution, "after")["output"] == {"n": 2}


async def test_hundreds_of_items_are_shared_by_workers(engine: Engine):
    items = each(list(range(300)), DOUBLE, concurrency=20)
    async with engine.worker(workflow_in_flight=4), engine.worker(workflow_in_flight=4):
        execution = await engine.run(items)
    assert [result["output"]["twice"] for result in step_of(execution, "each")["output"]] == list(range(0, 600, 2))
    journal = await engine.journal(execution["id"])
    assert [event["seq"] for event in journal] == list(range(1, len(journal) + 1))


async def test_no_more_items_than_wanted_are_open(engine: Engine):
    wait = {"uses": "delay", "with": {"duration": "50ms"}}
    async with engine.worker():
        execution_id = await engine.start(each(list(range(9)), wait, concurrency=3))
        most = 0
        while not await engine.has_ended(execution_id):
            [row] = await engine.sql(
                """SELECT count(*) FROM step_executions WHERE execution_id = $1 AND item_no IS NOT NULL
                AND status IN ('ready', 'running', 'waiting')""",
                execution_id,
            )
            most = max(most, row["count"])
    assert 1 <= most <= 3


async def test_first_failing_item_fails_the_map_and_cancels_the_others(engine: Engine):
    async with engine.worker():
        execution = await engine.run(each([0, 1, 2, 3], PICKY, concurrency=1))
    rows = await engine.sql(LATER_ITEMS, execution["id"])
    assert (execution["status"], execution["error"]["code"]) == ("failed", "item_failed")
    assert {row["status"] for row in rows} == {"cancelled"}


async def test_item_that_runs_is_stopped_when_another_has_failed(engine: Engine, folder):
    step = {"uses": "memory.search", "with": {"query": "${{ item }}"}}
    refused = ok(b'{"title": "no", "status": 422}', status="422 Unprocessable Content")
    slow_refusal = [refused[:10]] + [refused[n : n + 1] for n in range(10, 20)] + [refused[20:]]
    async with upstream(folder, NEVER_ENDING, slow_refusal) as memory, engine.worker(memory_url=memory.url):
        execution = await engine.run(each(["a", "b"], step, concurrency=2))
    rows = await engine.sql(
        "SELECT status::text FROM step_executions WHERE execution_id = $1 AND item_no IS NOT NULL", execution["id"]
    )
    assert execution["status"] == "failed"
    assert sorted(row["status"] for row in rows) == ["cancelled", "failed"]


async def test_failures_are_collected_when_they_may_be(engine: Engine):
    async with engine.worker():
        execution = await engine.run(each([5, 0, 2], PICKY | {"on_error": "continue"}))
    results = step_of(execution, "each")["output"]
    assert execution["status"] == "completed"
    assert [result["status"] for result in results] == ["completed", "failed", "completed"]
    assert (results[1]["output"], results[1]["error"]["code"]) == (None, "expression")


async def test_condition_is_asked_for_each_item(engine: Engine):
    async with engine.worker():
        execution = await engine.run(each([1, 2, 3], DOUBLE | {"if": "item > 1"}))
    assert [result["status"] for result in step_of(execution, "each")["output"]] == [
        "skipped",
        "completed",
        "completed",
    ]


async def test_empty_list_gives_an_empty_list(engine: Engine):
    async with engine.worker():
        execution = await engine.run(each([], DOUBLE))
    assert (execution["status"], step_of(execution, "each")["output"]) == ("completed", [])


async def test_too_many_items_are_refused(engine: Engine):
    async with engine.worker():
        execution = await engine.run(each([1, 2, 3], DOUBLE, max_items=2))
    assert execution["error"]["code"] == "too_many_items"


async def test_failed_map_lets_the_others_go_on_when_it_may(engine: Engine):
    after = {"id": "after", "uses": "transform", "needs": ["each"], "with": {"code": "${{ steps.each.error.code }}"}}
    async with engine.worker():
        execution = await engine.run(each([0, 1], PICKY, on_error="continue"), after)
    assert step_of(execution, "after")["output"] == {"code": "item_failed"}


async def test_items_wait_while_the_execution_is_paused(engine: Engine):
    wait = {"uses": "delay", "with": {"duration": "200ms"}}
    async with engine.worker():
        execution_id = await engine.start(each([1, 2, 3], wait, concurrency=1))
        await engine.reached(execution_id, "each", "waiting")
        await engine.api.call("POST", f"/api/v1/executions/{execution_id}/pause")
        await asyncio.sleep(0.5)
        rows = await engine.sql(LATER_ITEMS, execution_id)
        await engine.api.call("POST", f"/api/v1/executions/{execution_id}/resume")
        assert (await engine.ended(execution_id))["status"] == "completed"
    assert {row["status"] for row in rows} == {"pending"}


async def test_retry_keeps_the_items_that_are_done(engine: Engine, folder):
    step = {"uses": "memory.search", "with": {"query": "${{ item }}"}}
    refused = ok(b'{"title": "no", "status": 422}', status="422 Unprocessable Content")
    async with upstream(folder, FOUND, refused, FOUND) as memory, engine.worker(memory_url=memory.url):
        failed = await engine.run(each(["a", "b", "c"], step, concurrency=1))
        await engine.api.call("POST", f"/api/v1/executions/{failed['id']}/retry")
        execution = await engine.ended(failed["id"])
        assert len(memory.asked) == 4
    assert execution["status"] == "completed"
    assert [result["status"] for result in step_of(execution, "each")["output"]] == ["completed"] * 3


async def test_cancelled_map_leaves_no_item_open(engine: Engine):
    async with engine.worker():
        execution_id = await engine.start(each([1, 2, 3], {"uses": "delay", "with": {"duration": "1h"}}, concurrency=2))
        await engine.reached(execution_id, "each", "waiting")
        await engine.api.call("POST", f"/api/v1/executions/{execution_id}/cancel")
        execution = await engine.ended(execution_id)
    [row] = await engine.sql(NOT_ENDED, execution_id)
    assert (execution["status"], statuses(execution), row["count"]) == ("cancelled", {"each": "cancelled"}, 0)


@pytest.mark.parametrize(
    ("step", "pointer"),
    [
        ({"uses": "map", "with": {"over": []}}, "/config/steps/0/step/uses"),
        (DOUBLE | {"needs": []}, "/config/steps/0/step/needs"),
        ({"uses": "transform", "with": {"x": "${{ thing }}"}}, "/config/steps/0/step/with/x"),
        ("transform", "/config/steps/0/step"),
    ],
)
async def test_bad_inner_step_is_refused_at_its_place(engine: Engine, step, pointer):
    body = {"name": "x", "workflow_type": "dag", "config": {"steps": [each([], step)]}}
    answer = await engine.api.call("POST", "/api/v1/workflows/validate", json=body)
    assert [error["pointer"] for error in answer.json()["errors"]] == [pointer]


@pytest.mark.long
async def test_map_survives_the_death_of_its_worker(engine: Engine):
    pause = {"uses": "delay", "with": {"duration": "30ms"}}
    execution_id = await engine.start(each(list(range(60)), pause, concurrency=10))
    with engine.worker_process("doomed") as process:
        await engine.wait(execution_id, has_completed_items)
        process.kill()
    async with engine.worker():
        execution = await engine.ended(execution_id)
    journal = await engine.journal(execution_id)
    completed = Counter(event["step"] for event in journal if event["type"] == "step.completed")
    assert execution["status"] == "completed"
    assert (len(completed), set(completed.values())) == (61, {1})
    assert [event["seq"] for event in journal] == list(range(1, len(journal) + 1))


async def test_expression_that_could_grow_knows_its_item(engine: Engine):
    grows = {"uses": "transform", "with": {"all": "${{ item.map(n, n + index) }}"}}
    async with engine.worker():
        execution = await engine.run(each([[1, 2], [3]], grows))
    assert [result["output"]["all"] for result in step_of(execution, "each")["output"]] == [[1, 2], [4]]
