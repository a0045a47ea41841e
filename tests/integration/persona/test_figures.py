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
    return {name: count["value"] for name, count in counts.items() if count["value"]}


async def test_tasks_are_counted_by_status(persona: ServiceUnderTest, task: ServiceUnderTest) -> None:
    board = Board(task)
    first = await board.create(assigned_persona="athena")
    await board.create(assigned_persona="athena", depends_on=[first["id"]])
    done = await board.create(assigned_persona="athena")
    await board.create(assigned_persona="hera")
    await board.complete(done)
    tasks = (await figures(persona, board.namespace))["tasks"]
    assert values(tasks["by_status"]) == {"pending": 2, "completed": 1}
    assert (tasks["ready"]["value"], tasks["completed_lately"]["value"], tasks["overdue"]["value"]) == (1, 1, 0)


async def test_memories_are_those_that_the_caller_may_see(persona: ServiceUnderTest, memory: ServiceUnderTest) -> None:
    await store(memory, "For all", persona_id="athena", namespace="seen")
    await store(memory, "For me", persona_id="athena", visibility="private", persona="athena", namespace="seen")
    own = await figures(persona, "seen", persona="athena")
    others = await figures(persona, "seen", persona="hera")
    assert own["memories"]["memories"] == {"value": 2, "is_at_least": False}
    assert others["memories"]["memories"]["value"] == 1
    assert own["memories"]["newest_at"] is not None


async def test_workflows_count_what_waits_for_the_persona(
    persona: ServiceUnderTest, task: ServiceUnderTest, engine: Engine
) -> None:
    async with engine.worker():
        await engine.reached(await engine.start(STEP, ASK), "ask", "waiting")
        await engine.reached(await engine.start(STEP), "think", "waiting")
    found = await figures(persona)
    assert found["workflows"]["approvals_waiting"]["value"] == 1
    assert found["workflows"]["executions_waiting"]["value"] == 1
    assert found["tasks"]["executions_waiting"]["value"] == 2
    assert [gap["part"] for gap in found["missing"]] == ["memories"]


async def test_metadata_of_any_shape_are_counted_around(persona: ServiceUnderTest, task: ServiceUnderTest) -> None:
    board = Board(task)
    for odd in ({"workflow": 1}, {"workflow": []}, {"workflow": {"execution_id": {}}}, {}):
        await board.create(assigned_persona="athena", metadata=odd)
    tasks = (await figures(persona, board.namespace))["tasks"]
    assert tasks["executions_waiting"]["value"] == 0


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
