"""A cancelled execution ends: what is queued at once, what runs as soon as it can be stopped."""

import asyncio

from support.upstream import upstream
from support.workflow_engine import Engine, statuses
from tmws_workflow.cancelling import BATCH
from tmws_workflow.runner import Pace

SEARCH = {"id": "search", "uses": "memory.search", "with": {"query": "x"}}
AFTER = {"id": "after", "uses": "transform", "needs": ["search"]}
HELD_BY_SOMEBODY = """UPDATE step_executions SET status = 'running', lease_owner = gen_random_uuid(),
    lease_until = now() + interval '1 hour' WHERE execution_id = $1 AND path = 'search'"""
MANY = """
    WITH e AS (
        INSERT INTO executions (id, namespace, workflow_id, workflow_version, priority, parameters, principal,
            open_steps, last_seq)
        SELECT gen_random_uuid(), namespace, workflow_id, workflow_version, priority, parameters, principal, 1, 1
        FROM executions, generate_series(1, $2) WHERE id = $1 RETURNING id, namespace
    )
    INSERT INTO step_executions (execution_id, namespace, path, place, kind, status, unmet, sched_key)
    SELECT id, namespace, 'search', 0, 'memory.search', 'ready', 0, now() FROM e
"""
NEVER_ENDING = [b"HTTP/1.1 200 OK\r\n"] + [b"X: y\r\n"] * 200


async def cancel(engine: Engine, workflow_id: str) -> list[str]:
    answer = await engine.api.call("POST", f"/api/v1/workflows/{workflow_id}/cancel")
    return answer.json()["executions"]


async def test_queued_execution_ends_at_once(engine: Engine):
    workflow = await engine.save(SEARCH, AFTER)
    execution_id = await engine.execute(workflow)
    assert await cancel(engine, workflow) == [execution_id]
    execution = await engine.execution(execution_id)
    assert execution["status"] == "cancelled"
    assert statuses(execution) == {"search": "cancelled", "after": "cancelled"}


async def test_running_step_is_stopped(engine: Engine, folder):
    workflow = await engine.save(SEARCH, AFTER)
    async with upstream(folder, NEVER_ENDING) as memory, engine.worker(memory_url=memory.url):
        execution_id = await engine.execute(workflow)
        await engine.reached(execution_id, "search", "running")
        await cancel(engine, workflow)
        execution = await engine.ended(execution_id)
    assert execution["status"] == "cancelled"
    assert statuses(execution) == {"search": "cancelled", "after": "cancelled"}


async def test_execution_is_cancelling_while_a_step_runs(engine: Engine):
    workflow = await engine.save(SEARCH, AFTER)
    execution_id = await engine.execute(workflow)
    await engine.sql(HELD_BY_SOMEBODY, execution_id)
    await cancel(engine, workflow)
    execution = await engine.execution(execution_id)
    assert execution["status"] == "cancelling"
    assert statuses(execution) == {"search": "running", "after": "cancelled"}


async def test_waiting_step_is_cancelled(engine: Engine):
    workflow = await engine.save({"id": "a", "uses": "delay", "with": {"duration": "1h"}})
    async with engine.worker():
        execution_id = await engine.execute(workflow)
        await engine.reached(execution_id, "a", "waiting")
        await cancel(engine, workflow)
    assert statuses(await engine.execution(execution_id)) == {"a": "cancelled"}


async def test_every_open_execution_is_cancelled(engine: Engine):
    workflow = await engine.save(SEARCH)
    executions = [await engine.execute(workflow) for _ in range(3)]
    assert sorted(await cancel(engine, workflow)) == sorted(executions)


async def test_cancelling_twice_changes_nothing(engine: Engine):
    workflow = await engine.save(SEARCH)
    execution_id = await engine.execute(workflow)
    await cancel(engine, workflow)
    before = await engine.journal(execution_id)
    assert await cancel(engine, workflow) == []
    assert await engine.journal(execution_id) == before


async def test_workflow_of_a_cancelled_execution_is_cancelled(engine: Engine):
    workflow = await engine.save(SEARCH)
    await engine.execute(workflow)
    await cancel(engine, workflow)
    assert (await engine.api.call("GET", f"/api/v1/workflows/{workflow}")).json()["status"] == "cancelled"


async def test_more_executions_than_one_batch_are_all_cancelled(engine: Engine):
    workflow = await engine.save(SEARCH)
    execution_id = await engine.execute(workflow)
    await engine.sql(MANY, execution_id, BATCH + 1)
    assert len(await cancel(engine, workflow)) == BATCH + 2
    rows = await engine.sql("SELECT DISTINCT status::text FROM executions WHERE workflow_id = $1", workflow)
    assert [row["status"] for row in rows] == ["cancelled"]


async def test_running_call_is_hung_up_within_a_second(engine: Engine, folder):
    async with upstream(folder, NEVER_ENDING) as memory, engine.worker(Pace(), memory_url=memory.url):
        execution_id = await engine.start(SEARCH, AFTER)
        await engine.reached(execution_id, "search", "running")
        answer = await engine.api.call("POST", f"/api/v1/executions/{execution_id}/cancel")
        async with asyncio.timeout(1):
            await memory.hung_up.wait()
        execution = await engine.ended(execution_id)
    assert answer.json()["status"] == "cancelling"
    assert (execution["status"], statuses(execution)) == ("cancelled", {"search": "cancelled", "after": "cancelled"})


async def test_cancelled_execution_stays_cancelled(engine: Engine):
    execution_id = await engine.start(SEARCH)
    path = f"/api/v1/executions/{execution_id}/cancel"
    answers = [await engine.api.call("POST", path) for _ in range(2)]
    assert [(answer.status_code, answer.json()["status"]) for answer in answers] == [(200, "cancelled")] * 2


async def test_completed_execution_cannot_be_cancelled(engine: Engine):
    async with engine.worker():
        execution = await engine.run({"id": "a", "uses": "transform"})
    answer = await engine.api.call("POST", f"/api/v1/executions/{execution['id']}/cancel")
    assert (answer.status_code, answer.json()["current"]) == (409, "completed")
