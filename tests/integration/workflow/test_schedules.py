"""Schedules: what is kept of them, and that each fire time launches one execution."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from support.workflow_engine import WORKFLOWS, Engine
from tmws_contracts.scopes import SCOPES

Json = dict[str, Any]
STEP = {"id": "a", "uses": "transform", "with": {"x": 1}}
# Next January at the earliest, so that nothing fires but what a test makes due.
YEARLY = {"cron": "0 0 1 1 *"}
HOLD = {"id": "hold", "uses": "delay", "with": {"duration": "1h"}}
NUMBER = {"type": "object", "required": ["n"], "properties": {"n": {"type": "integer"}}}


@pytest.fixture
async def workflow(engine: Engine) -> str:
    return await engine.save(STEP)


@pytest.fixture
async def worker(engine: Engine) -> AsyncGenerator[None]:
    async with engine.worker():
        yield


def schedules(workflow_id: str) -> str:
    return f"{WORKFLOWS}/{workflow_id}/schedules"


async def schedule(engine: Engine, workflow_id: str, **fields: Any) -> Json:
    answer = await engine.api.call("POST", schedules(workflow_id), json=YEARLY | fields)
    assert answer.status_code == 201, answer.text
    return answer.json()


async def shown(engine: Engine, made: Json) -> Json:
    return (await engine.api.call("GET", f"{schedules(made['workflow_id'])}/{made['id']}")).json()


async def make_due(engine: Engine, made: Json, late_s: float = 0) -> datetime:
    """Let the schedule's next fire be a while ago."""
    moment = datetime.now(UTC).replace(microsecond=0) - timedelta(seconds=late_s)
    await engine.sql("UPDATE schedules SET next_at = $2 WHERE id = $1", made["id"], moment)
    return moment


async def fired(engine: Engine, made: Json, result: str = "launched") -> Json:
    """Return the schedule's last fire once it has this result."""
    async with asyncio.timeout(10):
        while True:
            fire = (await shown(engine, made))["last_fire"]
            if fire is not None and fire["result"] == result:
                return fire
            await asyncio.sleep(0.02)


async def executions(engine: Engine, workflow_id: str) -> list[Json]:
    return (await engine.api.call("GET", f"{WORKFLOWS}/{workflow_id}/executions")).json()["items"]


def pointers(problem: Json) -> set[str]:
    return {error["pointer"] for error in problem["errors"]}


async def test_schedule_shows_its_next_five_fires(engine: Engine, workflow: str) -> None:
    made = await schedule(engine, workflow, timezone="Europe/Berlin", starts_at="2030-01-01T00:00:00Z")
    assert made["next_fires"] == [f"{year}-12-31T23:00:00Z" for year in range(2030, 2035)]
    assert (made["overlap"], made["catch_up"], made["last_fire"], made["runs_as"]) == ("skip", "last", None, "tester")
    assert await shown(engine, made) == made


async def test_everything_wrong_with_a_schedule_is_told_at_once(engine: Engine) -> None:
    workflow_id = await engine.save(STEP, inputs=NUMBER)
    body = {"cron": "61 * * * *", "timezone": "Mars/Base", "parameters": {"n": "x"}}
    answer = await engine.api.call("POST", schedules(workflow_id), json=body)
    assert answer.status_code == 422
    assert pointers(answer.json()) == {"/cron", "/timezone", "/parameters/n"}
    assert "61 * * * *" not in answer.text
    assert "Mars" not in answer.text


@pytest.mark.parametrize(
    ("fields", "pointer"),
    [
        ({"ends_at": "2001-01-01T00:00:00Z"}, "/ends_at"),
        ({"starts_at": "2031-01-02T00:00:00Z", "ends_at": "2031-05-01T00:00:00Z"}, "/ends_at"),
        ({"cron": "0 0 */31 * SUN#2"}, "/cron"),
        ({"starts_at": "9999-12-31T23:59:00Z"}, "/cron"),
        ({"overlap": "queue"}, "/overlap"),
        ({"catch_up_s": 1}, "/catch_up_s"),
        ({"colour": "red"}, "/colour"),
        ({"starts_at": "2031-01-02T00:00:00"}, "/starts_at"),
    ],
)
async def test_schedule_that_cannot_be_is_refused(engine: Engine, workflow: str, fields: Json, pointer: str) -> None:
    answer = await engine.api.call("POST", schedules(workflow), json=YEARLY | fields)
    assert answer.status_code == 422
    assert pointers(answer.json()) == {pointer}


