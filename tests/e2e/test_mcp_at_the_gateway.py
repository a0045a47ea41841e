"""MCP over HTTP, at the gateway's own address."""

import http.client
import json
import uuid
from contextlib import closing

from fastmcp import Client

from support.waiting import eventually


async def test_tools_are_called_through_the_gateway(stack):
    content = f"Heard over HTTP: {uuid.uuid4()}"
    async with Client(f"{stack.url}/mcp") as client:
        names = {tool.name for tool in await client.list_tools()}
        await client.call_tool("store_memory", {"content": content})
        found = await client.call_tool("semantic_search", {"query": content, "limit": 1})
    assert {"store_memory", "semantic_search", "claim_task"} <= names
    assert found.structured_content["results"][0]["content"] == content


def test_a_call_of_a_tool_is_recorded_with_the_address_of_who_called(stack, api):
    title, address = f"From afar {uuid.uuid4()}", "127.0.66.7"
    arguments = {"operation": "create", "task_data": {"title": title}}
    call = {
        "jsonrpc": "2.0",
        "id": 1,
        "method": "tools/call",
        "params": {"name": "manage_task", "arguments": arguments},
    }
    headers = {"content-type": "application/json", "accept": "application/json, text/event-stream"}
    # What the caller says of itself counts for nothing.
    headers |= {"x-forwarded-for": "203.0.113.9", "x-tmws-caller": "203.0.113.9 9999999999 00"}
    place = stack.url.removeprefix("http://")
    with closing(http.client.HTTPConnection(place, timeout=20, source_address=(address, 0))) as connection:
        connection.request("POST", "/mcp", json.dumps(call), headers)
        assert title in connection.getresponse().read().decode()

    def recorded():
        return api.get("/api/v1/audit", params={"action": "POST /api/v1/tasks", "limit": 1}).json()["items"]

    assert eventually(lambda: [record["address"] for record in recorded()] == [address])


def test_a_foreign_origin_is_refused_at_the_gateway(api):
    answer = api.post(
        "/mcp", json={"jsonrpc": "2.0", "id": 1, "method": "ping"}, headers={"origin": "http://evil.test"}
    )
    assert answer.status_code == 403


def test_only_its_callers_are_recorded_not_its_protocol(api):
    api.post("/mcp", json={"jsonrpc": "2.0", "id": 1, "method": "ping"}, headers={"accept": "application/json"})
    actions = {record["action"] for record in api.get("/api/v1/audit", params={"limit": 50}).json()["items"]}
    assert "POST /mcp" not in actions
