"""What a hop through the gateway costs: a small upstream asked directly, and through auth, limit and audit.

    python tests/benchmarks/gateway_hop.py [--seconds 5] [--hold]

Starts Postgres, Redis, a tiny upstream on a unix socket (in the persona service's place) and the real gateway, and
prints p50 and p99 with one caller, requests per second with 32, and the processor time that the gateway itself spends
on a request, which other work on the machine disturbs least. `--hold` keeps all of it up, for a profiler.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
import uvicorn
import uvloop

sys.path.insert(0, str(Path(__file__).parents[1]))
from support.gateway import GatewayUnderTest, running_gateway
from support.postgres import PostgresForTests
from support.redis import RedisForTests

PATH = "/api/v1/personas/athena"
BODY = b'{"id":"athena","name":"Athena","role":"conductor","description":"' + b"x" * 900 + b'"}'
CALLERS = 32
WARM_UP_S = 1.0
ENDS = {signal.SIGINT, signal.SIGTERM}
Address = str | tuple[str, int]


async def answer(scope, receive, send) -> None:
    """Answer everything with the same kilobyte of JSON."""
    if scope["type"] != "http":
        return
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(BODY)), (b"etag", b'"1"')]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": BODY})


def serve_upstream(path: str) -> None:
    """Serve the upstream until a signal."""
    uvicorn.run(
        answer, uds=path, lifespan="off", http="httptools", loop="uvloop", access_log=False, log_level="warning",
        server_header=False, date_header=False, proxy_headers=False,
    )  # fmt: skip


def request(token: str) -> bytes:
    """Return the bytes every caller sends."""
    lines = [f"GET {PATH} HTTP/1.1", "Host: localhost", "Accept: application/json", f"Authorization: Bearer {token}"]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def connect(address: Address) -> socket.socket:
    """Open a connection to a path or a (host, port)."""
    family = socket.AF_UNIX if isinstance(address, str) else socket.AF_INET
    connection = socket.socket(family, socket.SOCK_STREAM)
    connection.connect(address)
    if family is socket.AF_INET:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


def ask(connection: socket.socket, data: bytes) -> None:
    """Send one request and read its answer."""
    connection.sendall(data)
    received = connection.recv(65536)
    while not received.endswith(BODY):
        piece = connection.recv(65536)
        if not piece:
            raise SystemExit(f"cut off: {received[:300]!r}")
        received += piece
    if not received.startswith(b"HTTP/1.1 200 "):
        raise SystemExit(f"refused: {received[:300]!r}")


def one_caller(address: Address, data: bytes, seconds: float) -> list[float]:
    """Return the microseconds of each request of one caller."""
    durations: list[float] = []
    with connect(address) as connection:
        end = time.perf_counter() + seconds
        while (began := time.perf_counter()) < end:
            ask(connection, data)
            durations.append((time.perf_counter() - began) * 1e6)
    return sorted(durations)


class Caller(asyncio.Protocol):
    """Asks again as soon as it is answered."""

    def __init__(self, data: bytes) -> None:
        self.answers = 0
        self._data = data
        self._tail = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        transport.write(self._data)

    def data_received(self, data: bytes) -> None:
        self._tail = self._tail[-len(BODY) :] + data
        if self._tail.endswith(BODY):
            self._tail = b""
            self.answers += 1
            self._transport.write(self._data)


async def many_callers(address: Address, data: bytes, seconds: float) -> float:
    """Return the requests per second of 32 callers."""
    loop = asyncio.get_running_loop()
    callers = [Caller(data) for _ in range(CALLERS)]
    for caller in callers:
        if isinstance(address, str):
            await loop.create_unix_connection(lambda caller=caller: caller, address)
        else:
            await loop.create_connection(lambda caller=caller: caller, *address)
    await asyncio.sleep(WARM_UP_S)
    before, began = sum(caller.answers for caller in callers), time.perf_counter()
    await asyncio.sleep(seconds)
    return (sum(caller.answers for caller in callers) - before) / (time.perf_counter() - began)


@dataclass(frozen=True)
class Running:
    """What was started."""

    gateway: GatewayUnderTest
    upstream: subprocess.Popen[bytes]
    socket_path: str


@contextmanager
def started(folder: Path) -> Iterator[Running]:
    """Start everything, and stop it afterwards."""
    postgres, redis = PostgresForTests(folder), RedisForTests(folder)
    gateway_folder = folder / "gateway"
    socket_path = str(gateway_folder / "persona.sock")
    settings = {"auth_enabled": "true", "rate_limit_requests": "1000000", "rate_limit_period": "1"}
    with ExitStack() as stack:
        postgres.start()
        stack.callback(postgres.stop)
        redis.start()
        stack.callback(redis.stop)
        gateway = stack.enter_context(
            running_gateway(postgres.create_database(), redis.url, gateway_folder, processes=["gateway"], **settings)
        )
        upstream = subprocess.Popen([sys.executable, __file__, "--upstream", socket_path])
        stack.callback(upstream.wait, 10)
        stack.callback(upstream.terminate)
        gateway.wait_for(PATH)
        yield Running(gateway, upstream, socket_path)


@dataclass(frozen=True)
class Row:
    """What was measured of one address; `cpu_us` is what its process spent on a request of one caller."""

    p50_us: float
    p99_us: float
    cpu_us: float
    rate: float

    @classmethod
    def measure(cls, address: Address, process: psutil.Process, data: bytes, seconds: float) -> Row:
        """Measure one caller, then many."""
        one_caller(address, data, WARM_UP_S)
        before = process.cpu_times()
        durations = one_caller(address, data, seconds)
        after = process.cpu_times()
        spent_s = after.user + after.system - before.user - before.system
        p99 = durations[int(len(durations) * 0.99)]
        rate = uvloop.run(many_callers(address, data, seconds))
        return cls(statistics.median(durations), p99, spent_s / len(durations) * 1e6, rate)


def measure(running: Running, seconds: float) -> None:
    """Measure and print."""
    gateway = running.gateway
    data = request(gateway.admin_key)
    upstream_process = psutil.Process(running.upstream.pid)
    gateway_process = psutil.Process(gateway.processes["gateway"].pid)
    direct = Row.measure(running.socket_path, upstream_process, data, seconds)
    through = Row.measure(("127.0.0.1", gateway.port), gateway_process, data, seconds)
    print(f"{'':24}{'p50 us':>9}{'p99 us':>9}{'CPU us':>9}{'req/s c32':>12}")
    for name, row in {"upstream, unix socket": direct, "through the gateway": through}.items():
        print(f"{name:24}{row.p50_us:9.0f}{row.p99_us:9.0f}{row.cpu_us:9.0f}{row.rate:12.0f}")
    print(f"the gateway adds {through.p50_us - direct.p50_us:.0f} us at p50 (bar: 250 us)", end="; ")
    print(f"{through.rate / direct.rate:.2f} of the upstream's own rate")


def main() -> None:
    """Measure, or hold."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=5.0, help="length of each of the four measurements")
    parser.add_argument("--hold", action="store_true", help="keep everything up until Ctrl-C")
    parser.add_argument("--upstream", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.upstream:
        serve_upstream(arguments.upstream)
        return
    folder = Path(tempfile.mkdtemp(prefix="tmws-hop-"))
    try:
        with started(folder) as running:
            if arguments.hold:
                gateway = running.gateway
                print(f"gateway {gateway.processes['gateway'].pid} port {gateway.port} key {gateway.admin_key}")
                print(f"upstream {running.socket_path}, end with kill {os.getpid()}", flush=True)
                signal.pthread_sigmask(signal.SIG_BLOCK, ENDS)
                signal.sigwait(ENDS)
                return
            measure(running, arguments.seconds)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
