"""A step executes another workflow and waits for it; each run of the step has one child."""

import asyncio
from uuid import UUID

from support.upstream import ok, upstream
from support.workflow_engine import Engine, step_of
from tmws_shared.auth import Principal
from tmws_shared.database import Database
from tmws_workflow.children import ChildExecutions
from tmws_workflow.plans import Plans
from tmws_workflow.steps.base import ChildWanted

GREET = {"id": "greet", "uses": "transform", "with": {"text": "hello ${{ inputs.name }}"}}
INPUTS = {"type": "object", "required": ["name"], "properties": {"name": {"type": "string"}}}
CHILDREN = """SELECT id::text, status::text, depth, parent_path, root_execution_id::text AS root FROM executions
    WHERE parent_execution_id = $1"""


def calls(workflow: str, **others):
    return {"id": "call", "uses": "workflow", "with": {"workflow_id": workflow, **others}}


async def test_child_s_output_is_the_step_s(engine: Engine):
    child = await engine.save(GREET, inputs=INPUTS, output="${{ steps.greet.output.text }}")
    async with engine.worker():
        execution = await engine.run(calls(child, parameters={"name": "you"}))
    [row] = await engine.sql(CHILDREN, execution["id"])
    assert step_of(execution, "call")["output"] == "hello you"
    assert (row["status"], row["depth"], row["parent_path"], row["root"]) == ("completed", 1, "call", execution["id"])


async def test_child_is_found_by_its_name(engine: Engine):
    body = {"name": "only one", "workflow_type": "dag", "config": {"steps": [{"id": "a", "uses": "transform"}]}}
    await engine.api.call("POST", "/api/v1/workflows", json=body)
    async with engine.worker():
        execution = await engine.run({"id": "call", "uses": "workflow", "with": {"name": "only one"}})
    assert execution["status"] == "completed"


async def test_child_s_failure_is_the_step_s(engine: Engine):
    child = await engine.save({"id": "bad", "uses": "transform", "with": {"x": "${{ [1][5] }}"}})
    async with engine.worker():
        execution = await engine.run(calls(child))
    assert (execution["status"], execution["error"]["code"]) == ("failed", "expression")
    assert execution["error"]["step"] == "call"


async def test_parameters_that_do_not_fit_fail_the_step(engine: Engine):
    child = await engine.save(GREET, inputs=INPUTS)
    async with engine.worker():
        execution = await engine.run(calls(child))
    assert (execution["error"]["code"], execution["error"]["status"]) == ("refused", 422)


async def test_missing_workflow_fails_the_step(engine: Engine):
    async with engine.worker():
        execution = await engine.run(calls("00000000-0000-7000-8000-000000000000"))
    assert execution["error"]["code"] == "workflow_not_found"


async def test_cancelling_the_parent_cancels_the_child(engine: Engine):
    child = await engine.save({"id": "wait", "uses": "delay", "with": {"duration": "1h"}})
    async with engine.worker():
        execution_id = await engine.start(calls(child))
        await engine.reached(execution_id, "call", "waiting")
        [row] = await engine.sql(CHILDREN, execution_id)
        await engine.api.call("POST", f"/api/v1/executions/{execution_id}/cancel")
        ended = await engine.ended(row["id"])
    assert ended["status"] == "cancelled"


async def test_child_its_parent_never_knew_of_is_cancelled(engine: Engine):
    child = await engine.save({"id": "wait", "uses": "delay", "with": {"duration": "1h"}})
    execution_id, orphan = await engine.start({"id": "a", "uses": "transform"}), await engine.execute(child)
    await engine.api.call("POST", f"/api/v1/executions/{execution_id}/cancel")
    await engine.sql(
        "UPDATE executions SET parent_execution_id = $1, parent_path = 'a', parent_run = 0 WHERE id = $2",
        execution_id,
        orphan,
    )
    async with engine.worker():
        assert (await engine.ended(orphan))["status"] == "cancelled"


