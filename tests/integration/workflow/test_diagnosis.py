"""Why does this not move? Every way in which an execution can stand still, and what is said about it."""

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

import pytest

from support.service import ServiceUnderTest
from support.web import website
from support.workflow_engine import Engine, statuses
from tmws_contracts.scopes import SCOPES

Json = dict[str, Any]
QUICK = {"id": "a", "uses": "transform", "with": {"x": 1}}
HOLD = {"id": "hold", "uses": "delay", "with": {"duration": "1h"}}
ASK = {"id": "ask", "uses": "task", "with": {"title": "Look at it", "assigned_persona": "hera"}}
RETRY = {"max_attempts": 3, "initial": "1h", "factor": 1, "max": "1h"}
UNREACHED = {"id": "find", "uses": "memory.search", "with": {"query": "x"}, "retry": RETRY}


@pytest.fixture
async def worker(engine: Engine) -> AsyncGenerator[None]:
    async with engine.worker():
        yield


@pytest.fixture
async def tasks(engine: Engine) -> AsyncGenerator[ServiceUnderTest]:
    async with engine.tasks() as service:
        yield service


@pytest.fixture(autouse=True)
async def nobody_else(engine: Engine) -> None:
    """Forget what other tests have left."""
    await engine.sql("TRUNCATE executions, step_executions, events, approvals, signals, workers CASCADE")


async def diagnosis(engine: Engine, execution_id: str, **who: Any) -> Json:
    answer = await engine.api.call("GET", f"/api/v1/executions/{execution_id}/diagnosis", **who)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def eventually(engine: Engine, execution_id: str, verdict: str) -> Json:
    """Return the diagnosis once it has this verdict."""
    found: Json = {}
    try:
        async with asyncio.timeout(10):
            while (found := await diagnosis(engine, execution_id))["verdict"] != verdict:
                await asyncio.sleep(0.05)
    except TimeoutError:
        pytest.fail(str(found))
    return found


def step(found: Json, name: str) -> Json:
    return next(each for each in found["steps"] if each["id"] == name)


def calls(thing: Json) -> list[str]:
    return [f"{call['method']} {call['path']}" for call in thing["unblock"]]


async def test_ready_step_without_any_worker(engine: Engine) -> None:
    execution_id = await engine.start(QUICK)
    found = await diagnosis(engine, execution_id)
    assert found["verdict"] == "no_worker"
    assert "no worker has been seen in the last day" in found["summary"]
    assert found["workers"] == {"alive": 0, "in_flight": 0, "capacity": 0, "last_seen_at": None}


async def test_worker_that_has_ended_counts_no_more(engine: Engine) -> None:
    async with engine.worker():
        async with asyncio.timeout(5):
            while not await engine.sql("SELECT 1 FROM workers"):
                await asyncio.sleep(0.02)
    assert (await diagnosis(engine, await engine.start(QUICK)))["workers"]["alive"] == 0


async def test_step_whose_worker_has_died(engine: Engine) -> None:
    execution_id = await engine.start(QUICK)
    await engine.sql(
        """UPDATE step_executions SET status = 'running', attempt = 1, lease_until = now() - interval '1 s'
           WHERE execution_id = $1 AND path = 'a'""",
        execution_id,
    )
    found = await diagnosis(engine, execution_id)
    assert (found["verdict"], "Its worker has died" in found["summary"]) == ("no_worker", True)


async def test_ready_step_behind_others_tells_its_place(engine: Engine) -> None:
    earlier = [await engine.start(QUICK) for _ in range(3)]
    last = await engine.start(QUICK)
    await engine.sql("INSERT INTO workers (id, host, in_flight, capacity) VALUES (gen_random_uuid(), 'h', 4, 4)")
    found = await diagnosis(engine, last)
    assert found["verdict"] == "queued"
    assert step(found, "a")["queue"]["ahead"] == len(earlier)
    assert "4 of 4 places of 1 workers are taken" in found["summary"]


