"""Workflows run to their end, each step as its definition says."""

import asyncio
import re
import time
from datetime import UTC, datetime, timedelta

import pytest

from support.service import SECRET
from support.upstream import ok, upstream
from support.workflow_engine import Engine, statuses, step_of
from tmws_shared.auth import InternalTokens

BUSY = ok(b'{"title": "busy", "status": 503}', "Retry-After: 1", status="503 Service Unavailable")
TOO_MANY = ok(b'{"title": "slow down", "status": 429}', "Retry-After: 1", status="429 Too Many Requests")
BROKEN = ok(b'{"title": "broken", "status": 500}', status="500 Internal Server Error")
REFUSED = ok(
    b'{"title": "no", "status": 422, "detail": "/query: must not be blank"}', status="422 Unprocessable Content"
)
FOUND = ok(b'{"items": [{"content": "fact"}]}')
SEARCH = {"id": "a", "uses": "memory.search", "with": {"query": "x"}}


def transform(name, *needs, **values):
    return {"id": name, "uses": "transform", "needs": list(needs), "with": values}


async def test_sequential_steps_pass_their_results_on(engine: Engine):
    steps = [
        {"id": "a", "uses": "transform", "with": {"n": "${{ inputs.n + 1 }}"}},
        {"id": "b", "uses": "transform", "with": {"text": "n is ${{ steps.a.output.n }}"}},
    ]
    inputs = {"type": "object", "properties": {"n": {"type": "integer"}}}
    workflow = await engine.save(*steps, kind="sequential", inputs=inputs, output="${{ steps.b.output }}")
    async with engine.worker():
        execution = await engine.ended(await engine.execute(workflow, n=4))
    assert execution["status"] == "completed"
    assert execution["output"] == {"text": "n is 5"}


async def test_fan_out_is_joined(engine: Engine):
    branches = [transform(f"b{n}", "a", n=f"${{{{ steps.a.output.n * {n} }}}}") for n in range(20)]
    total = " + ".join(f"steps.b{n}.output.n" for n in range(20))
    join = transform("c", *(branch["id"] for branch in branches), sum=f"${{{{ {total} }}}}")
    async with engine.worker(workflow_in_flight=4):
        execution = await engine.run(transform("a", n=2), *branches, join)
    assert step_of(execution, "c")["output"] == {"sum": 2 * sum(range(20))}


async def test_parallel_steps_all_run(engine: Engine):
    steps = [{"id": f"s{n}", "uses": "transform", "with": {"n": n}} for n in range(5)]
    async with engine.worker():
        execution = await engine.run(*steps, kind="parallel")
    assert set(statuses(execution).values()) == {"completed"}


async def test_false_condition_skips_the_step_and_what_needs_it(engine: Engine):
    steps = [transform("a", ok=False), transform("b", "a") | {"if": "steps.a.output.ok"}, transform("c", "b")]
    async with engine.worker():
        execution = await engine.run(*steps)
    assert statuses(execution) == {"a": "completed", "b": "skipped", "c": "skipped"}
    assert execution["status"] == "completed"


async def test_condition_on_a_status_follows_a_skipped_step(engine: Engine):
    steps = [transform("a") | {"if": "false"}, transform("b", "a") | {"if": "steps.a.status == 'skipped'"}]
    async with engine.worker():
        execution = await engine.run(*steps)
    assert statuses(execution) == {"a": "skipped", "b": "completed"}


async def test_sequence_goes_on_after_a_skipped_step(engine: Engine):
    steps = [{"id": "a", "uses": "transform", "if": "false"}, {"id": "b", "uses": "transform"}]
    async with engine.worker():
        execution = await engine.run(*steps, kind="sequential")
    assert statuses(execution) == {"a": "skipped", "b": "completed"}


async def test_output_of_a_skipped_step_is_null_in_the_result(engine: Engine):
    async with engine.worker():
        execution = await engine.run(transform("a") | {"if": "false"}, output={"x": "${{ steps.a.output.text }}"})
    assert execution["status"] == "completed"
    assert execution["output"] == {"x": None}


async def test_reading_a_skipped_step_fails_with_its_name(engine: Engine):
    steps = [
        {"id": "a", "uses": "transform", "if": "false"},
        {"id": "b", "uses": "transform", "with": {"x": "${{ steps.a.output.x }}"}},
    ]
    async with engine.worker():
        execution = await engine.run(*steps, kind="sequential")
    assert step_of(execution, "b")["error"]["message"].endswith("a was skipped and has no output")


async def test_expression_without_a_value_fails_the_step(engine: Engine):
    async with engine.worker():
        execution = await engine.run(transform("a", n="x"), transform("b", "a", m="${{ steps.a.output.n + 1 }}"))
    assert execution["status"] == "failed"
    assert execution["error"]["step"] == "b"
    assert "No matching overloads" in execution["error"]["message"]


