"""The bridge as a process: what it writes, how it ends, and what it does when the gateway or its key goes away."""

import asyncio
import json
import subprocess
import sys

import pytest
from fastmcp.exceptions import ToolError

pytestmark = pytest.mark.long

INITIALIZE = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "initialize",
    "params": {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "test", "version": "1"}},
}


async def manage(client, operation, **data):
    arguments = {"operation": operation, "task_data": data}
    return (await client.call_tool("manage_task", arguments)).structured_content["task"]


async def test_of_two_sessions_at_once_only_one_takes_a_task(stack):
    async with stack.bridge() as one, stack.bridge() as other:
        task = await manage(one, "create", title="Only once")
        take = {"id": task["id"], "status": "in_progress", "version": task["version"]}
        answers = await asyncio.gather(
            manage(one, "update", **take), manage(other, "update", **take), return_exceptions=True
        )
    assert [type(answer) for answer in answers].count(ToolError) == 1


async def test_everything_is_listed_without_a_gateway(stack):
    async with stack.bridge({"TMWS_URL": "http://127.0.0.1:9"}) as client:
        tools, prompts = await client.list_tools(), await client.list_prompts()
        with pytest.raises(ToolError, match=r"start it with `\./taskw up`"):
            await client.call_tool("semantic_search", {"query": "x"})
    assert (len(tools), len(prompts)) == (11, 6)


async def test_the_bridge_goes_on_when_the_gateway_comes_back(stack):
    async with stack.bridge() as client:
        before = await manage(client, "create", title="Before")
        stack.kill("gateway")
        stack.wait_until_healthy()
        after = await manage(client, "get", id=before["id"])
    assert after["id"] == before["id"]


async def test_a_key_that_is_revoked_in_the_middle_is_said_to_be_bad(guarded_stack):
    with guarded_stack.client() as api:
        key = api.post("/api/v1/keys", json={"name": "short", "scopes": ["task:read", "task:write"]}).json()
        async with guarded_stack.bridge({"TMWS_TOKEN": key["key"]}) as client:
            await manage(client, "create", title="While it counts")
            assert api.delete(f"/api/v1/keys/{key['id']}").is_success
            with pytest.raises(ToolError, match="needs a valid API key"):
                await manage(client, "create", title="Too late")
            assert await client.list_tools()


async def test_a_missing_scope_is_named(guarded_stack):
    with guarded_stack.client() as api:
        key = api.post("/api/v1/keys", json={"name": "reader", "scopes": ["task:read"]}).json()["key"]
    async with guarded_stack.bridge({"TMWS_TOKEN": key, "TMWS_MCP_PROFILE": "full"}) as client:
        with pytest.raises(ToolError, match="task:write"):
            await manage(client, "create", title="x")


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


def start_bridge(stack):
    command = [sys.executable, "-m", "tmws_mcp_bridge"]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=stack.environment)
