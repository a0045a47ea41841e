"""The whole product as a user starts it: `tmws up` in a folder of its own, on a port of its own.

with running_stack(TMWS_AUTH_ENABLED="true") as stack:
    stack.client().get("/api/v1/personas")        # REST; with the first API key when auth is on
    stack.bridge()                                # an MCP client that starts `tmws-mcp` over stdio
    stack.kill("workflow-worker")                 # SIGKILL; the supervisor brings it back
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import httpx2
from fastmcp import Client
from fastmcp.client.transports import StdioTransport

from support.waiting import eventually
from tmws_local.paths import Paths, free_port
from tmws_local.state import read_state

START_TIMEOUT_S = 180.0
STOP_TIMEOUT_S = 40.0
RECOVERY_TIMEOUT_S = 30.0
ANSWER_TIMEOUT_S = 30.0
_MACHINE = ("PATH", "HOME", "LANG", "TMPDIR")


class Stack:
    """A running stack."""

    def __init__(self, folder: Path, port: int) -> None:
        self.folder = folder
        self.paths = Paths(folder / "data")
        self.url = f"http://127.0.0.1:{port}"

    @property
    def key(self) -> str:
        """The first API key; an empty string when auth is off."""
        return self.paths.admin_key.read_text().strip() if self.paths.admin_key.is_file() else ""

    @property
    def environment(self) -> dict[str, str]:
        """What a program of ours needs to find the stack by itself."""
        return {name: os.environ[name] for name in _MACHINE if name in os.environ} | {
            "TMWS_DATA_DIR": str(self.paths.data)
        }

    def client(self, token: str | None = None) -> httpx2.Client:
        """Return a REST client; `token` instead of the first API key, an empty string for none."""
        shown = self.key if token is None else token
        headers = {"authorization": f"Bearer {shown}"} if shown else {}
        return httpx2.Client(base_url=self.url, headers=headers, timeout=ANSWER_TIMEOUT_S, trust_env=False)

    def bridge(self, environment: Mapping[str, str] | None = None) -> Client[Any]:
        """Return an MCP client on the bridge, which finds the stack by its data directory."""
        program = [sys.executable, "-m", "tmws_mcp_bridge"]
        return Client(
            StdioTransport(
                program[0],
                program[1:],
                env={**self.environment, **(environment or {})},
                log_file=self.folder / "mcp.log",
            )
        )

    def run(self, *arguments: str, timeout_s: float = 120.0) -> "subprocess.CompletedProcess[str]":
        """Run a command of `tmws` for this stack and return how it ended."""
        return subprocess.run(
            [sys.executable, "-m", "tmws_local.cli", *arguments],
            env=self.environment,
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )

    def pid(self, name: str) -> int:
        """Return the pid of one process of the stack."""
        pids = {each.name: each.pid for each in read_state(self.paths)[1]}
        return pids[name] or 0

    def kill(self, name: str) -> None:
        """End one process at once, as a crash would; return when the supervisor has seen it."""
        pid = self.pid(name)
        os.kill(pid, signal.SIGKILL)
        eventually(lambda: self.pid(name) != pid)

    def wait_until_healthy(self) -> None:
        """Wait until every process is ready and `/health` answers 200.

        Raises:
            TimeoutError: it did not within 30 s.
        """
        deadline = time.monotonic() + RECOVERY_TIMEOUT_S
        while (health := self._health()) != "200":
            if time.monotonic() > deadline:
                raise TimeoutError(health)
            time.sleep(0.05)

    def _health(self) -> str:
        """Return 200, or what is wrong; the gateway's own view may be half a second old, the supervisor's is not."""
        if down := [each.name for each in read_state(self.paths)[1] if each.state != "ready"]:
            return f"not ready: {down}"
        try:
            with self.client() as client:
                answer = client.get("/health")
        except httpx2.TransportError as error:
            return repr(error)
        return "200" if answer.status_code == 200 else answer.text


@contextmanager
def running_stack(**settings: str) -> Generator[Stack]:
    """Start a stack with these settings, yield it when it is ready, and stop it afterwards."""
    with TemporaryDirectory(prefix="tmws-e2e-", ignore_cleanup_errors=True) as name:
        stack = Stack(Path(name), free_port())
        port = stack.url.rpartition(":")[2]
        with (stack.folder / "up.log").open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "tmws_local.cli", "up"],
                env=stack.environment | {"TMWS_API_PORT": port} | settings,
                cwd=stack.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        try:
            _wait_until_ready(process, stack.folder / "up.log")
            yield stack
        finally:
            process.terminate()
            process.wait(STOP_TIMEOUT_S)


def _wait_until_ready(process: "subprocess.Popen[bytes]", log: Path) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while "TMWS is ready" not in log.read_text():
        if process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"the stack did not start:\n{log.read_text()}")
        time.sleep(0.05)