async def test_condition_that_gives_text_fails_the_step(engine: Engine):
    async with engine.worker():
        execution = await engine.run(transform("a", n="x"), transform("b", "a") | {"if": "steps.a.output.n"})
    assert step_of(execution, "b")["error"]["message"] == "/if: gave something other than true or false"


async def test_exploding_expression_fails_its_step_and_no_other(engine: Engine):
    double = ".map(x, x + x + x + x + x + x + x + x)"
    steps = [
        transform("a", text="x" * 100_000),
        transform("bomb", "a", x="${{ [steps.a.output.text]%s[0].size() }}" % (double * 4)),
    ]
    async with engine.worker():
        bomb, other = await asyncio.gather(engine.run(*steps), engine.run(transform("a", n=1)))
    assert bomb["error"]["code"] == "expression"
    assert other["status"] == "completed"


async def test_macro_is_evaluated(engine: Engine):
    steps = [transform("a", list=[1, 2, 3]), transform("b", "a", x="${{ steps.a.output.list.map(n, n * n) }}")]
    async with engine.worker():
        execution = await engine.run(*steps)
    assert step_of(execution, "b")["output"] == {"x": [1, 4, 9]}


async def test_output_that_is_too_large_fails_the_step(engine: Engine):
    six = ", ".join(["steps.a.output"] * 6)
    steps = [transform("a", x="y" * 200_000), transform("b", "a", x=f"${{{{ [{six}] }}}}")]
    async with engine.worker():
        execution = await engine.run(*steps)
    assert "larger than 1024 KiB" in step_of(execution, "b")["error"]["message"]


async def test_failed_step_cancels_what_has_not_begun(engine: Engine):
    wait = {"id": "w", "uses": "delay", "with": {"duration": "1h"}}
    bad = transform("bad", x="${{ execution.id + 1 }}")
    async with engine.worker():
        execution = await engine.run(wait, bad, transform("after", "bad"))
    assert statuses(execution) == {"w": "cancelled", "bad": "failed", "after": "cancelled"}


async def test_delay_ends_after_its_duration(engine: Engine):
    async with engine.worker():
        started = time.monotonic()
        execution = await engine.run({"id": "a", "uses": "delay", "with": {"duration": "400ms"}})
    assert execution["status"] == "completed"
    assert 0.4 <= time.monotonic() - started < 3


async def test_delay_ends_at_its_time(engine: Engine):
    moment = (datetime.now(UTC) + timedelta(seconds=0.5)).isoformat()
    async with engine.worker():
        execution = await engine.run({"id": "a", "uses": "delay", "with": {"until": moment}})
    assert execution["finished_at"] >= moment.replace("+00:00", "Z")


async def test_delay_that_was_computed_badly_fails(engine: Engine):
    inputs = {"properties": {"wait": {"type": "string"}}}
    workflow = await engine.save(
        {"id": "a", "uses": "delay", "with": {"duration": "${{ inputs.wait }}"}}, inputs=inputs
    )
    async with engine.worker():
        execution = await engine.ended(await engine.execute(workflow, wait="soon"))
    assert execution["error"]["message"].startswith("/with/duration: must be a duration")


async def test_waiting_steps_hold_no_worker(engine: Engine):
    delays = [{"id": f"d{n}", "uses": "delay", "with": {"duration": "1h"}} for n in range(8)]
    async with engine.worker(workflow_in_flight=1):
        waiting = await engine.start(*delays)
        await engine.wait(waiting, lambda execution: set(statuses(execution).values()) == {"waiting"})
        assert (await engine.run(transform("a")))["status"] == "completed"


async def test_step_is_tried_again_after_failures(engine: Engine, folder):
    step = SEARCH | {"retry": {"max_attempts": 4, "initial": "100ms", "jitter": 0}}
    async with upstream(folder, BROKEN, BROKEN, FOUND) as memory, engine.worker(memory_url=memory.url):
        execution = await engine.run(step)
    assert step_of(execution, "a")["attempt"] == 3
    assert step_of(execution, "a")["output"] == {"items": [{"content": "fact"}]}
    delays = [
        event["data"]["in_s"] for event in await engine.journal(execution["id"]) if event["type"] == "step.retrying"
    ]
    assert delays == [0.1, 0.2]


async def test_attempts_share_their_idempotency_key(engine: Engine, folder):
    step = SEARCH | {"retry": {"max_attempts": 3, "initial": "50ms"}}
    async with upstream(folder, BROKEN, BROKEN, FOUND) as memory, engine.worker(memory_url=memory.url):
        execution = await engine.run(step)
    keys = {
        line
        for request in memory.asked
        for line in request.split(b"\r\n")
        if line.lower().startswith(b"idempotency-key")
    }
    assert keys == {f"idempotency-key: {execution['id']}:a".encode()}
    assert len(memory.asked) == 3


