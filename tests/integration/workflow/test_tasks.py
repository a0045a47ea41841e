"""A task step creates a task and goes on when somebody has finished it."""

import asyncio
from contextlib import AsyncExitStack

import pytest

from support.postgres import DatabaseUrls
from support.service import SECRET, running, settings_for
from support.upstream import ok, upstream
from support.workflow_engine import Engine, running_engine, step_of
from tmws_shared.auth import InternalTokens, Principal
from tmws_shared.clock import new_id, now
from tmws_shared.http import ServiceClient
from tmws_task.settings import TaskSettings
from tmws_task.worker import build as build_task_worker
from tmws_workflow.engine import Waits
from tmws_workflow.steps.base import Services, StepCall
from tmws_workflow.steps.task import FIRST_LOOK_S, Task

STEP = {
    "id": "ask",
    "uses": "task",
    "with": {"title": "Write it", "priority": "high", "metadata": {"topic": "x"}},
    "retry": {"max_attempts": 5, "initial": "100ms"},
}
AFTER = {"id": "after", "uses": "transform", "needs": ["ask"], "with": {"said": "${{ steps.ask.output.result.text }}"}}


async def waiting_task(engine: Engine, execution_id: str) -> str:
    execution = await engine.reached(execution_id, "ask", "waiting")
    return step_of(execution, "ask")["waiting_for"]["task_id"]


async def test_task_carries_where_it_comes_from(engine: Engine):
    async with engine.tasks() as tasks, engine.worker():
        execution_id = await engine.start(STEP)
        task = (await tasks.call("GET", f"/api/v1/tasks/{await waiting_task(engine, execution_id)}")).json()
    assert (task["title"], task["priority"]) == ("Write it", "high")
    assert task["metadata"] == {"topic": "x", "workflow": {"execution_id": execution_id, "step": "ask"}}


async def test_completed_task_is_found_without_redis(engine: Engine):
    async with engine.tasks() as tasks, engine.worker():
        execution_id = await engine.start(STEP, AFTER)
        task = await waiting_task(engine, execution_id)
        await tasks.call("POST", f"/api/v1/tasks/{task}/complete", json={"result": {"text": "done"}})
        execution = await engine.ended(execution_id)
    assert step_of(execution, "after")["output"] == {"said": "done"}
    assert step_of(execution, "ask")["output"]["status"] == "completed"


async def test_completed_task_resumes_its_step_by_its_event(database: DatabaseUrls, folder, empty_redis_url: str):
    async with AsyncExitStack() as stack:
        engine = await stack.enter_async_context(running_engine(database, folder, empty_redis_url))
        tasks = await stack.enter_async_context(engine.tasks())
        relay = build_task_worker(settings_for(TaskSettings, "task", database, empty_redis_url))
        await stack.enter_async_context(running(relay, "task-worker"))
        await stack.enter_async_context(engine.worker())
        execution_id = await engine.start(STEP, AFTER)
        task = await waiting_task(engine, execution_id)
        # The first look, a second after the step began to wait, is past; the next without an event is a minute away.
        await asyncio.sleep(2.5)
        await tasks.call("POST", f"/api/v1/tasks/{task}/complete", json={"result": {"text": "done"}})
        execution = await engine.ended(execution_id)
    assert execution["status"] == "completed"


@pytest.mark.parametrize(
    ("change", "code", "message"),
    [
        ({"status": "failed", "error": "no ink"}, "task_failed", "no ink"),
        ({"status": "cancelled"}, "task_cancelled", "The task was cancelled."),
    ],
)
async def test_task_that_ended_badly_fails_its_step(engine: Engine, change, code, message):
    async with engine.tasks() as tasks, engine.worker():
        execution_id = await engine.start(STEP)
        task = await waiting_task(engine, execution_id)
        await tasks.call("PUT", f"/api/v1/tasks/{task}", json=change)
        execution = await engine.ended(execution_id)
    assert (execution["error"]["code"], execution["error"]["message"]) == (code, message)


async def test_deleted_task_fails_its_step(engine: Engine):
    async with engine.tasks() as tasks, engine.worker():
        execution_id = await engine.start(STEP)
        await tasks.call("DELETE", f"/api/v1/tasks/{await waiting_task(engine, execution_id)}")
        execution = await engine.ended(execution_id)
    assert execution["error"]["code"] == "task_deleted"


async def test_task_of_a_cancelled_execution_is_cancelled(engine: Engine):
    async with engine.tasks() as tasks, engine.worker():
        execution_id = await engine.start(STEP)
        task = await waiting_task(engine, execution_id)
        workflow = (await engine.execution(execution_id))["workflow_id"]
        await engine.api.call("POST", f"/api/v1/workflows/{workflow}/cancel")
        status = "pending"
        for _ in range(200):
            status = (await tasks.call("GET", f"/api/v1/tasks/{task}")).json()["status"]
            await asyncio.sleep(0 if status == "cancelled" else 0.02)
    assert status == "cancelled"


async def test_step_waits_for_a_task_service_that_is_down(engine: Engine):
    async with engine.worker():
        execution_id = await engine.start(STEP)
        await engine.wait(execution_id, lambda execution: step_of(execution, "ask")["error"] is not None)
        async with engine.tasks():
            execution = await engine.reached(execution_id, "ask", "waiting")
    assert step_of(execution, "ask")["attempt"] >= 2


async def test_step_without_the_right_to_create_tasks_fails(engine: Engine):
    workflow = await engine.save(STEP)
    scopes = frozenset({"workflow:read", "workflow:run", "task:read"})
    accepted = await engine.api.call("POST", f"/api/v1/workflows/{workflow}/execute", scopes=scopes)
    async with engine.tasks(), engine.worker():
        execution = await engine.ended(accepted.json()["execution_id"])
    assert execution["error"]["status"] == 403
    assert "task:write" in execution["error"]["message"]


async def test_refused_task_names_the_field(engine: Engine):
    step = {"id": "ask", "uses": "task", "with": {"title": "t", "priority": "soon"}}
    async with engine.tasks(), engine.worker():
        execution = await engine.run(step)
    assert execution["error"]["problem"]["errors"][0]["pointer"] == "/priority"


async def test_step_stopped_while_it_makes_its_task_says_which_one(folder):
    slowly = [b""] * 5 + [ok(b'{"id": "made"}', status="201 Created")]
    async with upstream(folder, slowly) as tasks:
        client = ServiceClient(tasks.url, "task", InternalTokens(SECRET))
        principal = Principal(subject="test", scopes=Task.scopes)
        services = Services(None, client, client, 60, None, None)
        call = StepCall(new_id(), "ask", {"title": "t"}, {}, principal, services, now())
        starting = asyncio.create_task(Task().start(call))
        await asyncio.sleep(0.1)
        starting.cancel()
        outcome = await starting
        await client.close()
    assert outcome == Waits("task:made", FIRST_LOOK_S)
