"""A day of three agents with different personas, each over its own bridge with its own key, on one stack."""

import asyncio
import json
import uuid

import pytest
from fastmcp.exceptions import ToolError

pytestmark = pytest.mark.long

PERSONAS = ("athena", "artemis", "muses")
WORK = ("memory:read", "memory:write", "task:read", "task:write", "workflow:read", "workflow:run", "persona:read")


@pytest.fixture
def keys(guarded_stack):
    """A key for each of three personas."""
    with guarded_stack.client() as api:
        wanted = [{"name": f"{persona}-{uuid.uuid4()}", "persona": persona, "scopes": WORK} for persona in PERSONAS]
        return [api.post("/api/v1/keys", json=each).json()["key"] for each in wanted]


async def call(client, tool, **arguments):
    return (await client.call_tool(tool, arguments)).structured_content


async def test_a_day_of_three_agents(guarded_stack, keys):
    label = str(uuid.uuid4())
    bridges = [guarded_stack.bridge({"TMWS_TOKEN": key}) for key in keys]
    async with bridges[0] as athena, bridges[1] as artemis, bridges[2] as muses:
        for name, client in zip(PERSONAS, (athena, artemis, muses), strict=True):
            prompt = await client.get_prompt(name)
            assert name.capitalize() in prompt.messages[0].content.text

        tune = await create(athena, title="Make the search faster", assigned_persona="artemis", labels=[label])
        write = await create(
            athena, title="Write down what was done", assigned_persona="muses", labels=[label], depends_on=[tune]
        )
        early = await call(muses, "claim_task", personas=["muses"], labels=[label])
        assert early["claimed"] is False

        waiting = asyncio.create_task(call(muses, "claim_task", personas=["muses"], labels=[label], wait_seconds=30))
        mine = await call(artemis, "claim_task", personas=["artemis"], labels=[label])
        assert mine["task"]["id"] == tune
        found = f"The index was rebuilt at night. {label}"
        await call(artemis, "store_memory", content=found, importance=0.9)
        await report(artemis, mine, report="result", result={"before_ms": 90, "after_ms": 9})

        theirs = await waiting
        assert theirs["task"]["id"] == write
        with pytest.raises(ToolError, match="claim"):
            await report(artemis, {"task": {**theirs["task"], "claim_token": 1}}, report="result")
        known = await call(muses, "semantic_search", query=f"when was the index rebuilt? {label}", limit=1)
        assert (known["results"][0]["content"], known["results"][0]["persona_id"]) == (found, "artemis")
        await report(muses, theirs, report="result", result={"page": "docs/search.md"})

        board = await call(athena, "manage_task", operation="list", task_data={"label": label})
        assert {task["status"] for task in board["tasks"]} == {"completed"}
        (read,) = await athena.read_resource(f"tmws://tasks/{tune}")
        assert json.loads(read.text)["result"] == {"before_ms": 90, "after_ms": 9}
        with pytest.raises(ToolError, match="workflow:approve"):
            await call(athena, "approve", approval_id=str(uuid.uuid4()), digest="0" * 64)


async def create(client, **data):
    return (await call(client, "manage_task", operation="create", task_data=data))["task"]["id"]


async def report(client, claimed, **arguments):
    task = claimed["task"]
    return await call(client, "report_task", task_id=task["id"], claim_token=task["claim_token"], **arguments)
