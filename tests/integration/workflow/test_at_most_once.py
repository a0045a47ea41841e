"""A step that must not have its effect twice is not tried again when nobody knows whether it had it."""

import asyncio
from contextlib import asynccontextmanager

from support.upstream import ok, upstream
from support.workflow_engine import Engine, statuses, step_of
from tmws_workflow.runner import Pace

ONCE = {"id": "pay", "uses": "memory.store", "at_most_once": True, "with": {"content": "x"}}
AFTER = {"id": "after", "uses": "transform", "needs": ["pay"]}
FOUND = ok(b'{"items": []}')
BUSY = ok(b'{"title": "busy", "status": 503}', status="503 Service Unavailable")
NEVER_ENDING = [b"HTTP/1.1 200 OK\r\n"] + [b"X: y\r\n"] * 200
LOST = """UPDATE step_executions SET lease_owner = gen_random_uuid(), lease_until = now()
    WHERE execution_id = $1 AND status = 'running'"""


@asynccontextmanager
async def cut_off_site():
    """A site that hangs up in the middle of its answer; its port and what it was asked."""
    asked = []

    async def serve(reader, writer):
        asked.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf of")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1], asked


async def test_lost_worker_leaves_the_outcome_unknown(engine: Engine, folder):
    async with upstream(folder, NEVER_ENDING) as memory, engine.worker(memory_url=memory.url):
        execution_id = await engine.start(ONCE, AFTER)
        await engine.reached(execution_id, "pay", "running")
        await engine.sql(LOST, execution_id)
        execution = await engine.ended(execution_id)
        assert len(memory.asked) == 1
    assert (execution["status"], execution["error"]["code"]) == ("failed", "outcome_unknown")
    assert statuses(execution) == {"pay": "outcome_unknown", "after": "cancelled"}


async def test_worker_that_leaves_during_the_call_does_not_hand_the_step_back(engine: Engine, folder):
    async with upstream(folder, NEVER_ENDING) as memory:
        async with engine.worker(Pace(lease_s=3600), memory_url=memory.url):
            execution_id = await engine.start(ONCE)
            while not memory.asked:
                await engine.reached(execution_id, "pay", "running")
        execution = await engine.execution(execution_id)
    assert step_of(execution, "pay")["status"] == "outcome_unknown"


async def test_failure_is_not_repeated(engine: Engine, folder):
    async with upstream(folder, BUSY) as memory, engine.worker(memory_url=memory.url):
        execution = await engine.run(ONCE)
        assert len(memory.asked) == 1
    assert statuses(execution) == {"pay": "failed"}


async def test_person_may_retry(engine: Engine, folder):
    async with upstream(folder, BUSY, FOUND) as memory, engine.worker(memory_url=memory.url):
        failed = await engine.run(ONCE, AFTER)
        await engine.api.call("POST", f"/api/v1/executions/{failed['id']}/retry")
        assert (await engine.ended(failed["id"]))["status"] == "completed"


async def test_retry_policy_contradicts_it(engine: Engine):
    body = {"name": "x", "workflow_type": "dag", "config": {"steps": [ONCE | {"retry": {"max_attempts": 2}}]}}
    answer = await engine.api.call("POST", "/api/v1/workflows/validate", json=body)
    assert [error["pointer"] for error in answer.json()["errors"]] == ["/config/steps/0/retry"]


async def test_request_whose_answer_is_broken_off_has_an_unknown_outcome(engine: Engine):
    async with cut_off_site() as (port, asked), engine.worker(workflow_http_allow=f"127.0.0.1:{port}"):
        arguments = {"url": f"http://127.0.0.1:{port}/", "method": "POST"}
        execution = await engine.run({"id": "pay", "uses": "http", "at_most_once": True, "with": arguments})
    assert (statuses(execution), len(asked)) == ({"pay": "outcome_unknown"}, 1)
    assert step_of(execution, "pay")["error"]["code"] == "unanswered"
