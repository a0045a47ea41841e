"""An execution that did not end well runs again from where it failed, or from a named step."""

import re

from support.upstream import Upstream, ok, upstream
from support.workflow_engine import Engine, statuses, step_of

REFUSED = ok(b'{"title": "no", "status": 422, "detail": "no"}', status="422 Unprocessable Content")
FOUND = ok(b'{"items": []}')
FIRST = {"id": "first", "uses": "transform", "with": {"n": 1}}
CONTENT = "${{ string(steps.first.output.n) }}"
STORE = {"id": "store", "uses": "memory.store", "needs": ["first"], "with": {"content": CONTENT}}
LAST = {"id": "last", "uses": "transform", "needs": ["store"]}


async def retry(engine: Engine, execution_id: str, **body):
    return await engine.api.call("POST", f"/api/v1/executions/{execution_id}/retry", json=body or None)


def keys_of(memory: Upstream) -> list[bytes]:
    return [re.search(rb"idempotency-key: (\S+)", head, re.IGNORECASE).group(1) for head in memory.asked]


async def test_failed_step_runs_again_and_finished_ones_do_not(engine: Engine, folder):
    async with upstream(folder, REFUSED, FOUND) as memory, engine.worker(memory_url=memory.url):
        failed = await engine.run(FIRST, STORE, LAST)
        answer = await retry(engine, failed["id"])
        execution = await engine.ended(failed["id"])
    journal = await engine.journal(failed["id"])
    assert (failed["status"], answer.json()["status"], answer.json()["error"]) == ("failed", "running", None)
    assert (execution["status"], execution["retries"]) == ("completed", 1)
    assert [event["step"] for event in journal if event["type"] == "step.completed"] == ["first", "store", "last"]
    assert [event["data"]["steps"] for event in journal if event["type"] == "execution.retried"] == [["last", "store"]]
    assert [event["seq"] for event in journal] == list(range(1, len(journal) + 1))


async def test_retried_step_keeps_its_idempotency_key(engine: Engine, folder):
    async with upstream(folder, REFUSED, FOUND) as memory, engine.worker(memory_url=memory.url):
        failed = await engine.run(FIRST, STORE)
        await retry(engine, failed["id"])
        await engine.ended(failed["id"])
    first, second = keys_of(memory)
    assert first == second


async def test_named_step_and_what_comes_after_it_run_anew(engine: Engine, folder):
    bad = {"id": "bad", "uses": "transform", "needs": ["store"], "with": {"x": "${{ [1][5] }}"}}
    async with upstream(folder, FOUND) as memory, engine.worker(memory_url=memory.url):
        failed = await engine.run(FIRST, STORE, bad)
        await retry(engine, failed["id"], from_step="first")
        await engine.ended(failed["id"])
    completed = [e["step"] for e in await engine.journal(failed["id"]) if e["type"] == "step.completed"]
    assert completed == ["first", "store", "first", "store"]
    first, second = keys_of(memory)
    assert second == first + b":1"


async def test_retried_execution_gets_its_attempts_anew(engine: Engine, folder):
    busy = ok(b'{"title": "busy", "status": 503}', status="503 Service Unavailable")
    step = {"id": "a", "uses": "memory.search", "with": {"query": "x"}, "retry": {"max_attempts": 2, "initial": "10ms"}}
    async with upstream(folder, busy, busy, busy, FOUND) as memory, engine.worker(memory_url=memory.url):
        failed = await engine.run(step)
        await retry(engine, failed["id"])
        execution = await engine.ended(failed["id"])
    assert (step_of(failed, "a")["attempt"], step_of(execution, "a")["attempt"]) == (2, 2)
    assert execution["status"] == "completed"


async def test_cancelled_execution_runs_again(engine: Engine):
    execution_id = await engine.start(FIRST, {"id": "b", "uses": "transform", "needs": ["first"]})
    await engine.api.call("POST", f"/api/v1/executions/{execution_id}/cancel")
    await retry(engine, execution_id)
    async with engine.worker():
        execution = await engine.ended(execution_id)
    assert (execution["status"], execution["cancel_requested_at"]) == ("completed", None)


async def test_timeout_counts_from_the_new_start(engine: Engine):
    delay = {"id": "a", "uses": "delay", "timeout": "700ms", "with": {"duration": "5s"}}
    async with engine.worker():
        failed = await engine.run(delay)
        await retry(engine, failed["id"])
        again = await engine.reached(failed["id"], "a", "waiting")
        execution = await engine.ended(failed["id"])
    assert step_of(again, "a")["deadline_at"] > step_of(failed, "a")["deadline_at"]
    assert execution["status"] == "timed_out"


async def test_task_that_was_cancelled_with_its_execution_is_made_anew(engine: Engine):
    ask = {"id": "ask", "uses": "task", "with": {"title": "please"}}
    async with engine.tasks() as tasks, engine.worker():
        execution_id = await engine.start(ask)
        await engine.reached(execution_id, "ask", "waiting")
        await engine.api.call("POST", f"/api/v1/executions/{execution_id}/cancel")
        first = await retry(engine, execution_id)
        while first.status_code == 409:
            assert first.json()["retryable"]
            first = await retry(engine, execution_id)
        await engine.reached(execution_id, "ask", "waiting")
        listed = (await tasks.call("GET", "/api/v1/tasks")).json()["items"]
    assert sorted(task["status"] for task in listed) == ["cancelled", "pending"]


async def test_unknown_step_is_refused_by_name(engine: Engine):
    execution_id = await engine.start(FIRST)
    await engine.api.call("POST", f"/api/v1/executions/{execution_id}/cancel")
    for name in ("nowhere", "$output"):
        answer = await retry(engine, execution_id, from_step=name)
        assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, "/from_step")


async def test_running_execution_is_not_retried(engine: Engine):
    answer = await retry(engine, await engine.start(FIRST))
    assert (answer.status_code, answer.json()["current"]) == (409, "pending")


async def test_repeated_request_retries_once(engine: Engine):
    execution_id = await engine.start(FIRST)
    await engine.api.call("POST", f"/api/v1/executions/{execution_id}/cancel")
    path, headers = f"/api/v1/executions/{execution_id}/retry", {"Idempotency-Key": "once"}
    answers = [await engine.api.call("POST", path, headers=headers) for _ in range(2)]
    assert [answer.json()["retries"] for answer in answers] == [1, 1]


async def test_step_that_may_fail_lets_the_others_go_on(engine: Engine):
    bad = {"id": "bad", "uses": "transform", "on_error": "continue", "with": {"x": "${{ [1][5] }}"}}
    after = {"id": "after", "uses": "transform", "needs": ["bad"], "with": {"code": "${{ steps.bad.error.code }}"}}
    rescue = {"id": "rescue", "uses": "transform", "needs": ["bad"], "if": "steps.bad.status == 'failed'"}
    calm = {"id": "calm", "uses": "transform", "needs": ["bad"], "if": "steps.bad.error == null"}
    output = {"bad": "${{ steps.bad.output }}", "after": "${{ steps.after.error }}"}
    async with engine.worker():
        execution = await engine.run(bad, after, rescue, calm, output=output)
    expected = {"bad": "failed", "after": "completed", "rescue": "completed", "calm": "skipped"}
    assert (execution["status"], statuses(execution)) == ("completed", expected)
    assert step_of(execution, "after")["output"] == {"code": "expression"}
    assert execution["output"] == {"bad": None, "after": None}