async def test_step_that_comes_after_another_says_so(engine: Engine, worker: None) -> None:
    execution_id = await engine.start(HOLD, QUICK | {"needs": ["hold"]})
    found = await eventually(engine, execution_id, "waiting_for_time")
    assert step(found, "a")["explanation"] == "It comes after hold."
    assert step(found, "a")["waiting_for"]["steps"] == ["hold"]
    assert step(found, "hold")["until"] > step(found, "hold")["since"]


async def test_step_that_is_tried_again_tells_error_attempts_and_time(engine: Engine, worker: None) -> None:
    found = await eventually(engine, await engine.start(UNREACHED), "retrying")
    tried = step(found, "find")
    assert (tried["attempt"], tried["attempts_left"], tried["error"]["code"]) == (1, 2, "unavailable")
    assert tried["until"] == tried["waiting_for"]["until"]


async def test_task_that_nobody_has_claimed(engine: Engine, worker: None, tasks: ServiceUnderTest) -> None:
    found = await eventually(engine, await engine.start(ASK), "waiting_for_agent")
    ask = step(found, "ask")
    assert ask["task"]["status"] == "pending"
    assert "persona hera may" in found["summary"]
    assert calls(ask) == ["POST /api/v1/tasks/claim", f"POST /api/v1/tasks/{ask['task']['id']}/complete"]


async def test_task_that_somebody_works_on(engine: Engine, worker: None, tasks: ServiceUnderTest) -> None:
    execution_id = await engine.start(ASK)
    await eventually(engine, execution_id, "waiting_for_agent")
    await tasks.call("POST", "/api/v1/tasks/claim", json={"agent_id": "agent-7", "personas": ["hera"], "limit": 10})
    found = await eventually(engine, execution_id, "waiting_for_task")
    assert "agent-7 works on it" in found["summary"]
    assert step(found, "ask")["task"]["lease_until"] is not None


async def test_task_that_depends_on_another(engine: Engine, worker: None, tasks: ServiceUnderTest) -> None:
    first = (await tasks.call("POST", "/api/v1/tasks", json={"title": "First"})).json()["id"]
    wants = {**ASK, "with": {"title": "Second", "depends_on": [first]}}
    found = await eventually(engine, await engine.start(wants), "waiting_for_task")
    assert step(found, "ask")["task"]["blocked_by"] == [first]
    assert calls(step(found, "ask")) == [f"POST /api/v1/tasks/{first}/complete"]


async def test_task_service_that_is_away_is_said_and_no_error(engine: Engine, worker: None) -> None:
    async with engine.tasks():
        execution_id = await engine.start(ASK)
        await eventually(engine, execution_id, "waiting_for_agent")
    found = await diagnosis(engine, execution_id)
    assert found["verdict"] == "waiting_for_task"
    assert step(found, "ask")["task"]["detail"] == "The task service cannot be asked now."


async def test_task_is_not_shown_to_whoever_may_not_read_tasks(
    engine: Engine, worker: None, tasks: ServiceUnderTest
) -> None:
    execution_id = await engine.start(ASK)
    await eventually(engine, execution_id, "waiting_for_agent")
    found = await diagnosis(engine, execution_id, scopes=SCOPES - {"task:read"})
    assert step(found, "ask")["task"]["status"] is None


async def test_approval_tells_who_may_decide_and_how(engine: Engine, worker: None) -> None:
    ask = {"id": "ok", "uses": "approval", "with": {"prompt": "Publish?", "approvers": ["athena"], "expires_in": "2h"}}
    found = await eventually(engine, await engine.start(ask), "waiting_for_person")
    asked = step(found, "ok")
    path = f"/api/v1/approvals/{asked['waiting_for']['approval_id']}"
    assert calls(asked) == [f"POST {path}/approve", f"POST {path}/reject"]
    assert "athena" in asked["unblock"][0]["by"]
    assert "Publish?" in found["summary"]
    assert asked["until"] is not None


async def test_signal_tells_how_to_send_it(engine: Engine, worker: None) -> None:
    execution_id = await engine.start({"id": "wait", "uses": "signal", "with": {"name": "paid"}})
    found = await eventually(engine, execution_id, "waiting_for_signal")
    assert calls(step(found, "wait")) == [f"POST /api/v1/executions/{execution_id}/signals"]
    assert step(found, "wait")["waiting_for"]["signal"] == "paid"


