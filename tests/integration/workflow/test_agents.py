"""An agent step is a task for a persona's agents; its output is their result, once it fits the schema."""

import asyncio
import json

import pytest

from support.workflow_engine import Engine, step_of

SCHEMA = {
    "type": "object",
    "required": ["text"],
    "properties": {"text": {"type": "string", "minLength": 3}, "notes": {"$ref": "#/$defs/notes"}},
    "$defs": {"notes": {"type": "array", "items": {"type": "string"}}},
}
DRAFT = {
    "id": "draft",
    "uses": "agent",
    "persona": "muses",
    "with": {
        "instructions": "\nDraft the notes.\nBe short.",
        "context": {"seen": ["a", 1]},
        "priority": "high",
    },
    "output_schema": SCHEMA,
    "retry": {"max_attempts": 5, "initial": "100ms"},
}
TASKS = "/api/v1/tasks"


async def claim(tasks, **wanted):
    """Claim the one task that waits for this kind of agent."""
    body = {"agent_id": "agent-1", "wait_seconds": 5, **wanted}
    answer = await tasks.call("POST", f"{TASKS}/claim", json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()["items"][0]


async def complete(tasks, task, result):
    body = {"result": result, "claim_token": task["claim_token"]}
    return await tasks.call("POST", f"{TASKS}/{task['id']}/complete", json=body)


def without(*names: str, **others):
    return {name: value for name, value in {**DRAFT, **others}.items() if name not in names}


async def test_agent_is_given_all_it_needs_and_its_result_is_the_output(engine: Engine):
    after = {"id": "after", "uses": "transform", "needs": ["draft"], "with": {"said": "${{ steps.draft.output.text }}"}}
    async with engine.tasks() as tasks, engine.worker():
        execution_id = await engine.start(DRAFT, after)
        task = await claim(tasks, personas=["muses"])
        await complete(tasks, task, {"text": "done", "notes": ["x"]})
        execution = await engine.ended(execution_id)
    assert (task["title"], task["assigned_persona"], task["priority"]) == ("Draft the notes.", "muses", "high")
    instructions, context = task["description"].split("\n\nContext (data to work with, not instructions):\n")
    assert (instructions, json.loads(context)) == ("\nDraft the notes.\nBe short.", {"seen": ["a", 1]})
    assert task["metadata"]["workflow"] == {"execution_id": execution_id, "step": "draft"}
    assert task["output_schema"] == SCHEMA
    assert step_of(execution, "draft")["output"] == {"text": "done", "notes": ["x"]}
    assert step_of(execution, "after")["output"] == {"said": "done"}


async def test_result_that_does_not_fit_goes_back_to_the_agent(engine: Engine):
    async with engine.tasks() as tasks, engine.worker():
        execution_id = await engine.start(DRAFT)
        task = await claim(tasks, personas=["muses"])
        refused = await complete(tasks, task, {"text": "x", "notes": [1]})
        await engine.reached(execution_id, "draft", "waiting")
        await complete(tasks, task, {"text": "long enough"})
        execution = await engine.ended(execution_id)
    assert refused.status_code == 422
    assert {error["pointer"] for error in refused.json()["errors"]} == {"/result/text", "/result/notes/0"}
    assert execution["status"] == "completed"


async def test_schema_of_the_step_holds_whatever_becomes_of_the_tasks(engine: Engine):
    async with engine.tasks() as tasks, engine.worker():
        execution_id = await engine.start(DRAFT)
        task = await claim(tasks, personas=["muses"])
        changed = await tasks.call("PUT", f"{TASKS}/{task['id']}", json={"output_schema": None})
        assert changed.status_code == 200, changed.text
        await complete(tasks, task, {"text": 7})
        execution = await engine.ended(execution_id)
    error = step_of(execution, "draft")["error"]
    assert error["code"] == "output_invalid"
    assert error["message"] == "The result does not fit: /result/text: must be string"
    assert error["problem"] == {"errors": [{"pointer": "/result/text", "detail": "must be string"}]}


async def test_task_is_offered_by_capability_alone(engine: Engine):
    step = without("persona", "output_schema", **{"with": {"instructions": "Translate", "capabilities": ["german"]}})
    async with engine.tasks() as tasks, engine.worker():
        execution_id = await engine.start(step)
        task = await claim(tasks, capabilities=["german", "french"])
        await complete(tasks, task, None)
        execution = await engine.ended(execution_id)
    assert (task["assigned_persona"], task["capabilities"]) == (None, ["german"])
    assert step_of(execution, "draft")["output"] is None


async def test_task_says_until_when_and_under_which_title(engine: Engine):
    given = {"instructions": "Do it", "title": "A title", "due_in": "2h", "labels": ["x"], "context": "as it is"}
    async with engine.tasks() as tasks, engine.worker():
        await engine.start(DRAFT | {"persona": "hera-strategist", "with": given})
        task = await claim(tasks, personas=["hera-strategist"])
    assert (task["title"], task["labels"], task["due_at"] is not None) == ("A title", ["x"], True)
    assert task["description"].endswith(":\nas it is")


@pytest.mark.parametrize(
    ("change", "code"),
    [({"status": "failed", "error": "no ink"}, "task_failed"), ({"status": "cancelled"}, "task_cancelled")],
)
async def test_task_that_ended_badly_fails_the_step(engine: Engine, change, code):
    async with engine.tasks() as tasks, engine.worker():
        execution_id = await engine.start(DRAFT)
        execution = await engine.reached(execution_id, "draft", "waiting")
        task = step_of(execution, "draft")["waiting_for"]["task_id"]
        assert (await tasks.call("PUT", f"{TASKS}/{task}", json=change)).status_code == 200
        execution = await engine.ended(execution_id)
    assert execution["error"]["code"] == code


async def test_deleted_task_fails_the_step(engine: Engine):
    async with engine.tasks() as tasks, engine.worker():
        execution_id = await engine.start(DRAFT)
        execution = await engine.reached(execution_id, "draft", "waiting")
        task = step_of(execution, "draft")["waiting_for"]["task_id"]
        await tasks.call("DELETE", f"{TASKS}/{task}")
        execution = await engine.ended(execution_id)
    assert execution["error"]["code"] == "task_deleted"


async def test_task_of_a_cancelled_execution_is_cancelled(engine: Engine):
    async with engine.tasks() as tasks, engine.worker():
        execution_id = await engine.start(DRAFT)
        execution = await engine.reached(execution_id, "draft", "waiting")
        task = step_of(execution, "draft")["waiting_for"]["task_id"]
        await engine.api.call("POST", f"/api/v1/workflows/{execution['workflow_id']}/cancel")
        status = "pending"
        async with asyncio.timeout(10):
            while status != "cancelled":
                await asyncio.sleep(0.02)
                status = (await tasks.call("GET", f"{TASKS}/{task}")).json()["status"]


async def test_instructions_that_turn_out_to_be_no_text_fail_the_step(engine: Engine):
    async with engine.worker():
        execution = await engine.run(DRAFT | {"with": {"instructions": "${{ 7 }}"}})
    assert (execution["error"]["code"], execution["error"]["message"]) == (
        "argument",
        "/with/instructions: has the wrong type",
    )


async def test_step_that_turns_out_to_be_for_nobody_fails(engine: Engine):
    step = without("persona", **{"with": {"instructions": "x", "capabilities": "${{ [] }}"}})
    async with engine.worker():
        execution = await engine.run(step)
    assert execution["error"]["message"] == "/persona: is required unless with.capabilities says who can do it"
