"""`tmws install` as a user does it: the client then starts the bridge with a key of its own."""

import json
import subprocess
import sys

import pytest
from fastmcp import Client
from fastmcp.exceptions import ToolError

pytestmark = pytest.mark.long


def tmws(stack, home, *arguments):
    environment = stack.environment | {"HOME": str(home)}
    command = [sys.executable, "-m", "tmws_local.cli", *arguments]
    return subprocess.run(command, env=environment, cwd=home, capture_output=True, text=True, check=False)


async def test_an_installed_client_works_with_its_own_key_until_it_is_uninstalled(guarded_stack, tmp_path):
    installed = tmws(guarded_stack, tmp_path, "install", "claude-desktop")
    assert installed.returncode == 0, installed.stderr
    configuration = json.loads((tmp_path / ".config/Claude/claude_desktop_config.json").read_text())
    entry = configuration["mcpServers"]["tmws"]
    key_file = guarded_stack.paths.data / "clients" / "claude-desktop.key"
    assert entry["env"]["TMWS_TOKEN_FILE"] == str(key_file)
    assert key_file.stat().st_mode & 0o777 == 0o600
    assert key_file.read_text().strip() not in json.dumps(configuration) + installed.stdout
    with guarded_stack.client(key_file.read_text().strip()) as its_own:
        assert its_own.get("/api/v1/keys").status_code == 403
        # A graphical program starts the bridge in no folder of ours, and without our PATH.
        started = {"mcpServers": {"tmws": {**entry, "cwd": "/", "env": entry["env"] | {"PATH": ""}}}}
        async with Client(started) as client:
            await client.call_tool("store_memory", {"content": "Installed."})
            found = tmws(guarded_stack, tmp_path, "doctor")
            assert found.returncode == 0, found.stdout
            assert "ok    Claude Desktop starts" in found.stdout
            assert "ok    the clock agrees with the gateway's" in found.stdout
            assert tmws(guarded_stack, tmp_path, "uninstall", "claude-desktop").returncode == 0
            with pytest.raises(ToolError):
                await client.call_tool("store_memory", {"content": "Too late."})
        assert its_own.get("/api/v1/tasks").status_code == 401
    assert not key_file.exists()


def test_installing_again_keeps_a_key_that_will_do_and_replaces_one_that_will_not(guarded_stack, tmp_path):
    key_file = guarded_stack.paths.data / "clients" / "cursor.key"
    tmws(guarded_stack, tmp_path, "install", "cursor")
    first = key_file.read_text()
    tmws(guarded_stack, tmp_path, "install", "cursor")
    assert key_file.read_text() == first
    changed = tmws(guarded_stack, tmp_path, "install", "cursor", "--profile", "readonly")
    assert changed.returncode == 0, changed.stderr
    assert key_file.read_text() != first
    with guarded_stack.client(key_file.read_text().strip()) as reader:
        assert reader.post("/api/v1/tasks", json={"title": "x"}).status_code == 403
    with guarded_stack.client(first.strip()) as former:
        assert former.get("/api/v1/tasks").status_code == 401


def test_a_key_whose_file_was_lost_does_not_stand_in_the_way(guarded_stack, tmp_path):
    key_file = guarded_stack.paths.data / "clients" / "claude-code.key"
    tmws(guarded_stack, tmp_path, "install", "claude-code")
    key_file.unlink()
    again = tmws(guarded_stack, tmp_path, "install", "claude-code")
    assert again.returncode == 0, again.stderr
    assert key_file.is_file()


async def test_a_client_of_a_persona_keeps_memories_of_its_own_and_reads_the_audit_log(guarded_stack, tmp_path):
    made = tmws(guarded_stack, tmp_path, "install", "cursor", "--persona", "hestia", "--audit")
    assert made.returncode == 0, made.stderr
    with guarded_stack.client("wrong") as stranger:
        assert stranger.get("/api/v1/tasks", headers={"x-request-id": "a-break-in"}).status_code == 401
    async with Client(json.loads((tmp_path / ".cursor" / "mcp.json").read_text())) as client:
        await client.call_tool("store_memory", {"content": "My suspicion.", "persona_id": "hestia", "private": True})
        with pytest.raises(ToolError, match="persona_id must be your own persona"):
            await client.call_tool("store_memory", {"content": "x", "persona_id": "athena"})
        text = (await client.get_prompt("hestia")).messages[0].content.text
    assert "My suspicion." in text
    assert "status: 401" in text
    assert "request: a-break-in" in text
    with guarded_stack.client() as api:
        hidden = api.get("/api/v1/memory/recall", params={"persona_id": "hestia"}).json()["items"]
    assert [memory["visibility"] for memory in hidden] == ["private"]


async def test_the_key_of_a_profile_is_enough_for_its_tools(guarded_stack, tmp_path):
    tmws(guarded_stack, tmp_path, "install", "cursor", "--profile", "full")
    configuration = json.loads((tmp_path / ".cursor" / "mcp.json").read_text())
    async with Client(configuration) as client:
        stored = await client.call_tool("store_memory", {"content": "For all tools."})
        about = {"memory_id": stored.structured_content["id"]}
        for tool, arguments in {
            "semantic_search": {"query": "tools"},
            "recall_memories": {},
            "list_tasks": {},
            "claim_task": {"labels": ["none of these"]},
            "list_workflows": {},
            "save_workflow": {"name": "Rest", "config": {"steps": [{"id": "rest", "uses": "transform", "with": {}}]}},
            "match_persona": {"text": "plan"},
            "wake_up": {"persona_id": "athena"},
            "approve": {},
            "share_memory": {**about, "persona_id": "hestia"},
            "forget_memory": about,
        }.items():
            assert (await client.call_tool(tool, arguments)).is_error is False