async def test_schedules_are_listed_newest_first(engine: Engine, workflow: str) -> None:
    made = [(await schedule(engine, workflow))["id"] for _ in range(3)]
    first = (await engine.api.call("GET", schedules(workflow), params={"limit": 2})).json()
    cursor = {"limit": 2, "cursor": first["next_cursor"]}
    second = (await engine.api.call("GET", schedules(workflow), params=cursor)).json()
    assert [item["id"] for item in first["items"] + second["items"]] == made[::-1]
    assert second["next_cursor"] is None


async def test_change_keeps_what_it_does_not_name(engine: Engine, workflow: str) -> None:
    made = await schedule(engine, workflow, timezone="Europe/Berlin", parameters={"a": 1})
    path = f"{schedules(workflow)}/{made['id']}"
    answer = await engine.api.call("PATCH", path, json={"cron": "0 12 1 1 *"}, headers={"If-Match": '"1"'})
    changed = answer.json()
    assert changed["next_fires"][0].endswith("-01-01T11:00:00Z")
    assert (changed["timezone"], changed["parameters"], changed["version"]) == ("Europe/Berlin", {"a": 1}, 2)
    stale = await engine.api.call("PATCH", path, json={"is_paused": True}, headers={"If-Match": '"1"'})
    assert stale.status_code == 412


async def test_paused_schedule_does_not_fire_and_goes_on_later(engine: Engine, workflow: str) -> None:
    made = await schedule(engine, workflow, is_paused=True)
    assert made["next_fires"] == []
    path = f"{schedules(workflow)}/{made['id']}"
    resumed = (await engine.api.call("PATCH", path, json={"is_paused": False})).json()
    assert len(resumed["next_fires"]) == 5


async def test_change_gives_it_the_rights_of_whoever_changed_what_runs(engine: Engine, workflow: str) -> None:
    made = await schedule(engine, workflow)
    path, few = f"{schedules(workflow)}/{made['id']}", frozenset({"workflow:run"})
    await engine.api.call("PATCH", path, json={"is_paused": True}, scopes=few)
    kept = await engine.sql("SELECT principal FROM schedules WHERE id = $1", made["id"])
    await engine.api.call("PATCH", path, json={"parameters": {"b": 2}}, scopes=few)
    changed = await engine.sql("SELECT principal FROM schedules WHERE id = $1", made["id"])
    assert "task:write" in kept[0]["principal"]
    assert "task:write" not in changed[0]["principal"]


async def test_schedule_of_another_namespace_is_not_there(engine: Engine, workflow: str) -> None:
    made = await schedule(engine, workflow)
    path = f"{schedules(workflow)}/{made['id']}"
    for method, body in (("GET", None), ("PATCH", {"is_paused": True}), ("DELETE", None)):
        assert (await engine.api.call(method, path, json=body, namespace="others")).status_code == 404
    assert (await engine.api.call("GET", schedules(workflow), namespace="others")).status_code == 404


async def test_schedule_needs_the_right_to_run(engine: Engine, workflow: str) -> None:
    answer = await engine.api.call("POST", schedules(workflow), json=YEARLY, scopes=SCOPES - {"workflow:run"})
    assert answer.status_code == 403


async def test_deleted_schedule_and_those_of_a_deleted_workflow_are_gone(engine: Engine, workflow: str) -> None:
    made, other = await schedule(engine, workflow), await schedule(engine, workflow)
    assert (await engine.api.call("DELETE", f"{schedules(workflow)}/{made['id']}")).status_code == 204
    assert [item["id"] for item in (await engine.api.call("GET", schedules(workflow))).json()["items"]] == [other["id"]]
    assert (await engine.api.call("DELETE", f"{WORKFLOWS}/{workflow}")).status_code == 204
    assert await engine.sql("SELECT id FROM schedules WHERE workflow_id = $1", workflow) == []


async def test_fire_launches_with_the_schedules_parameters_and_priority(engine: Engine, worker: None) -> None:
    workflow_id = await engine.save({**STEP, "with": {"n": "${{ inputs.n }}"}}, inputs=NUMBER)
    made = await schedule(engine, workflow_id, parameters={"n": 7}, priority="high")
    due = await make_due(engine, made)
    fire = await fired(engine, made)
    execution = await engine.ended(fire["execution_id"])
    assert datetime.fromisoformat(fire["fire_time"]) == due
    assert (execution["status"], execution["priority"], execution["started_by"]) == ("completed", "high", "tester")
    assert execution["steps"][0]["output"] == {"n": 7}
    assert len((await shown(engine, made))["next_fires"]) == 5


