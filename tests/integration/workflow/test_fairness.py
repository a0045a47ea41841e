"""A namespace that floods the queue does not keep others waiting; within one, the urgent come first."""

from uuid import UUID, uuid4

import pytest

from support.workflow_engine import Engine
from tmws_shared.database import Database
from tmws_workflow.repository.queue import Queue

pytestmark = pytest.mark.usefixtures("empty_queue")

STEP = {"id": "a", "uses": "transform"}
FLOOD = """
    WITH e AS (
        INSERT INTO executions (id, namespace, workflow_id, workflow_version, priority, parameters, principal,
            open_steps, last_seq)
        SELECT gen_random_uuid(), 'flood', workflow_id, workflow_version, priority, parameters, principal, 1, 1
        FROM executions, generate_series(1, $2) WHERE id = $1 RETURNING id
    )
    INSERT INTO step_executions (execution_id, namespace, path, place, kind, status, unmet, sched_key)
    SELECT id, 'flood', 'a', 0, 'transform', 'ready', 0, now() - interval '1 minute' FROM e
"""


@pytest.fixture
async def queue(engine: Engine):
    database = await Database.connect(engine.database.for_service("workflow"), name="test", max_size=2)
    yield Queue(database)
    await database.close()


async def flood(engine: Engine, workflow: str, count: int) -> None:
    execution_id = await engine.execute(workflow)
    await engine.sql(FLOOD, execution_id, count)
    await engine.api.call("POST", f"/api/v1/executions/{execution_id}/cancel")


async def test_flooded_queue_does_not_keep_another_s_step_waiting(engine: Engine):
    workflow = await engine.save(STEP)
    await flood(engine, workflow, 10_000)
    async with engine.worker():
        execution = await engine.ended(await engine.execute(workflow))
        [left] = await engine.sql("SELECT count(*) FROM step_executions WHERE namespace = 'flood' AND status = 'ready'")
    assert execution["status"] == "completed"
    assert left["count"] > 0


async def test_one_slot_goes_round(engine: Engine, queue: Queue):
    workflow = await engine.save(STEP)
    await flood(engine, workflow, 5)
    own = [UUID(await engine.execute(workflow)) for _ in range(2)]
    claimed = [(await queue.claim(1, uuid4(), 60.0))[0][1] for _ in range(4)]
    assert sorted(origin.namespace for origin in claimed) == ["default", "default", "flood", "flood"]
    assert {origin.execution_id for origin in claimed if origin.namespace == "default"} == set(own)


async def test_slots_are_shared_evenly(engine: Engine, queue: Queue):
    workflow = await engine.save(STEP)
    await flood(engine, workflow, 20)
    for _ in range(6):
        await engine.execute(workflow)
    claimed = [origin.namespace for _, origin in await queue.claim(8, uuid4(), 60.0)]
    assert (claimed.count("flood"), claimed.count("default")) == (4, 4)


async def test_namespaces_that_wait_for_room_are_counted(engine: Engine, queue: Queue):
    workflow = await engine.save(STEP)
    await flood(engine, workflow, 3)
    assert await queue.others([]) == 1
    assert await queue.others(["flood"]) == 0


async def test_worker_full_of_one_namespace_makes_room_for_another(engine: Engine):
    """Chains would hold every slot for ever if successors were always taken at once."""
    chain = [{"id": f"s{n}", "uses": "transform"} for n in range(100)]
    workflow, single = await engine.save(*chain, kind="sequential"), await engine.save(STEP)
    for _ in range(4):
        await engine.execute(workflow)
    await engine.sql("UPDATE step_executions SET namespace = 'flood'")
    await engine.sql("UPDATE executions SET namespace = 'flood'")
    async with engine.worker(workflow_in_flight=2):
        await engine.ended(await engine.execute(single))
        [row] = await engine.sql("SELECT count(*) FROM executions WHERE status IN ('pending', 'running')")
    assert row["count"] > 0
