"""The bridge over HTTP: many callers, each with its own credential."""

import asyncio
import sys

import httpx2
import pytest
from fastmcp import Client
from fastmcp.client.transports import StreamableHttpTransport
from fastmcp.exceptions import ToolError

from support.listening import listening
from support.workflows import save_workflow
from tmws_local.paths import free_port

pytestmark = pytest.mark.long

LIST = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}
ACCEPT = {"accept": "application/json, text/event-stream"}


@pytest.fixture(scope="module")
def bridge_url(guarded_stack):
    port = free_port()
    command = [sys.executable, "-m", "tmws_mcp_bridge", "--http", f"127.0.0.1:{port}"]
    # It knows the first key, and must not lend it to anybody.
    with listening(command, port, guarded_stack.environment | {"TMWS_TOKEN": guarded_stack.key}):
        yield f"http://127.0.0.1:{port}"


def connect(url, token, **options):
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    return Client(StreamableHttpTransport(f"{url}/mcp", headers=headers), **options)


async def test_a_caller_acts_with_its_own_credential(bridge_url, guarded_stack):
    async with connect(bridge_url, guarded_stack.key) as client:
        answer = await client.call_tool("manage_task", {"operation": "list"})
    assert "tasks" in answer.structured_content


async def test_a_caller_without_a_credential_gets_nothing(bridge_url):
    async with connect(bridge_url, "") as client:
        with pytest.raises(ToolError, match="needs a valid API key"):
            await client.call_tool("manage_task", {"operation": "list"})


@pytest.mark.parametrize(
    ("headers", "status"), [({"host": "evil.test"}, 421), ({"origin": "http://evil.test"}, 403), ({}, 200)]
)
def test_only_our_own_host_and_origin_are_served(bridge_url, headers, status):
    answer = httpx2.post(f"{bridge_url}/mcp", json=LIST, headers=ACCEPT | headers, trust_env=False)
    assert answer.status_code == status


@pytest.mark.parametrize(("mode", "version"), [("auto", "2026-07-28"), ("legacy", "2025-11-25")])
async def test_both_eras_are_spoken(bridge_url, guarded_stack, mode, version):
    async with connect(bridge_url, guarded_stack.key, mode=mode) as client:
        assert client.protocol_version == version
        assert len(await client.list_tools()) == 11
        assert "athena" in [prompt.name for prompt in await client.list_prompts()]
        assert (await client.call_tool("recall_memories", {"limit": 1})).is_error is False


async def test_progress_is_told_while_a_call_waits(bridge_url, guarded_stack):
    told = []

    async def keep(progress, total, message):
        told.append(message)

    with guarded_stack.client() as api:
        workflow_id = save_workflow(api, {"id": "rest", "uses": "delay", "with": {"duration": "500ms"}})
    async with connect(bridge_url, guarded_stack.key, progress_handler=keep) as client:
        ended = await client.call_tool("execute_workflow", {"workflow_id": workflow_id, "wait_seconds": 30})
    assert ended.structured_content["status"] == "completed"
    assert told[-1] == "1 of 1 steps done, completed"


async def test_two_callers_at_once_are_kept_apart(bridge_url, guarded_stack):
    with guarded_stack.client() as api:
        reader = api.post("/api/v1/keys", json={"name": "http-reader", "scopes": ["task:read"]}).json()["key"]
    create = {"operation": "create", "task_data": {"title": "By one of two"}}
    async with connect(bridge_url, guarded_stack.key) as one, connect(bridge_url, reader) as other:
        made, refused = await asyncio.gather(
            one.call_tool("manage_task", create), other.call_tool("manage_task", create, raise_on_error=False)
        )
    assert made.structured_content["task"]["title"] == "By one of two"
    assert "task:write" in refused.content[0].text
