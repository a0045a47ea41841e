"""When an execution cannot end well, what its completed steps did is undone, the last one first."""

import orjson
import pytest

from support.upstream import Upstream, ok, upstream
from support.workflow_engine import Engine, statuses, step_of

pytestmark = pytest.mark.usefixtures("empty_queue")

FOUND = ok(b'{"items": []}')
BUSY = ok(b'{"title": "busy", "status": 503}', status="503 Service Unavailable")
REFUSED = ok(b'{"title": "no", "status": 422, "detail": "no"}', status="422 Unprocessable Content")
BAD = "${{ [1][5] }}"
NEVER_ENDING = [b"HTTP/1.1 200 OK\r\n"] + [b"X: y\r\n"] * 200


def book(name, *needs, **others):
    undo = {"uses": "memory.store", "with": {"content": f"undo ${{{{ steps.{name}.output.room }}}}"}}
    step = {"id": name, "uses": "transform", "needs": list(needs), "with": {"room": name}, "compensate": undo}
    return step | others


def fails(*needs):
    return {"id": "fails", "uses": "transform", "needs": list(needs), "with": {"x": BAD}}


def contents(memory: Upstream) -> list[str]:
    return [orjson.loads(asked.partition(b"\r\n\r\n")[2])["content"] for asked in memory.asked]


async def test_completed_steps_are_undone_in_reverse_order(engine: Engine, folder):
    async with upstream(folder, FOUND) as memory, engine.worker(memory_url=memory.url):
        execution = await engine.run(book("a"), book("b", "a"), book("c", "b"), fails("c"), book("d", "fails"))
    assert contents(memory) == ["undo c", "undo b", "undo a"]
    assert execution["status"] == "failed"
    assert execution["error"]["step"] == "fails"
    assert statuses(execution)["c~undo"] == "completed"
    assert "d~undo" not in statuses(execution)


async def test_execution_ends_only_after_compensation(engine: Engine, folder):
    async with upstream(folder, FOUND) as memory, engine.worker(memory_url=memory.url):
        execution = await engine.run(book("a"), fails("a"))
    types = [event["type"] for event in await engine.journal(execution["id"])]
    assert types.index("compensation.started") < types.index("compensation.ended")
    assert types[-2:] == ["compensation.ended", "execution.failed"]


async def test_execution_shows_its_outcome_while_it_is_undone(engine: Engine, folder):
    async with upstream(folder, NEVER_ENDING) as memory, engine.worker(memory_url=memory.url):
        execution_id = await engine.start(book("a"), fails("a"))
        execution = await engine.wait(execution_id, lambda execution: "a~undo" in statuses(execution))
    assert (execution["status"], execution["outcome"]) == ("running", "failed")


async def test_failing_compensation_is_repeated_then_recorded_and_the_rest_goes_on(engine: Engine, folder):
    first = book("a")
    second = book("b", "a")
    second["compensate"] |= {"retry": {"max_attempts": 2, "initial": "10ms"}}
    async with upstream(folder, BUSY, BUSY, FOUND) as memory, engine.worker(memory_url=memory.url):
        execution = await engine.run(first, second, fails("b"))
    assert contents(memory) == ["undo b", "undo b", "undo a"]
    expected = {"a": "completed", "b": "completed", "fails": "failed", "b~undo": "failed", "a~undo": "completed"}
    assert statuses(execution) == expected
    assert step_of(execution, "b~undo")["attempt"] == 2


async def test_cancelled_execution_is_undone(engine: Engine, folder):
    wait = {"id": "wait", "uses": "delay", "needs": ["a"], "with": {"duration": "1h"}}
    async with upstream(folder, FOUND) as memory, engine.worker(memory_url=memory.url):
        execution_id = await engine.start(book("a"), wait)
        await engine.reached(execution_id, "wait", "waiting")
        answer = await engine.api.call("POST", f"/api/v1/executions/{execution_id}/cancel")
        execution = await engine.ended(execution_id)
    assert answer.json()["status"] == "cancelling"
    assert (execution["status"], contents(memory)) == ("cancelled", ["undo a"])


async def test_nothing_is_undone_when_all_is_well(engine: Engine, folder):
    async with upstream(folder, FOUND) as memory, engine.worker(memory_url=memory.url):
        execution = await engine.run(book("a"), book("b", "a"))
    assert (execution["status"], memory.asked) == ("completed", [])


async def test_cancel_does_not_stop_what_is_being_undone(engine: Engine, folder):
    slow = [b"HTTP/1.1 200 OK\r\nContent-Length: 12\r\n\r\n", *[b" "] * 10, b"{}"]
    async with upstream(folder, slow) as memory, engine.worker(memory_url=memory.url):
        execution_id = await engine.start(book("a"), fails("a"))
        await engine.wait(execution_id, lambda execution: statuses(execution).get("a~undo") == "running")
        await engine.api.call("POST", f"/api/v1/executions/{execution_id}/cancel")
        execution = await engine.ended(execution_id)
    assert (execution["status"], statuses(execution)["a~undo"]) == ("failed", "completed")


async def test_retry_does_again_what_was_undone(engine: Engine, folder):
    search = {"id": "fails", "uses": "memory.search", "needs": ["a"], "with": {"query": "x"}}
    async with upstream(folder, REFUSED, FOUND) as memory, engine.worker(memory_url=memory.url):
        failed = await engine.run(book("a"), search)
        await engine.api.call("POST", f"/api/v1/executions/{failed['id']}/retry")
        execution = await engine.ended(failed["id"])
    completed = [e["step"] for e in await engine.journal(failed["id"]) if e["type"] == "step.completed"]
    assert completed == ["a", "a~undo", "a", "fails"]
    assert (execution["status"], statuses(execution)) == ("completed", {"a": "completed", "fails": "completed"})
