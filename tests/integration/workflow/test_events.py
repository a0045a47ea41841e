"""What becomes of executions is told to others, in order and in the transaction that makes it so."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack
from pathlib import Path

import orjson
import pytest

from support.postgres import DatabaseUrls
from support.workflow_engine import Engine, running_engine, step_of
from tmws_shared.events import STREAM
from tmws_shared.redis import open_redis

STEP = {"id": "a", "uses": "transform", "with": {"n": 1}}


async def told(engine: Engine, execution_id: str) -> list[str]:
    rows = await engine.sql("SELECT data FROM outbox WHERE type = 'bundle' ORDER BY position")
    return [event["type"] for row in rows for event in orjson.loads(row["data"]) if event["subject"] == execution_id]


async def test_execution_is_told_from_its_start_to_its_end(engine: Engine) -> None:
    async with engine.worker():
        execution = await engine.run(STEP)
    assert await told(engine, execution["id"]) == ["execution.started", "execution.completed"]


async def test_failed_execution_is_told(engine: Engine) -> None:
    async with engine.worker():
        execution = await engine.run({"id": "a", "uses": "transform", "with": {"n": "${{ 1 / 0 }}"}})
    assert await told(engine, execution["id"]) == ["execution.started", "execution.failed"]


async def test_execution_that_is_cancelled_before_it_starts_is_told(engine: Engine) -> None:
    workflow_id = await engine.save(STEP)
    execution_id = await engine.execute(workflow_id)
    await engine.api.call("POST", f"/api/v1/workflows/{workflow_id}/cancel")
    assert await told(engine, execution_id) == ["execution.cancelled"]


@pytest.fixture
async def engine_with_redis(database: DatabaseUrls, folder: Path, empty_redis_url: str) -> AsyncGenerator[Engine]:
    async with AsyncExitStack() as stack:
        engine = await stack.enter_async_context(running_engine(database, folder, empty_redis_url))
        await stack.enter_async_context(engine.worker())
        yield engine


async def test_worker_relays_what_it_tells(engine_with_redis: Engine, empty_redis_url: str) -> None:
    execution = await engine_with_redis.run(STEP)
    found: list[tuple[str, str]] = []
    async with open_redis(empty_redis_url, timeout_s=1) as redis, asyncio.timeout(10):
        while len(found) < 2:
            events = [orjson.loads(fields[b"event"]) for _, fields in await redis.xrange(STREAM)]
            found = [
                (each["type"], each["data"]["workflow_id"]) for each in events if each["subject"] == execution["id"]
            ]
            await asyncio.sleep(0.01)
    workflow_id = execution["workflow_id"]
    assert found == [("execution.started", workflow_id), ("execution.completed", workflow_id)]


async def test_lost_event_is_only_a_delay(
    database: DatabaseUrls, folder: Path, empty_redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tmws_workflow.worker.LOOK_AGAIN_S", 1.0)
    async with AsyncExitStack() as stack:
        engine = await stack.enter_async_context(running_engine(database, folder, empty_redis_url))
        # Nobody relays the task service's events.
        tasks = await stack.enter_async_context(engine.tasks())
        await stack.enter_async_context(engine.worker())
        execution_id = await engine.start({"id": "ask", "uses": "task", "with": {"title": "Do it"}})
        step = step_of(await engine.reached(execution_id, "ask", "waiting"), "ask")
        await tasks.call("POST", f"/api/v1/tasks/{step['waiting_for']['task_id']}/complete")
        execution = await engine.ended(execution_id)
    async with open_redis(empty_redis_url, timeout_s=1) as redis:
        events = [orjson.loads(fields[b"event"]) for _, fields in await redis.xrange(STREAM)]
    assert execution["status"] == "completed"
    assert not [event for event in events if event["type"] == "task.completed"]