async def test_many_workers_fire_each_time_once(engine: Engine, workflow: str) -> None:
    made = [await schedule(engine, workflow) for _ in range(20)]
    for each in made:
        await make_due(engine, each)
    async with AsyncExitStack() as stack:
        for _ in range(4):
            await stack.enter_async_context(engine.worker())
        for each in made:
            await fired(engine, each)
        await asyncio.sleep(0.3)
    assert len(await executions(engine, workflow)) == 20


async def test_time_that_has_fired_is_not_fired_again(engine: Engine, workflow: str, worker: None) -> None:
    made = await schedule(engine, workflow)
    due = await make_due(engine, made)
    await fired(engine, made)
    await engine.sql("UPDATE schedules SET next_at = $2 WHERE id = $1", made["id"], due)
    async with asyncio.timeout(5):
        while datetime.fromisoformat((await shown(engine, made))["next_fires"][0]) <= due:
            await asyncio.sleep(0.02)
    assert len(await executions(engine, workflow)) == 1


async def test_fire_is_skipped_while_its_last_execution_is_open(engine: Engine, worker: None) -> None:
    workflow_id = await engine.save(HOLD)
    made = await schedule(engine, workflow_id)
    await make_due(engine, made, late_s=5)
    first = await fired(engine, made)
    await make_due(engine, made)
    skipped = await fired(engine, made, "skipped")
    assert skipped["execution_id"] == first["execution_id"]
    assert len(await executions(engine, workflow_id)) == 1
    await engine.api.call("POST", f"{WORKFLOWS}/{workflow_id}/cancel")


async def test_fire_cancels_the_previous_execution_when_told_to(engine: Engine, worker: None) -> None:
    workflow_id = await engine.save(HOLD)
    made = await schedule(engine, workflow_id, overlap="cancel_previous")
    await make_due(engine, made, late_s=5)
    first = await fired(engine, made)
    await make_due(engine, made)
    assert (await engine.ended(first["execution_id"]))["status"] == "cancelled"
    assert len(await executions(engine, workflow_id)) == 2
    await engine.api.call("POST", f"{WORKFLOWS}/{workflow_id}/cancel")


@pytest.mark.parametrize(
    ("catch_up", "late_s", "result"),
    [("last", 1800, "launched"), ("last", 7200, "missed"), ("none", 1800, "missed"), ("none", 20, "launched")],
)
async def test_fire_that_nobody_was_there_for(
    engine: Engine, workflow: str, worker: None, catch_up: str, late_s: float, result: str
) -> None:
    made = await schedule(engine, workflow, catch_up=catch_up, catch_up_s=3600)
    due = await make_due(engine, made, late_s)
    fire = await fired(engine, made, result)
    assert datetime.fromisoformat(fire["fire_time"]) == due
    assert len(await executions(engine, workflow)) == (result == "launched")


async def test_fire_whose_parameters_no_longer_fit_is_recorded_and_the_schedule_goes_on(
    engine: Engine, workflow: str, worker: None
) -> None:
    made = await schedule(engine, workflow)
    config = {"steps": [STEP], "inputs": NUMBER}
    await engine.api.call("PUT", f"{WORKFLOWS}/{workflow}", json={"config": config})
    await make_due(engine, made)
    fire = await fired(engine, made, "failed")
    told = await engine.sql("SELECT type, data FROM outbox WHERE subject = $1", made["id"])
    assert pointers(fire["problem"]) == {"/parameters"}
    assert [row["type"] for row in told] == ["schedule.failed"]
    assert len((await shown(engine, made))["next_fires"]) == 5
    assert await executions(engine, workflow) == []


async def test_schedule_that_nobody_can_read_is_paused_and_does_not_keep_others_from_firing(
    engine: Engine, workflow: str, worker: None
) -> None:
    broken, sound = await schedule(engine, workflow), await schedule(engine, workflow)
    await engine.sql("UPDATE schedules SET cron = 'nonsense' WHERE id = $1", broken["id"])
    await make_due(engine, broken, late_s=5)
    await make_due(engine, sound)
    await fired(engine, sound)
    paused = await shown(engine, broken)
    assert (paused["is_paused"], paused["next_fires"], paused["last_fire"]["result"]) == (True, [], "failed")


async def test_execution_of_a_schedule_has_no_more_rights_than_its_maker(engine: Engine, worker: None) -> None:
    workflow_id = await engine.save({"id": "ask", "uses": "task", "with": {"title": "x"}})
    async with engine.tasks():
        path, few = schedules(workflow_id), frozenset({"workflow:run"})
        made = (await engine.api.call("POST", path, json=YEARLY, scopes=few)).json()
        await make_due(engine, made)
        execution = await engine.ended((await fired(engine, made))["execution_id"])
    assert (execution["status"], execution["error"]["status"]) == ("failed", 403)
