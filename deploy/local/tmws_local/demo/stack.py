"""The stack that the demo runs on: the one that is there, or one of its own for as long as it takes."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from tmws_local.configuration import data_paths, read_variables
from tmws_local.demo.api import DemoFailed
from tmws_local.demo.screen import Screen
from tmws_local.paths import free_port
from tmws_local.stack import python
from tmws_local.state import holder, read_state
from tmws_local.up import READY

_START_TIMEOUT_S = 180.0
_STOP_TIMEOUT_S = 20.0


@dataclass(frozen=True)
class Place:
    """Where the gateway is, and what to show it."""

    url: str
    token: str
    about: str


@asynccontextmanager
async def place(environ: Mapping[str, str], folder: Path, screen: Screen) -> AsyncGenerator[Place]:
    """Yield the stack that TMWS_URL names, or that of the data directory, or a new one that goes afterwards."""
    variables = read_variables(environ, folder)
    paths = data_paths(variables, folder)
    token = _token(variables, paths.admin_key)
    if url := variables.get("TMWS_URL"):
        yield Place(url.rstrip("/"), token, "named by TMWS_URL")
    elif holder(paths) is not None and (url := read_state(paths)[0]):
        yield Place(url, token, f"running with {paths.data}")
    else:
        async with _own_stack(environ, folder, screen) as url:
            yield Place(url, "", "started for this demo")


def _token(variables: Mapping[str, str], admin_key: Path) -> str:
    if file := variables.get("TMWS_TOKEN_FILE"):
        return Path(file).read_text(encoding="utf-8").strip()
    if token := variables.get("TMWS_TOKEN"):
        return token
    return admin_key.read_text(encoding="utf-8").strip() if admin_key.is_file() else ""


@asynccontextmanager
async def _own_stack(environ: Mapping[str, str], folder: Path, screen: Screen) -> AsyncGenerator[str]:
    screen.say("No TMWS is running here, so one is started for this demo, in a temporary folder.")
    with tempfile.TemporaryDirectory(prefix="tmws-demo-", ignore_cleanup_errors=True) as data:
        port = free_port()
        theirs = {name: value for name, value in environ.items() if not name.startswith("TMWS_")}
        process = await asyncio.create_subprocess_exec(
            *python("tmws_local.cli", "up"),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            env=theirs | {"TMWS_DATA_DIR": data, "TMWS_API_PORT": str(port)},
            cwd=data,
        )
        try:
            await _until_ready(process, screen)
            yield f"http://127.0.0.1:{port}"
        finally:
            await _stop(process)


async def _until_ready(process: asyncio.subprocess.Process, screen: Screen) -> None:
    output = process.stdout or asyncio.StreamReader()
    async with asyncio.timeout(_START_TIMEOUT_S):
        async for line in output:
            screen.row(line.decode(errors="replace").rstrip())
            if READY.encode() in line:
                return
    raise DemoFailed("TMWS did not start; the lines above say why")


async def _stop(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        process.terminate()
    try:
        await asyncio.wait_for(process.communicate(), _STOP_TIMEOUT_S)
    except TimeoutError:
        process.kill()
        await process.wait()
