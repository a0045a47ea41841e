"""`tmws install` and `tmws uninstall`: put TMWS into the configuration of an MCP client, and take it out again."""

from __future__ import annotations

import argparse
import json
import os
import sys
import sysconfig
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tmws_contracts.common import is_slug
from tmws_local.configuration import data_paths, read_variables
from tmws_local.errors import StackError
from tmws_local.install_clients import CLIENTS, SCOPES, Client, configuration_file
from tmws_local.install_document import NotPlainJson, with_member, without_member
from tmws_local.install_file import read_text, replace_text, show_difference, split_mark
from tmws_local.install_key import SCOPES_OF, ClientKey, Rights
from tmws_local.paths import Paths
from tmws_local.state import holder


def add_options(parser: argparse.ArgumentParser, *, installs: bool) -> None:
    """Add what the two commands take."""
    parser.add_argument("client", choices=CLIENTS)
    parser.add_argument("--scope", choices=SCOPES, default="user", help="for the user, or for one project")
    parser.add_argument("--project", type=Path, default=Path(), help="the project's folder (this one)")
    parser.add_argument("--dry-run", action="store_true", help="show what would change, and change nothing")
    if installs:
        parser.add_argument("--print", action="store_true", help="print the entry to paste, and change nothing")
        parser.add_argument("--profile", choices=SCOPES_OF, default="core", help="which tools the client gets (core)")
        parser.add_argument("--approve", action="store_true", help="its key may decide approvals, too")
        parser.add_argument("--audit", action="store_true", help="its key may read the audit log, as Hestia does")
        parser.add_argument(
            "--persona", type=_persona, help="its key speaks for this persona; any: for whichever it becomes"
        )


def _persona(text: str) -> str:
    if not is_slug(text):
        raise argparse.ArgumentTypeError("must be the id of a persona, such as athena, or any")
    return text


def install(options: argparse.Namespace, environ: Mapping[str, str], folder: Path) -> int:
    """Put TMWS into the client's configuration; say what changed, and what is left to do.

    Raises:
        StackError: the configuration cannot be changed safely; it is left as it is.
    """
    client, paths = CLIENTS[options.client], _paths(environ, folder)
    key = ClientKey(paths, _key_name(options))
    entry = _entry(client, paths, options.profile, key if key.is_needed else None)
    if options.print:
        sys.stdout.write(json.dumps({client.member[0]: {client.member[1]: entry}}, indent=2) + "\n")
        return 0
    file = configuration_file(client, options.scope, (folder / options.project).resolve(), environ)
    before, after = _changed(file, lambda text: with_member(text, client.member, entry))
    if key.is_needed and not options.dry_run:
        key.make(Rights(options.profile, options.approve, options.audit, options.persona))
    if _write(file, before, after, is_dry=options.dry_run):
        sys.stdout.write(f"Quit {client.title} and start it again.\n")
    if not key.is_needed and (options.approve or options.audit or options.persona):
        sys.stdout.write("Auth is off: the client gets no key, and everybody may do everything\n")
    if holder(paths) is None:
        sys.stdout.write("TMWS is not running: start it with ./taskw up\n")
    return 0


def uninstall(options: argparse.Namespace, environ: Mapping[str, str], folder: Path) -> int:
    """Take TMWS out of the client's configuration, and make its key worthless.

    Raises:
        StackError: the configuration cannot be changed safely, or the key not be revoked.
    """
    client, paths = CLIENTS[options.client], _paths(environ, folder)
    file = configuration_file(client, options.scope, (folder / options.project).resolve(), environ)
    before, after = _changed(file, lambda text: without_member(text, client.member))
    _write(file, before, after, is_dry=options.dry_run)
    key = ClientKey(paths, _key_name(options))
    if key.path.is_file() and not options.dry_run:
        key.revoke()
    return 0


def _paths(environ: Mapping[str, str], folder: Path) -> Paths:
    """Return the paths of the data directory, here or in the clone whose Python this is."""
    paths = data_paths(read_variables(environ, folder), folder)
    if "TMWS_DATA_DIR" in environ or paths.data.is_dir():
        return paths
    clone = Path(sys.prefix).parent
    return data_paths(read_variables(environ, clone), clone)


def _key_name(options: argparse.Namespace) -> str:
    return options.client if options.scope == "user" else f"{options.client}-project"


def _entry(client: Client, paths: Paths, profile: str, key: ClientKey | None) -> dict[str, Any]:
    """Return how the client starts the bridge; graphical programs have a short PATH, so nothing is looked up."""
    environment = {"TMWS_DATA_DIR": str(paths.data)}
    if profile != "core":
        environment["TMWS_MCP_PROFILE"] = profile
    if key is not None:
        environment["TMWS_TOKEN_FILE"] = str(key.path)
    kind = {"type": "stdio"} if client.is_typed else {}
    return {**kind, "command": str(bridge_program()), "args": [], "env": environment}


def bridge_program() -> Path:
    """Return the bridge beside this very Python.

    Raises:
        StackError: it is not installed there.
    """
    program = Path(sysconfig.get_path("scripts")) / ("tmws-mcp.exe" if os.name == "nt" else "tmws-mcp")
    if not program.is_file():
        raise StackError(f"{program} is missing: run ./taskw sync in the folder of TMWS")
    return program


def _changed(file: Path, change: Callable[[str], str]) -> tuple[str, str]:
    before = read_text(file)
    mark, text = split_mark(before)
    try:
        return before, mark + change(text)
    except NotPlainJson as error:
        raise StackError(
            f"{file} is left as it is: {error}. Put it right, or use --print and add the entry by hand"
        ) from None


def _write(file: Path, before: str, after: str, *, is_dry: bool) -> bool:
    """Show the difference and write it; return whether something was written."""
    if before == after:
        sys.stdout.write(f"{file} is as it should be\n")
        return False
    show_difference(file, before, after)
    if is_dry:
        sys.stdout.write("Nothing was changed (--dry-run)\n")
        return False
    copy = replace_text(file, before, after)
    sys.stdout.write(f"{file} is changed" + (f"; the one before is {copy}\n" if copy else "\n"))
    return True
