"""The MCP bridge as a client uses it: a real process over stdio, on a whole stack."""

import asyncio
import json
import subprocess
import sys
import uuid

import pytest
from fastmcp.exceptions import ToolError

from support.workflows import save_workflow
from tmws_local.demo.agent import Agent

INITIALIZE = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "initialize",
    "params": {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "test", "version": "1"}},
}


async def test_what_was_stored_is_found(stack):
    marker = str(uuid.uuid4())
    async with stack.bridge() as client:
        stored = await client.call_tool(
            "store_memory", {"content": f"The lighthouse keeper is called Ada. {marker}", "metadata": {"by": "test"}}
        )
        found = await client.call_tool("semantic_search", {"query": f"who keeps the lighthouse? {marker}", "limit": 1})
    assert found.structured_content["results"][0]["id"] == stored.structured_content["id"]


async def test_a_task_goes_from_creation_to_completion(stack):
    label = str(uuid.uuid4())
    data = {"title": "Through MCP", "labels": [label]}
    async with stack.bridge() as client:
        created = (await manage(client, "create", data))["task"]
        listed = (await manage(client, "list", {"label": label, "ready": True}))["tasks"]
        taken = (await manage(client, "update", {"id": created["id"], "status": "in_progress", "version": 1}))["task"]
        done = (await manage(client, "complete", {"id": created["id"], "result": {"answer": 42}}))["task"]
    assert [task["id"] for task in listed] == [created["id"]]
    assert (taken["status"], done["status"], done["result"]) == ("in_progress", "completed", {"answer": 42})


async def test_of_two_agents_only_one_takes_a_task(stack):
    async with stack.bridge() as one, stack.bridge() as other:
        task = (await manage(one, "create", {"title": "Only once"}))["task"]
        take = {"id": task["id"], "status": "in_progress", "version": task["version"]}
        answers = await asyncio.gather(
            manage(one, "update", take), manage(other, "update", take), return_exceptions=True
        )
    assert [type(answer) for answer in answers].count(ToolError) == 1


async def test_a_deleted_task_is_gone(stack):
    async with stack.bridge() as client:
        task = (await manage(client, "create", {"title": "Short-lived"}))["task"]
        await manage(client, "delete", {"id": task["id"]})
        with pytest.raises(ToolError, match="no such task"):
            await manage(client, "get", {"id": task["id"]})


async def test_a_workflow_is_run_and_waited_for(stack, api):
    step = {"id": "greet", "uses": "transform", "with": {"text": "Hello ${{ inputs.name }}"}}
    inputs = {"type": "object", "properties": {"name": {"type": "string"}}}
    workflow_id = save_workflow(api, step, output={"text": "${{ steps.greet.output.text }}"}, inputs=inputs)
    arguments = {"workflow_id": workflow_id, "parameters": {"name": "Ada"}, "wait_seconds": 30}
    async with stack.bridge() as client:
        answer = await client.call_tool("execute_workflow", arguments)
    assert answer.structured_content["output"] == {"text": "Hello Ada"}


async def test_a_workflows_task_is_done_by_an_agent_over_mcp(stack, api):
    label = str(uuid.uuid4())
    ask = {"title": "Where is Ada?", "description": "Ada is in the tower. Bob is not.", "labels": [label]}
    workflow_id = save_workflow(
        api, {"id": "ask", "uses": "task", "with": ask}, output={"answer": "${{ steps.ask.output.result.answer }}"}
    )
    arguments = {"workflow_id": workflow_id, "wait_seconds": 60}
    async with stack.bridge() as client, Agent(stack.url, "", label, print) as agent:
        answer, _ = await asyncio.gather(client.call_tool("execute_workflow", arguments), agent.work_once())
    assert answer.structured_content["output"] == {"answer": "Ada is in the tower."}


async def test_a_service_problem_names_the_argument(stack):
    async with stack.bridge() as client:
        with pytest.raises(ToolError, match=r"task_data\.depends_on\.0 must be the id of an existing task"):
            await manage(client, "create", {"title": "x", "depends_on": [str(uuid.uuid4())]})


async def test_tools_are_listed_without_a_gateway(stack):
    async with stack.bridge({"TMWS_URL": "http://127.0.0.1:9"}) as client:
        names = [tool.name for tool in await client.list_tools()]
        with pytest.raises(ToolError, match=r"start it with `\./taskw up`"):
            await client.call_tool("semantic_search", {"query": "x"})
    assert len(names) == 4


async def test_the_bridge_goes_on_when_the_gateway_comes_back(stack):
    async with stack.bridge() as client:
        before = (await manage(client, "create", {"title": "Before"}))["task"]
        stack.kill("gateway")
        stack.wait_until_healthy()
        after = (await manage(client, "get", {"id": before["id"]}))["task"]
    assert after["id"] == before["id"]


def test_only_the_protocol_is_on_standard_output(stack):
    lines = [
        json.dumps(INITIALIZE).encode(),
        b'{"jsonrpc":"2.0","method":"notifications/initialized"}',
        b"garbage",
        b'{"jsonrpc":"2.0","id":2,"method":"nope"}',
        b"\xff\xfe",
        b'{"jsonrpc":"2.0","id":3,"method":"tools/list"}\n',
    ]
    with start_bridge(stack) as bridge:
        bridge.stdin.write(b"\n".join(lines))
        bridge.stdin.flush()
        answers = [json.loads(bridge.stdout.readline()) for _ in range(3)]
        bridge.stdin.close()
        rest = bridge.stdout.read()
    assert [answer.get("id") for answer in answers] == [1, 2, 3]
    assert rest == b""


def test_a_client_that_closes_the_pipe_ends_the_bridge(stack):
    with start_bridge(stack) as bridge:
        bridge.stdin.write(json.dumps(INITIALIZE).encode() + b"\n")
        bridge.stdin.flush()
        bridge.stdout.readline()
        bridge.stdin.close()
        assert bridge.wait(10) == 0


async def manage(client, operation, data):
    return (await client.call_tool("manage_task", {"operation": operation, "task_data": data})).structured_content


def start_bridge(stack):
    command = [sys.executable, "-m", "tmws_mcp_bridge"]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=stack.environment)