async def test_child_of_a_paused_parent_goes_on(engine: Engine):
    child = await engine.save({"id": "wait", "uses": "delay", "with": {"duration": "300ms"}})
    after = {"id": "after", "uses": "transform", "needs": ["call"]}
    async with engine.worker():
        execution_id = await engine.start(calls(child), after)
        await engine.reached(execution_id, "call", "waiting")
        await engine.api.call("POST", f"/api/v1/executions/{execution_id}/pause")
        paused = await engine.reached(execution_id, "call", "completed")
    assert (paused["status"], step_of(paused, "after")["status"]) == ("paused", "pending")


async def test_worker_killed_after_launching_leaves_one_child(engine: Engine):
    child = await engine.save({"id": "wait", "uses": "delay", "with": {"duration": "500ms"}})
    async with engine.worker():
        execution_id = await engine.start(calls(child))
        await engine.reached(execution_id, "call", "waiting")
        # As if the worker had died before it could say what the step waits for.
        await engine.sql(
            """UPDATE step_executions SET status = 'running', wait_key = NULL, lease_owner = gen_random_uuid(),
            lease_until = now() WHERE execution_id = $1""",
            execution_id,
        )
        execution = await engine.ended(execution_id)
    rows = await engine.sql(CHILDREN, execution_id)
    assert (execution["status"], step_of(execution, "call")["attempt"], len(rows)) == ("completed", 2, 1)


async def test_retry_launches_a_child_anew(engine: Engine, folder):
    refused = ok(b'{"title": "no", "status": 422}', status="422 Unprocessable Content")
    child = await engine.save({"id": "a", "uses": "memory.search", "with": {"query": "x"}})
    async with upstream(folder, refused, ok(b'{"items": []}')) as memory, engine.worker(memory_url=memory.url):
        failed = await engine.run(calls(child))
        await engine.api.call("POST", f"/api/v1/executions/{failed['id']}/retry")
        execution = await engine.ended(failed["id"])
    rows = await engine.sql(CHILDREN, failed["id"])
    assert (execution["status"], sorted(row["status"] for row in rows)) == ("completed", ["completed", "failed"])


async def test_workflow_that_calls_itself_is_stopped_at_sixteen(engine: Engine):
    name = {"id": "call", "uses": "workflow", "with": {"name": "endless"}}
    body = {"name": "endless", "workflow_type": "dag", "config": {"steps": [name]}}
    saved = (await engine.api.call("POST", "/api/v1/workflows", json=body)).json()
    async with engine.worker():
        execution = await engine.ended(await engine.execute(saved["id"]))
    [row] = await engine.sql(
        "SELECT max(depth) AS deepest FROM executions WHERE root_execution_id = $1", execution["id"]
    )
    assert (execution["status"], execution["error"]["code"], row["deepest"]) == ("failed", "too_deep", 8)


async def test_parent_hears_at_once_that_its_child_has_ended(engine: Engine):
    # Between the first look at the child, after half a second, and the next, two seconds later.
    child = await engine.save({"id": "wait", "uses": "delay", "with": {"duration": "1200ms"}})
    async with engine.worker():
        execution_id = (await engine.run(calls(child)))["id"]
    [row] = await engine.sql(
        """SELECT extract(epoch FROM p.finished_at - c.finished_at)::float8 AS later_s
        FROM executions p JOIN executions c ON c.parent_execution_id = p.id WHERE p.id = $1""",
        execution_id,
    )
    assert row["later_s"] < 1


async def test_attempts_that_race_launch_one_child(engine: Engine):
    child = await engine.save({"id": "a", "uses": "transform"})
    execution_id = UUID(await engine.start(calls(child)))
    principal = Principal(subject="test", scopes=frozenset({"workflow:run"}))
    wanted = ChildWanted(execution_id, "call", 0, principal, UUID(child), None, {}, None)
    database = await Database.connect(engine.database.for_service("workflow"), name="test", max_size=8)
    children = ChildExecutions(database, Plans())
    launched = await asyncio.gather(*(children.launch(wanted) for _ in range(8)))
    await database.close()
    assert len(set(launched)) == 1