async def test_child_is_followed_one_level(engine: Engine, worker: None) -> None:
    child = await engine.save(HOLD)
    execution_id = await engine.start({"id": "call", "uses": "workflow", "with": {"workflow_id": child}})
    async with asyncio.timeout(10):
        while (found := await diagnosis(engine, execution_id))["verdict"] != "waiting_for_child" or (
            step(found, "call")["child"]["verdict"] != "waiting_for_time"
        ):
            await asyncio.sleep(0.05)
    call = step(found, "call")
    assert call["child"]["execution_id"] == call["waiting_for"]["execution_id"]
    assert calls(call) == [f"GET /api/v1/executions/{call['child']['execution_id']}/diagnosis"]
    assert "Step hold" in found["summary"]
    await engine.api.call("POST", f"/api/v1/executions/{execution_id}/cancel")


async def test_running_step_tells_where_it_runs(engine: Engine) -> None:
    async with website(lambda asked: b"") as site, engine.worker(workflow_http_allow=f"127.0.0.1:{site.port}"):
        ask = {"id": "ask", "uses": "http", "with": {"url": f"http://127.0.0.1:{site.port}/"}}
        execution_id = await engine.start(ask)
        found = await eventually(engine, execution_id, "running")
        while not step(found, "ask")["attempt"]:
            found = await diagnosis(engine, execution_id)
        await engine.api.call("POST", f"/api/v1/executions/{execution_id}/cancel")
    assert "A worker runs it on " in found["summary"]
    assert found["workers"]["alive"] == 1


async def test_items_of_a_map_are_shown_with_what_they_wait_for(engine: Engine, worker: None) -> None:
    hold = {"uses": "delay", "with": {"duration": "1h"}}
    each = {"id": "each", "uses": "map", "with": {"over": [1, 2, 3], "concurrency": 2}, "step": hold}
    execution_id = await engine.start(each)
    await engine.wait(execution_id, lambda execution: list(statuses(execution).values()) == ["waiting"] * 3)
    found = await diagnosis(engine, execution_id)
    assert [one["id"] for one in found["steps"]] == ["each", "each[0]", "each[1]"]
    assert step(found, "each")["waiting_for"]["what"] == "items"
    assert step(found, "each[1]")["waiting_for"]["what"] == "time"


async def test_paused_execution_tells_how_to_go_on(engine: Engine) -> None:
    execution_id = await engine.start(QUICK)
    await engine.api.call("POST", f"/api/v1/executions/{execution_id}/pause")
    found = await diagnosis(engine, execution_id)
    assert found["verdict"] == "paused"
    assert calls(found) == [f"POST /api/v1/executions/{execution_id}/resume"]
    assert step(found, "a")["explanation"] == "It is held back by the pause."


async def test_failed_execution_tells_which_step_and_how_to_try_again(engine: Engine, worker: None) -> None:
    broken = {"id": "b", "uses": "transform", "with": {"x": "${{ steps.a.output.nothing }}"}, "needs": ["a"]}
    ended = await engine.run(QUICK, broken)
    found = await diagnosis(engine, ended["id"])
    assert (found["verdict"], found["status"]) == ("finished", "failed")
    assert [each["id"] for each in found["steps"]] == ["b"]
    assert "at step b" in found["summary"]
    assert calls(found) == [f"POST /api/v1/executions/{ended['id']}/retry"]


async def test_completed_execution_has_nothing_to_do(engine: Engine, worker: None) -> None:
    ended = await engine.run(QUICK)
    found = await diagnosis(engine, ended["id"])
    assert (found["verdict"], found["steps"], found["unblock"]) == ("finished", [], [])


async def test_diagnosis_of_another_namespace_is_not_there(engine: Engine) -> None:
    execution_id = await engine.start(QUICK)
    answer = await engine.api.call("GET", f"/api/v1/executions/{execution_id}/diagnosis", namespace="others")
    assert answer.status_code == 404
