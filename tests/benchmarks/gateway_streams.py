"""What 2,000 idle event feeds cost the gateway: memory, and the waits of other requests beside them.

    python tests/benchmarks/gateway_streams.py [--streams 2000] [--seconds 5]

Starts what gateway_hop.py starts. Measures one caller's p50 and p99 without feeds, opens the feeds, waits until all of
them are told of, and measures again, in turns so that a busy machine harms both alike. The feeds are open from one
address. Bars: less than 100 MB more, and p99 as before within what two measurements of the same differ by.
"""

from __future__ import annotations

import argparse
import shutil
import socket
import statistics
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

import psutil

sys.path.insert(0, str(Path(__file__).parent))
from gateway_hop import WARM_UP_S, Running, one_caller, request, started

TURNS = 3
BAR_MB = 100


def p(durations: list[float], share: float) -> float:
    """Return a quantile of ordered durations."""
    return durations[int(len(durations) * share)]


def open_feed(port: int, key: str) -> socket.socket:
    """Open a feed and return its connection when its head is there."""
    connection = socket.create_connection(("127.0.0.1", port), 30)
    head = f"GET /api/v1/events HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {key}\r\n\r\n"
    connection.sendall(head.encode())
    answer = connection.recv(4096)
    if not answer.startswith(b"HTTP/1.1 200 "):
        raise SystemExit(f"refused: {answer[:300]!r}")
    return connection


def resident_mb(process: psutil.Process) -> float:
    """Return the memory of a process."""
    return process.memory_info().rss / 1e6


def measure(running: Running, streams: int, seconds: float) -> None:
    """Measure and print."""
    gateway = running.gateway
    address, data = ("127.0.0.1", gateway.port), request(gateway.admin_key)
    process = psutil.Process(gateway.processes["gateway"].pid)
    one_caller(address, data, WARM_UP_S)
    waits: dict[str, list[tuple[float, float]]] = {"without": [], "beside": []}
    used_mb: dict[str, list[float]] = {"without": [], "beside": []}
    for _ in range(TURNS):
        for name, count in (("without", 0), ("beside", streams)):
            with ExitStack() as stack:
                for _ in range(count):
                    stack.enter_context(open_feed(gateway.port, gateway.admin_key))
                durations = one_caller(address, data, seconds)
                used_mb[name].append(resident_mb(process))
            waits[name].append((p(durations, 0.5), p(durations, 0.99)))
    for name, each in waits.items():
        p50, p99 = (statistics.median(column) for column in zip(*each, strict=True))
        turns = " ".join(f"{wait:.0f}" for _, wait in each)
        used = used_mb[name][0]
        print(f"{name:8}p50 {p50:5.0f} us, p99 {p99:5.0f} us (turns: {turns}), {used:.0f} MB")
    more_mb = max(used_mb["beside"]) - used_mb["without"][0]
    print(f"{streams} idle feeds cost {more_mb:.0f} MB (bar: {BAR_MB} MB)")


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--streams", type=int, default=2_000, help="how many feeds")
    parser.add_argument("--seconds", type=float, default=5.0, help="length of each measurement")
    arguments = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="tmws-streams-"))
    try:
        with started(folder) as running:
            measure(running, arguments.streams, arguments.seconds)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
