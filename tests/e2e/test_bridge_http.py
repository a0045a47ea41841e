"""The bridge over HTTP: many callers, each with its own credential."""

import subprocess
import sys
import time

import httpx2
import pytest
from fastmcp import Client
from fastmcp.client.transports import StreamableHttpTransport
from fastmcp.exceptions import ToolError

from tmws_local.paths import free_port

LIST = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}
ACCEPT = {"accept": "application/json, text/event-stream"}


@pytest.fixture(scope="module")
def bridge_url(guarded_stack):
    url = f"http://127.0.0.1:{free_port()}"
    command = [sys.executable, "-m", "tmws_mcp_bridge", "--http", url.rpartition("/")[2]]
    # It knows the first key, and must not lend it to anybody.
    environment = guarded_stack.environment | {"TMWS_TOKEN": guarded_stack.key}
    with subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL) as bridge:
        wait_until_it_listens(url)
        yield url
        bridge.terminate()


def wait_until_it_listens(url):
    for _ in range(200):
        try:
            httpx2.get(f"{url}/livez", trust_env=False)
        except httpx2.TransportError:
            time.sleep(0.05)
        else:
            return
    raise TimeoutError(url)


def connect(url, token):
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    return Client(StreamableHttpTransport(f"{url}/mcp", headers=headers))


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