@pytest.mark.parametrize("answer", [BUSY, TOO_MANY], ids=["503", "429"])
async def test_retry_after_is_honoured(engine: Engine, folder, answer):
    step = SEARCH | {"retry": {"max_attempts": 2, "initial": "10ms"}}
    async with upstream(folder, answer, FOUND) as memory, engine.worker(memory_url=memory.url):
        execution = await engine.run(step)
    [retrying] = [event for event in await engine.journal(execution["id"]) if event["type"] == "step.retrying"]
    assert retrying["data"]["in_s"] == 1.0
    assert execution["status"] == "completed"


async def test_last_attempt_fails_the_step(engine: Engine, folder):
    step = SEARCH | {"retry": {"max_attempts": 2, "initial": "10ms"}}
    async with upstream(folder, BROKEN) as memory, engine.worker(memory_url=memory.url):
        execution = await engine.run(step)
    assert execution["status"] == "failed"
    assert step_of(execution, "a")["attempt"] == 2


async def test_refusal_is_not_tried_again(engine: Engine, folder):
    async with upstream(folder, REFUSED, FOUND) as memory, engine.worker(memory_url=memory.url):
        execution = await engine.run(SEARCH)
    error = step_of(execution, "a")["error"]
    assert (error["code"], error["status"]) == ("refused", 422)
    assert error["message"] == "/query: must not be blank"
    assert len(memory.asked) == 1


async def test_running_step_times_out(engine: Engine, folder):
    never_ending = [b"HTTP/1.1 200 OK\r\n"] + [b"X: y\r\n"] * 100
    async with upstream(folder, never_ending) as memory, engine.worker(memory_url=memory.url):
        execution = await engine.run(SEARCH | {"timeout": "300ms"})
    assert execution["status"] == "timed_out"
    assert step_of(execution, "a")["error"]["code"] == "timeout"


async def test_waiting_step_times_out(engine: Engine):
    async with engine.worker():
        execution = await engine.run({"id": "a", "uses": "delay", "with": {"duration": "1h"}, "timeout": "300ms"})
    assert execution["status"] == "timed_out"
    assert statuses(execution) == {"a": "timed_out"}


async def test_timeout_covers_all_attempts(engine: Engine, folder):
    step = SEARCH | {"timeout": "600ms", "retry": {"max_attempts": 100, "initial": "200ms", "factor": 1}}
    async with upstream(folder, BROKEN) as memory, engine.worker(memory_url=memory.url):
        execution = await engine.run(step)
    assert execution["status"] == "timed_out"


async def test_execution_keeps_the_definition_it_started_with(engine: Engine):
    workflow = await engine.save({"id": "a", "uses": "delay", "with": {"duration": "300ms"}}, transform("b", "a", v=1))
    execution_id = await engine.execute(workflow)
    changed = {"config": {"steps": [transform("z", v=2)]}}
    await engine.api.call("PUT", f"/api/v1/workflows/{workflow}", json=changed)
    async with engine.worker():
        execution = await engine.ended(execution_id)
    assert execution["workflow_version"] == 1
    assert step_of(execution, "b")["output"] == {"v": 1}


@pytest.mark.long
async def test_five_hundred_steps_run(engine: Engine):
    steps = [{"id": f"s{n}", "uses": "transform", "with": {"n": n}} for n in range(500)]
    async with engine.worker():
        execution = await engine.run(*steps, kind="sequential")
    assert execution["progress"] == 100
    assert [event["seq"] for event in await engine.journal(execution["id"])] == list(range(1, 1004))


async def test_trace_of_the_caller_reaches_the_services_a_step_calls(engine: Engine, folder):
    workflow = await engine.save(SEARCH)
    trace = "0af7651916cd43dd8448eb211c80319c"
    headers = {"traceparent": f"00-{trace}-b7ad6b7169203331-01"}
    async with upstream(folder, FOUND) as memory, engine.worker(memory_url=memory.url):
        accepted = await engine.api.call("POST", f"/api/v1/workflows/{workflow}/execute", headers=headers)
        await engine.ended(accepted.json()["execution_id"])
    assert f"traceparent: 00-{trace}-".encode() in memory.asked[0]


async def test_step_acts_for_its_execution_with_no_more_scopes_than_it_needs(engine: Engine, folder):
    async with upstream(folder, FOUND) as memory, engine.worker(memory_url=memory.url):
        execution = await engine.run(SEARCH)
    token = re.search(rb"authorization: Bearer (\S+)", memory.asked[0], re.IGNORECASE)[1].decode()
    principal = InternalTokens(SECRET).verify(token, "memory", "POST")
    assert principal.subject == f"workflow:{execution['id']}"
    assert principal.scopes == {"memory:read"}
