"""A worker dies at every boundary between its writes, one after the other; another one finishes the execution."""

import asyncio

import pytest

from support.crashing import EXIT_CODE
from support.invariants import check_journals, tasks_by_step
from support.service import ServiceUnderTest
from support.workflow_engine import Engine, statuses

STEPS = [
    {"id": "first", "uses": "transform", "with": {"x": 1}},
    {"id": "ask", "uses": "task", "needs": ["first"], "with": {"title": "Do it"}},
    {"id": "beside", "uses": "transform", "needs": ["first"], "with": {"x": 2}},
    {"id": "last", "uses": "transform", "needs": ["ask", "beside"], "with": {"x": "${{ steps.ask.output.status }}"}},
]
CRASH = {"program": "support.crashing"}
MOST_BOUNDARIES = 400


async def complete_tasks(tasks: ServiceUnderTest) -> None:
    """Complete every task as soon as it is there."""
    while True:
        answer = await tasks.call("GET", "/api/v1/tasks", params={"status": "pending", "limit": 200})
        for task in answer.json()["items"]:
            await tasks.call("POST", f"/api/v1/tasks/{task['id']}/complete", json={"result": {}})
        await asyncio.sleep(0.02)


async def run_into(engine: Engine, boundary: int) -> tuple[str, bool]:
    """Run an execution with a worker that dies there, then with one that lives; return it and whether one died."""
    with engine.worker_process(f"doomed-{boundary}", **CRASH, DIE_AT=str(boundary)) as process:
        execution = await engine.start(*STEPS)
        while process.poll() is None and not await engine.has_ended(execution):
            await asyncio.sleep(0.02)
        died = process.poll() is not None
        assert process.poll() in (None, EXIT_CODE), (engine.folder / f"doomed-{boundary}.log").read_text()
    if died:
        async with engine.worker():
            await engine.ended(execution)
    return execution, died


# Hundreds of processes, a second or three each.
@pytest.mark.timeout(3600)
async def test_no_boundary_loses_or_repeats_anything(engine: Engine) -> None:
    seen: list[str] = []
    async with engine.tasks() as tasks:
        completing = asyncio.create_task(complete_tasks(tasks))
        for boundary in range(MOST_BOUNDARIES):
            execution, died = await run_into(engine, boundary)
            seen.append(execution)
            shown = await engine.execution(execution)
            assert set(statuses(shown).values()) == {"completed"}, (boundary, shown)
            if not died:
                break
        completing.cancel()

    assert 10 < len(seen) < MOST_BOUNDARIES
    await check_journals(engine, seen)
    assert await tasks_by_step(engine) == {(execution, "ask"): 1 for execution in seen}
