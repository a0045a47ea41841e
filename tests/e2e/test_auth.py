"""A stack with auth switched on: keys, tokens and scopes, over REST and MCP."""

import uuid

import pytest
from fastmcp import Client
from fastmcp.client.transports import StreamableHttpTransport
from fastmcp.exceptions import ToolError

pytestmark = pytest.mark.long


@pytest.fixture
def admin(guarded_stack):
    with guarded_stack.client() as client:
        yield client


def make_key(admin, *scopes):
    answer = admin.post("/api/v1/keys", json={"name": str(uuid.uuid4()), "scopes": list(scopes)})
    assert answer.status_code == 201, answer.text
    return answer.json()


def test_without_a_credential_nothing_is_shown(guarded_stack):
    with guarded_stack.client(token="") as client:
        answer = client.get("/api/v1/tasks")
    assert answer.status_code == 401
    assert "www-authenticate" in answer.headers


def test_a_made_up_key_is_refused(guarded_stack):
    with guarded_stack.client(token="tmws_aaaaaaaa_bbbbbbbbbbbbbbbb_cccccc") as client:
        assert client.get("/api/v1/tasks").status_code == 401


def test_health_needs_no_credential(guarded_stack):
    with guarded_stack.client(token="") as client:
        assert client.get("/health").status_code == 200


def test_the_first_key_is_for_its_owner_only(guarded_stack):
    assert guarded_stack.paths.admin_key.stat().st_mode & 0o077 == 0


def test_the_first_key_may_do_everything(admin):
    assert admin.post("/api/v1/tasks", json={"title": "By the admin"}).status_code == 201


def test_a_key_may_do_what_its_scopes_say(guarded_stack, admin):
    key = make_key(admin, "task:read")["key"]
    with guarded_stack.client(token=key) as client:
        read = client.get("/api/v1/tasks")
        write = client.post("/api/v1/tasks", json={"title": "x"})
    assert (read.status_code, write.status_code) == (200, 403)
    assert write.json()["scope"] == "task:write"


def test_a_revoked_key_is_refused(guarded_stack, admin):
    made = make_key(admin, "task:read")
    with guarded_stack.client(token=made["key"]) as client:
        before = client.get("/api/v1/tasks").status_code
        admin.delete(f"/api/v1/keys/{made['id']}")
        after = client.get("/api/v1/tasks").status_code
    assert (before, after) == (200, 401)


def test_a_token_stands_for_its_key(guarded_stack, admin):
    key = make_key(admin, "task:read")["key"]
    with guarded_stack.client(token=key) as client:
        token = client.post("/api/v1/auth/token", json={}).json()["access_token"]
    with guarded_stack.client(token=token) as client:
        assert client.get("/api/v1/tasks").status_code == 200
        assert client.post("/api/v1/tasks", json={"title": "x"}).status_code == 403


async def test_the_bridge_finds_the_first_key_by_itself(guarded_stack):
    async with guarded_stack.bridge() as client:
        answer = await client.call_tool("manage_task", {"operation": "list"})
    assert "tasks" in answer.structured_content


async def test_the_bridge_uses_the_token_it_is_given(guarded_stack, admin):
    key = make_key(admin, "task:read")["key"]
    async with guarded_stack.bridge({"TMWS_TOKEN": key}) as client:
        with pytest.raises(ToolError, match="task:write"):
            await client.call_tool("manage_task", {"operation": "create", "task_data": {"title": "x"}})


async def test_a_wrong_token_is_told_with_what_to_do(guarded_stack):
    async with guarded_stack.bridge({"TMWS_TOKEN": "wrong"}) as client:
        with pytest.raises(ToolError, match="TMWS_TOKEN"):
            await client.call_tool("manage_task", {"operation": "list"})


def test_mcp_over_http_says_how_to_sign_in(guarded_stack):
    with guarded_stack.client(token="") as client:
        answer = client.post("/mcp", json={"jsonrpc": "2.0", "id": 1, "method": "ping"})
        metadata = f"{guarded_stack.url}/.well-known/oauth-protected-resource/mcp"
        described = client.get(metadata).json()
    assert answer.status_code == 401
    assert f'resource_metadata="{metadata}"' in answer.headers["www-authenticate"]
    assert described["resource"] == f"{guarded_stack.url}/mcp"


async def test_a_caller_of_mcp_over_http_has_its_own_rights(guarded_stack, admin):
    reader = make_key(admin, "memory:read")["key"]
    async with Client(StreamableHttpTransport(f"{guarded_stack.url}/mcp", auth=reader)) as client:
        await client.call_tool("semantic_search", {"query": "anything"})
        with pytest.raises(ToolError, match="memory:write"):
            await client.call_tool("store_memory", {"content": "not allowed"})
