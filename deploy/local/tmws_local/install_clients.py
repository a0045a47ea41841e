"""The MCP clients that TMWS can be installed in, and where each keeps its configuration."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tmws_local.errors import StackError

Scope = Literal["user", "project"]
SCOPES: tuple[Scope, ...] = ("user", "project")
SERVERS = "mcpServers"
NAME = "tmws"


@dataclass(frozen=True)
class Client:
    """A client; `project_file` None means that it knows no configuration of a project."""

    name: str
    title: str
    project_file: str | None = None
    is_typed: bool = False

    @property
    def member(self) -> tuple[str, str]:
        """Where the entry of TMWS is in the configuration."""
        return SERVERS, NAME


CLIENTS = {
    client.name: client
    for client in (
        Client("claude-desktop", "Claude Desktop"),
        Client("claude-code", "Claude Code", ".mcp.json", is_typed=True),
        Client("cursor", "Cursor", ".cursor/mcp.json"),
    )
}


def configuration_file(
    client: Client, scope: Scope, project: Path, environ: Mapping[str, str], platform: str = sys.platform
) -> Path:
    """Return the file in which the client looks for servers.

    Raises:
        StackError: the client has no such scope.
    """
    if scope == "project":
        if client.project_file is None:
            raise StackError(f"{client.title} has one configuration for its user: leave --scope out")
        return project / client.project_file
    home = Path(environ.get("USERPROFILE" if platform == "win32" else "HOME") or Path.home())
    if client.name == "cursor":
        return home / ".cursor" / "mcp.json"
    if client.name == "claude-code":
        return Path(environ.get("CLAUDE_CONFIG_DIR") or home) / ".claude.json"
    return _applications(home, environ, platform) / "Claude" / "claude_desktop_config.json"


def _applications(home: Path, environ: Mapping[str, str], platform: str) -> Path:
    """Return where graphical programs keep their settings."""
    if platform == "darwin":
        return home / "Library" / "Application Support"
    if platform == "win32":
        return Path(environ.get("APPDATA") or home / "AppData" / "Roaming")
    return Path(environ.get("XDG_CONFIG_HOME") or home / ".config")
