"""MCP over HTTP, at the gateway's own address."""

import uuid

from fastmcp import Client


async def test_tools_are_called_through_the_gateway(stack):
    content = f"Heard over HTTP: {uuid.uuid4()}"
    async with Client(f"{stack.url}/mcp") as client:
        names = {tool.name for tool in await client.list_tools()}
        await client.call_tool("store_memory", {"content": content})
        found = await client.call_tool("semantic_search", {"query": content, "limit": 1})
    assert {"store_memory", "semantic_search", "claim_task"} <= names
    assert found.structured_content["results"][0]["content"] == content


def test_a_foreign_origin_is_refused_at_the_gateway(api):
    answer = api.post(
        "/mcp", json={"jsonrpc": "2.0", "id": 1, "method": "ping"}, headers={"origin": "http://evil.test"}
    )
    assert answer.status_code == 403


def test_only_its_callers_are_recorded_not_its_protocol(api):
    api.post("/mcp", json={"jsonrpc": "2.0", "id": 1, "method": "ping"}, headers={"accept": "application/json"})
    actions = {record["action"] for record in api.get("/api/v1/audit", params={"limit": 50}).json()["items"]}
    assert "POST /mcp" not in actions
