"""Whether the MCP clients of this user would start the bridge, and which programs of ours the PATH finds."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from tmws_local.doctor_gateway import GatewayCheck
from tmws_local.errors import StackError
from tmws_local.install import bridge_program
from tmws_local.install_clients import CLIENTS, Client, configuration_file
from tmws_local.install_document import NotPlainJson, parse
from tmws_local.install_file import read_text, split_mark
from tmws_local.paths import Paths


class ClientCheck:
    """Looks at one client's configuration."""

    def __init__(self, client: Client, environ: Mapping[str, str], paths: Paths, url: str) -> None:
        self._client = client
        self._environ = environ
        self._paths = paths
        self._url = url

    def look(self) -> str:
        """Tell how the client's configuration is.

        Raises:
            StackError: it is not valid, or what it names is gone, or TMWS does not run or refuses its key.
        """
        file = configuration_file(self._client, "user", Path(), self._environ)
        try:
            document = parse(split_mark(read_text(file))[1])
        except NotPlainJson as error:
            raise StackError(f"{self._client.title} cannot read {file}: {error}; put it right") from None
        entry = _inside(_inside(document, self._client.member[0]), self._client.member[1])
        if not entry:
            return f"{self._client.title} does not use TMWS (./taskw install {self._client.name})"
        self._check(file, entry)
        return f"{self._client.title} starts {entry['command']}"

    def _check(self, file: Path, entry: dict[str, Any]) -> None:
        command = str(entry.get("command", ""))
        environment = {name: str(value) for name, value in _inside(entry, "env").items()}
        again = f"run ./taskw install {self._client.name}"
        if not Path(command).is_absolute() or shutil.which(command) is None:
            raise StackError(f"{self._client.title} starts a program that is not there, by {file}: {again}")
        token_file = environment.get("TMWS_TOKEN_FILE")
        if token_file and not Path(token_file).is_file():
            raise StackError(f"{self._client.title} is told a key file that is not there, by {file}: {again}")
        url = environment.get("TMWS_URL", self._url).rstrip("/")
        if not url:
            raise StackError(f"{self._client.title} uses TMWS, and TMWS is not running: start it with ./taskw up")
        try:
            GatewayCheck(url, self._paths, environment).credential()
        except StackError as error:
            raise StackError(f"{self._client.title}: {error}, or {again}") from None


def checks_of_clients(environ: Mapping[str, str], paths: Paths, url: str) -> list[ClientCheck]:
    """Return a check for each client we know; `url` is where TMWS runs, empty when it does not."""
    return [ClientCheck(client, environ, paths, url) for client in CLIENTS.values()]


def look_at_path(environ: Mapping[str, str]) -> str:
    """Tell which bridge the PATH finds.

    Raises:
        StackError: that of another installation.
    """
    ours = bridge_program()
    found = shutil.which("tmws-mcp", path=environ.get("PATH", ""))
    if found is None:
        return f"the bridge is {ours} (not on PATH: clients get its whole path)"
    if Path(found).resolve() != ours.resolve():
        raise StackError(f"PATH finds the bridge of another installation, {found}: remove it, or name {ours} instead")
    return f"the bridge is {found}"


def _inside(document: Mapping[str, Any], name: str) -> dict[str, Any]:
    value = document.get(name)
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}
