"""A paused execution starts nothing new; what runs or waits goes on; resumed, it goes on where it stood."""

import asyncio

import pytest

from support.upstream import ok, upstream
from support.workflow_engine import Engine, statuses, step_of

FIRST = {"id": "first", "uses": "transform", "with": {"n": 1}}
SECOND = {"id": "second", "uses": "transform", "needs": ["first"]}
SEARCH = {"id": "search", "uses": "memory.search", "with": {"query": "x"}}
AFTER = {"id": "after", "uses": "transform", "needs": ["search"]}
SLOW = [b"HTTP/1.1 200 OK\r\nContent-Length: 12\r\n\r\n", *[b" "] * 10, b"{}"]  # half a second
BUSY = ok(b'{"title": "busy", "status": 503}', "Retry-After: 1", status="503 Service Unavailable")


async def control(engine: Engine, execution_id: str, action: str, **body):
    return await engine.api.call("POST", f"/api/v1/executions/{execution_id}/{action}", json=body or None)


def is_to_be_repeated(execution) -> bool:
    step = step_of(execution, "search")
    return (step["status"], step["attempt"]) == ("ready", 1)


async def test_nothing_is_claimed_of_a_paused_execution(engine: Engine):
    execution_id = await engine.start(FIRST, SECOND)
    answer = await control(engine, execution_id, "pause")
    async with engine.worker():
        other = await engine.run(FIRST)
        await asyncio.sleep(0.2)
        paused = await engine.execution(execution_id)
    assert answer.json()["status"] == "paused"
    assert other["status"] == "completed"
    assert (paused["status"], statuses(paused)) == ("paused", {"first": "pending", "second": "pending"})
    assert paused["paused_at"] is not None


async def test_resumed_execution_is_completed(engine: Engine):
    execution_id = await engine.start(FIRST, SECOND)
    await control(engine, execution_id, "pause")
    async with engine.worker():
        resumed = await control(engine, execution_id, "resume")
        execution = await engine.ended(execution_id)
    assert (resumed.json()["status"], resumed.json()["paused_at"]) == ("pending", None)
    assert execution["status"] == "completed"
    types = [event["type"] for event in await engine.journal(execution_id)]
    assert types[:4] == ["execution.created", "execution.paused", "execution.resumed", "execution.started"]


async def test_running_step_finishes_and_what_follows_is_held_back(engine: Engine, folder):
    async with upstream(folder, SLOW) as memory, engine.worker(memory_url=memory.url):
        execution_id = await engine.start(SEARCH, AFTER)
        await engine.reached(execution_id, "search", "running")
        await control(engine, execution_id, "pause")
        paused = await engine.reached(execution_id, "search", "completed")
        assert (paused["status"], step_of(paused, "after")["status"]) == ("paused", "pending")
        await control(engine, execution_id, "resume")
        assert (await engine.ended(execution_id))["status"] == "completed"


async def test_waiting_step_ends_while_its_execution_is_paused(engine: Engine):
    delay = {"id": "search", "uses": "delay", "with": {"duration": "300ms"}}
    async with engine.worker():
        execution_id = await engine.start(delay, AFTER)
        await engine.reached(execution_id, "search", "waiting")
        await control(engine, execution_id, "pause")
        paused = await engine.reached(execution_id, "search", "completed")
        assert (paused["status"], step_of(paused, "after")["status"]) == ("paused", "pending")


async def test_repeated_attempt_waits_for_the_resumption(engine: Engine, folder):
    policy = {"max_attempts": 2, "initial": "10ms"}
    found = ok(b'{"items": []}')
    async with upstream(folder, BUSY, found) as memory, engine.worker(memory_url=memory.url):
        execution_id = await engine.start(SEARCH | {"retry": policy})
        await engine.wait(execution_id, is_to_be_repeated)
        await control(engine, execution_id, "pause")
        held = await engine.execution(execution_id)
        await asyncio.sleep(1.2)
        still = await engine.execution(execution_id)
        await control(engine, execution_id, "resume")
        assert (await engine.ended(execution_id))["status"] == "completed"
    assert statuses(held) == statuses(still) == {"search": "pending"}


async def test_timeouts_go_on_during_a_pause(engine: Engine, folder):
    async with upstream(folder, BUSY) as memory, engine.worker(memory_url=memory.url):
        execution_id = await engine.start(SEARCH | {"timeout": "800ms"}, AFTER)
        await engine.wait(execution_id, is_to_be_repeated)
        await control(engine, execution_id, "pause")
        execution = await engine.ended(execution_id)
    assert (execution["status"], statuses(execution)) == ("timed_out", {"search": "timed_out", "after": "cancelled"})


async def test_paused_execution_can_be_cancelled(engine: Engine):
    execution_id = await engine.start(FIRST, SECOND)
    await control(engine, execution_id, "pause")
    assert (await control(engine, execution_id, "cancel")).json()["status"] == "cancelled"


async def test_pausing_twice_changes_nothing(engine: Engine):
    execution_id = await engine.start(FIRST)
    await control(engine, execution_id, "pause")
    before = await engine.journal(execution_id)
    assert (await control(engine, execution_id, "pause")).json()["status"] == "paused"
    assert await engine.journal(execution_id) == before


@pytest.mark.parametrize("action", ["pause", "resume", "retry"])
async def test_completed_execution_stays_as_it_is(engine: Engine, action):
    async with engine.worker():
        execution = await engine.run(FIRST)
    answer = await control(engine, execution["id"], action)
    assert (answer.status_code, answer.json()["current"]) == (409, "completed")


@pytest.mark.parametrize("action", ["cancel", "pause", "resume", "retry"])
async def test_unknown_execution_is_not_found(engine: Engine, action):
    assert (await control(engine, "00000000-0000-7000-8000-000000000000", action)).status_code == 404
