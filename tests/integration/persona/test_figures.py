"""What a persona has and does, counted with the caller's rights."""

from typing import Any

import pytest

from support.memories import store
from support.service import ServiceUnderTest
from support.tasks import Board
from support.workflow_engine import Engine

PATH = "/api/v1/personas/athena/stats"
STEP = {"id": "think", "uses": "agent", "persona": "athena", "with": {"instructions": "Think."}}
ASK = {"id": "ask", "uses": "approval", "with": {"prompt": "Publish?", "approvers": ["athena"]}}
Json = dict[str, Any]


async def figures(service: ServiceUnderTest, namespace: str = "default", **caller: Any) -> Json:
    answer = await service.call("GET", PATH, namespace=namespace, **caller)
    assert answer.status_code == 200, answer.text
    return answer.json()


def values(counts: Json) -> dict[str, int]:
    return {name: count for name, count in counts.items() if count}


async def test_tasks_are_counted_by_status(persona: ServiceUnderTest, task: ServiceUnderTest) -> None:
    board = Board(task)
    first = await board.create(assigned_persona="athena")
    await board.create(assigned_persona="athena", depends_on=[first["id"]])
    done = await board.create(assigned_persona="athena")
    await board.create(assigned_persona="hera")
    await board.complete(done)
    tasks = (await figures(persona, board.namespace))["tasks"]
    assert values(tasks["by_status"]) == {"pending": 2, "completed": 1}
    assert (tasks["ready"], tasks["completed_lately"], tasks["overdue"]) == (1, 1, 0)


async def test_more_than_a_page_of_tasks_is_counted_exactly(persona: ServiceUnderTest, task: ServiceUnderTest) -> None:
    board = Board(task)
    many = [{"op": "create", "title": "One of many", "assigned_persona": "athena"}] * 150
    assert (await board.call("POST", "/batch", json={"operations": many})).is_success
    tasks = (await figures(persona, board.namespace))["tasks"]
    assert (tasks["by_status"]["pending"], tasks["ready"]) == (150, 150)


async def test_task_of_nobody_that_was_claimed_as_the_persona_is_its_own(
    persona: ServiceUnderTest, task: ServiceUnderTest
) -> None:
    board = Board(task)
    await board.create()
    await board.create()
    (held,) = await board.claim("athena")
    assert values((await figures(persona, board.namespace))["tasks"]["by_status"]) == {"in_progress": 1}
    await board.complete(held)
    assert values((await figures(persona, board.namespace))["tasks"]["by_status"]) == {"completed": 1}


async def test_memories_are_those_that_the_caller_may_see(persona: ServiceUnderTest, memory: ServiceUnderTest) -> None:
    await store(memory, "For all", persona_id="athena", namespace="seen")
    await store(memory, "For me", persona_id="athena", visibility="private", persona="athena", namespace="seen")
    own = await figures(persona, "seen", persona="athena")
    others = await figures(persona, "seen", persona="hera")
    assert own["memories"]["memories"] == 2
    assert others["memories"]["memories"] == 1
    assert own["memories"]["newest_at"] is not None


async def test_workflows_count_what_waits_for_the_persona(
    persona: ServiceUnderTest, task: ServiceUnderTest, engine: Engine
) -> None:
    async with engine.worker():
        await engine.reached(await engine.start(STEP, ASK), "ask", "waiting")
        await engine.reached(await engine.start(STEP), "think", "waiting")
    found = await figures(persona)
    assert found["workflows"] == {"approvals_waiting": 1, "executions_waiting": 1}
    assert found["tasks"]["executions_waiting"] == 2
    assert [gap["part"] for gap in found["missing"]] == ["memories"]


async def test_metadata_of_any_shape_are_counted_around(persona: ServiceUnderTest, task: ServiceUnderTest) -> None:
    board = Board(task)
    for odd in ({"workflow": 1}, {"workflow": []}, {"workflow": {"execution_id": {}}}, {}):
        await board.create(assigned_persona="athena", metadata=odd)
    tasks = (await figures(persona, board.namespace))["tasks"]
    assert tasks["executions_waiting"] == 0


@pytest.mark.parametrize("scope", ["task:read", "memory:read", "workflow:read"])
async def test_part_without_its_scope_is_null_and_named(
    persona: ServiceUnderTest, task: ServiceUnderTest, memory: ServiceUnderTest, engine: Engine, scope: str
) -> None:
    found = await figures(persona, scopes=frozenset({"persona:read", scope}))
    part = {"task:read": "tasks", "memory:read": "memories", "workflow:read": "workflows"}[scope]
    assert found[part] is not None
    assert {gap["part"] for gap in found["missing"]} == {"tasks", "memories", "workflows"} - {part}
    assert {gap["reason"] for gap in found["missing"]} == {"forbidden"}


async def test_everything_down_is_told_at_once(persona_alone: ServiceUnderTest) -> None:
    found = await figures(persona_alone)
    assert {gap["part"]: gap["reason"] for gap in found["missing"]} == dict.fromkeys(
        ("memories", "tasks", "workflows"), "unavailable"
    )
