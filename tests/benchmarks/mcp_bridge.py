"""What the MCP bridge costs: its start beside a bare fastmcp server's, its memory, its catalogue, its part of a call.

    python tests/benchmarks/mcp_bridge.py [--rounds 7] [--calls 300] [--no-stack]

Starts the bridge and a server of one tool in turn, each cold, and takes the time from the start of the process to the
answer of `initialize`, and the memory then; counts the tokens of tools/list (four characters each) by profile; then
starts a stack and asks for one task over REST and through the bridge in turn. Medians; a busy machine slows both sides.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import httpx2
import psutil

sys.path.insert(0, str(Path(__file__).parents[1]))
from support.stack import Stack, running_stack

BARE = """
from fastmcp import FastMCP
server = FastMCP("bare")
@server.tool
def add(a: int, b: int) -> int:
    return a + b
server.run("stdio", show_banner=False)
"""
BRIDGE = (sys.executable, "-m", "tmws_mcp_bridge")
INITIALIZE = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "bench", "version": "1"}}
PROFILES = ("core", "full", "readonly")
MEBI = 1 << 20


class Session:
    """A server on standard input and output, and what it answers."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process
        self._number = 0

    def ask(self, method: str, params: Mapping[str, Any] | None = None) -> Any:
        self._number += 1
        self._send({"id": self._number, "method": method, "params": params or {}})
        while (answer := json.loads(self._process.stdout.readline())).get("id") != self._number:
            pass
        return answer["result"]

    def initialize(self) -> None:
        self.ask("initialize", INITIALIZE)
        self._send({"method": "notifications/initialized"})

    def rss_bytes(self) -> int:
        return psutil.Process(self._process.pid).memory_info().rss

    def _send(self, message: Mapping[str, Any]) -> None:
        self._process.stdin.write(json.dumps({"jsonrpc": "2.0", **message}).encode() + b"\n")
        self._process.stdin.flush()


@contextmanager
def session(command: tuple[str, ...], environment: Mapping[str, str]) -> Iterator[Session]:
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    with subprocess.Popen(command, env=dict(environment), **pipes) as process:
        try:
            yield Session(process)
        finally:
            process.kill()


def start(command: tuple[str, ...], environment: Mapping[str, str]) -> tuple[float, int]:
    """Return the seconds to the answer of `initialize`, and the bytes of memory then."""
    begun = time.perf_counter()
    with session(command, environment) as server:
        server.initialize()
        return time.perf_counter() - begun, server.rss_bytes()


def show_start(rounds: int, environment: Mapping[str, str]) -> None:
    with TemporaryDirectory() as folder:
        script = Path(folder) / "bare.py"
        script.write_text(BARE)
        runs = [(start((sys.executable, str(script)), environment), start(BRIDGE, environment)) for _ in range(rounds)]
    bare, ours = ([run[side] for run in runs] for side in (0, 1))
    for name, unit, place, scale in (("cold start", "s", 0, 1.0), ("memory", "MiB", 1, MEBI)):
        medians = [statistics.median(one[place] for one in side) / scale for side in (bare, ours)]
        print(f"{name}: bare {medians[0]:.2f} {unit}, bridge {medians[1]:.2f} {unit}, +{medians[1] - medians[0]:.2f}")


def show_catalogue(environment: Mapping[str, str]) -> None:
    for profile in PROFILES:
        with session(BRIDGE, {**environment, "TMWS_MCP_PROFILE": profile}) as server:
            server.initialize()
            listed = server.ask("tools/list")
        text = json.dumps(listed, separators=(",", ":"), ensure_ascii=False)
        print(f"tools/list {profile}: {len(listed['tools'])} tools, {len(text)} characters, {len(text) / 4:.0f} tokens")


def show_calls(calls: int, stack: Stack) -> None:
    with stack.client() as api, session(BRIDGE, stack.environment) as server:
        server.initialize()
        path = f"/api/v1/tasks/{api.post('/api/v1/tasks', json={'title': 'Measured'}).json()['id']}"
        arguments = {"operation": "get", "task_data": {"id": path.rpartition("/")[2]}}
        pairs = [(timed(api.get, path), timed(call_tool, server, arguments)) for _ in range(calls)]
    rest, tool = (sorted(pair[side] for pair in pairs[calls // 10 :]) for side in (0, 1))
    for name, spent in (("REST", rest), ("tool", tool)):
        print(f"{name}: p50 {statistics.median(spent):.1f} ms, p99 {spent[int(len(spent) * 0.99)]:.1f} ms")
    print(f"the bridge adds {statistics.median(tool) - statistics.median(rest):.1f} ms at p50")


def call_tool(server: Session, arguments: Mapping[str, Any]) -> None:
    answer = server.ask("tools/call", {"name": "manage_task", "arguments": arguments})
    if answer.get("isError"):
        raise RuntimeError(answer)


def timed(function: Any, *arguments: Any) -> float:
    """Return the milliseconds that a call takes."""
    begun = time.perf_counter()
    answer = function(*arguments)
    if isinstance(answer, httpx2.Response):
        answer.raise_for_status()
    return (time.perf_counter() - begun) * 1e3


def main() -> None:
    parser = argparse.ArgumentParser(description="What the MCP bridge costs.")
    parser.add_argument("--rounds", type=int, default=7, help="cold starts of each server")
    parser.add_argument("--calls", type=int, default=300, help="calls of each kind")
    parser.add_argument("--no-stack", action="store_true", help="leave out the calls, which need a stack")
    options = parser.parse_args()
    nowhere = {"PATH": "", "TMWS_URL": "http://127.0.0.1:9"}
    show_start(options.rounds, nowhere)
    show_catalogue(nowhere)
    if not options.no_stack:
        with running_stack() as stack:
            show_calls(options.calls, stack)


if __name__ == "__main__":
    main()
