"""`tmws up`: the whole stack, in the foreground or in the background."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path

from tmws_local import logs, probe
from tmws_local.command import Command, run
from tmws_local.configuration import Configuration
from tmws_local.console import Console
from tmws_local.embedded import Embedded
from tmws_local.errors import StackError
from tmws_local.ports import check_port
from tmws_local.secrets import write_private
from tmws_local.stack import GATEWAY, python
from tmws_local.state import ProcessState, check_stamp, hold, holder, write_stamp, write_state
from tmws_local.supervisor import Supervisor

READY = "TMWS is ready:"
_DETACHED_LOG = "tmws"
_POLL_S = 0.1


def start(environ: Mapping[str, str], folder: Path) -> int:
    """Start the stack and keep it until a signal; return the exit code.

    Raises:
        StackError: it cannot start; nothing of it is left running.
    """
    configuration = Configuration.load(environ, folder)
    with hold(configuration.paths):
        check_stamp(configuration.paths)
        check_port(configuration.settings)
        asyncio.run(_run(configuration, Console()))
    return 0


async def _run(configuration: Configuration, console: Console) -> None:
    embedded = Embedded(configuration)
    _announce(embedded, console)
    if embedded.postgres is None:
        await asyncio.to_thread(embedded.settle_database)
    supervisor = Supervisor(embedded.units(), console, partial(_record, configuration))
    rotation = asyncio.create_task(logs.rotate_for_ever(configuration.paths.logs))
    try:
        await supervisor.run(partial(_when_ready, embedded, console))
    finally:
        rotation.cancel()
        with suppress(asyncio.CancelledError):
            await rotation


def _record(configuration: Configuration, processes: Sequence[ProcessState]) -> None:
    with suppress(OSError):  # a full disk spoils `tmws status`, not the stack
        write_state(configuration.paths, configuration.settings.public_url, processes)


def _announce(embedded: Embedded, console: Console) -> None:
    paths = embedded.configuration.paths
    if embedded.postgres is not None and embedded.postgres.is_new:
        console.say(f"First start: preparing {paths.data} (database, secret, embedding model); this takes a little")
    else:
        console.say(f"Starting TMWS with {paths.data}")
    if embedded.is_without_redis:
        console.say("No Redis found: running without it (limits count per process, workers poll)")


async def _when_ready(embedded: Embedded, console: Console) -> None:
    configuration = embedded.configuration
    while not await probe.is_ok(configuration.settings.public_url, "/health"):  # noqa: ASYNC110 - another process
        await asyncio.sleep(_POLL_S)
    write_stamp(configuration.paths)
    if configuration.settings.auth_enabled and not configuration.paths.admin_key.exists():
        await asyncio.to_thread(_make_first_key, embedded, console)
    console.clear()
    console.say(f"{READY} {configuration.settings.public_url}")


def _make_first_key(embedded: Embedded, console: Console) -> None:
    result = run(Command(python("tmws_gateway.keys", "bootstrap"), embedded.environment(GATEWAY)))
    if result.returncode != 0:
        raise StackError(f"the first API key could not be made: {result.stderr.strip()[-500:]}")
    key = result.stdout.strip()
    if key:
        write_private(embedded.configuration.paths.admin_key, key)
        console.say(f"The first API key is in {embedded.configuration.paths.admin_key}")


def start_detached(environ: Mapping[str, str], folder: Path) -> int:
    """Start the stack in the background, wait until it is ready and return its exit code if it is not."""
    paths = Configuration.load(environ, folder).paths
    with hold(paths):  # a stack that runs already goes on writing its own log
        log = paths.log(_DETACHED_LOG)
        log.unlink(missing_ok=True)
    with log.open("ab") as output:
        process = subprocess.Popen(  # noqa: S603 - our own program
            python("tmws_local.cli", "up"),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env=dict(environ),
            cwd=folder,
            start_new_session=True,
        )
    shown = 0
    while True:
        code = process.poll()
        text = log.read_text(encoding="utf-8", errors="replace")
        sys.stdout.write(text[shown:])
        sys.stdout.flush()
        shown = len(text)
        if code is not None or READY in text:
            return code or 0
        time.sleep(_POLL_S)


def run_gateway_tool(environ: Mapping[str, str], folder: Path, name: str, arguments: Sequence[str]) -> int:
    """Run a command of the gateway's (`keys`, `audit`) against the running stack, with its settings.

    Raises:
        StackError: the stack does not run, and the command does not just read a file.
    """
    if "--file" in arguments:
        return _run_tool(Command(python(f"tmws_gateway.{name}", *arguments), dict(environ)))
    configuration = Configuration.load(environ, folder)
    if holder(configuration.paths) is None:
        raise StackError("TMWS is not running: start it with ./taskw up")
    environment = Embedded(configuration).environment(GATEWAY)
    return _run_tool(Command(python(f"tmws_gateway.{name}", *arguments), environment))


def _run_tool(command: Command) -> int:
    with subprocess.Popen[bytes](command.argv, **command.options) as process:
        return process.wait()
