"""Where each client keeps its configuration, on each system."""

from pathlib import Path

import pytest

from tmws_contracts.scopes import SCOPES
from tmws_local.errors import StackError
from tmws_local.install_clients import CLIENTS, configuration_file
from tmws_local.install_key import ANY_PERSONA, SCOPES_OF, Rights
from tmws_mcp_bridge.profile import Profile

PROJECT = Path("/project")
HOME = {"HOME": "/home/ada", "USERPROFILE": "/home/ada"}


@pytest.mark.parametrize(
    ("client", "platform", "environ", "file"),
    [
        ("claude-desktop", "darwin", {}, "/home/ada/Library/Application Support/Claude/claude_desktop_config.json"),
        ("claude-desktop", "linux", {}, "/home/ada/.config/Claude/claude_desktop_config.json"),
        ("claude-desktop", "linux", {"XDG_CONFIG_HOME": "/cfg"}, "/cfg/Claude/claude_desktop_config.json"),
        ("claude-desktop", "win32", {"APPDATA": "/appdata"}, "/appdata/Claude/claude_desktop_config.json"),
        ("claude-desktop", "win32", {}, "/home/ada/AppData/Roaming/Claude/claude_desktop_config.json"),
        ("claude-code", "linux", {}, "/home/ada/.claude.json"),
        ("claude-code", "darwin", {"CLAUDE_CONFIG_DIR": "/cc"}, "/cc/.claude.json"),
        ("cursor", "win32", {}, "/home/ada/.cursor/mcp.json"),
    ],
)
def test_each_system_has_its_place(client, platform, environ, file):
    assert configuration_file(CLIENTS[client], "user", PROJECT, HOME | environ, platform) == Path(file)


@pytest.mark.parametrize(("client", "file"), [("claude-code", ".mcp.json"), ("cursor", ".cursor/mcp.json")])
def test_a_project_has_a_configuration_of_its_own(client, file):
    assert configuration_file(CLIENTS[client], "project", PROJECT, HOME, "linux") == PROJECT / file


def test_claude_desktop_knows_no_projects():
    with pytest.raises(StackError, match="leave --scope out"):
        configuration_file(CLIENTS["claude-desktop"], "project", PROJECT, HOME, "linux")


def test_each_profile_of_the_bridge_has_its_scopes():
    assert set(SCOPES_OF) == set(Profile)


def test_a_key_has_scopes_that_exist_and_none_for_administration():
    given = {scope for scopes in SCOPES_OF.values() for scope in scopes}
    assert given <= SCOPES - {"keys:admin", "audit:read", "persona:impersonate", "workflow:approve"}


@pytest.mark.parametrize(
    ("asked", "more", "persona"),
    [
        ({}, set(), None),
        ({"may_approve": True}, {"workflow:approve"}, None),
        ({"may_audit": True, "persona": "hestia"}, {"audit:read"}, "hestia"),
        ({"persona": ANY_PERSONA}, {"persona:impersonate"}, None),
    ],
)
def test_a_key_has_what_was_asked_for_besides(asked, more, persona):
    rights = Rights("readonly", **asked)
    assert set(rights.scopes) - set(SCOPES_OF["readonly"]) == more
    assert rights.wanted == {"scopes": sorted(rights.scopes), "persona": persona}


def test_a_reader_gets_nothing_but_reading():
    assert all(scope.endswith(":read") for scope in SCOPES_OF["readonly"])
