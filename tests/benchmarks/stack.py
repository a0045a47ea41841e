"""What the embedded stack costs: start, stop, memory, processor at rest, and one store and search.

    python tests/benchmarks/stack.py [--clone DIR]

Starts the stack in a temporary data directory (the first time and again), measures, and prints a table. With
`--clone`, the first start is timed as a newcomer has it: `./taskw up` in a fresh clone made in DIR, caches empty.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import httpx2
import psutil

from tmws_local.paths import free_port

ROOT = Path(__file__).parents[2]
READY = "TMWS is ready"
SETTLE_S = 5
REST_S = 20
MEMORIES = 1_000
ROUNDS = 200


def start(command: list[str], folder: Path, port: int, environ: dict[str, str]) -> tuple[subprocess.Popen[str], float]:
    """Start a stack and return it with the seconds until it said that it is ready."""
    began = time.perf_counter()
    variables = {**os.environ, **environ, "TMWS_API_PORT": str(port)}
    process = subprocess.Popen(
        command, cwd=folder, env=variables, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    assert process.stdout is not None
    for line in process.stdout:
        if READY in line:
            return process, time.perf_counter() - began
    raise SystemExit(f"{command} ended before it was ready")


def stop(process: subprocess.Popen[str]) -> float:
    """Stop a stack and return the seconds it took."""
    began = time.perf_counter()
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=30)
    return time.perf_counter() - began


def family(process: subprocess.Popen[str]) -> list[psutil.Process]:
    """Return the process and all it started."""
    parent = psutil.Process(process.pid)
    return [parent, *parent.children(recursive=True)]


def proportional_set_mb(processes: list[psutil.Process]) -> float:
    """Return the sum of the proportional set sizes: shared pages count once."""
    return sum(one.memory_full_info().pss for one in processes) / 1e6


def cpu_share(processes: list[psutil.Process]) -> float:
    """Return the share of one core used over some seconds."""

    def used() -> float:
        return sum(sum(one.cpu_times()[:2]) for one in processes)

    before = used()
    time.sleep(REST_S)
    return (used() - before) / REST_S


def median_ms(work: Callable[[int], None]) -> float:
    """Return the median duration of `work` over the rounds."""
    durations = []
    for number in range(ROUNDS):
        began = time.perf_counter()
        work(number)
        durations.append((time.perf_counter() - began) * 1000)
    return statistics.median(durations)


def measure_memory(port: int) -> tuple[float, float]:
    """Return the median milliseconds of a store and of a search among a thousand memories."""
    with httpx2.Client(base_url=f"http://127.0.0.1:{port}/api/v1/memory", timeout=30) as client:

        def store(text: str) -> None:
            client.post("/store", json={"content": text}).raise_for_status()

        def search(number: int) -> None:
            query = {"query": f"who reported incident {number % MEMORIES} in the harbour?", "limit": 10}
            client.post("/search", json=query).raise_for_status()

        for number in range(MEMORIES - ROUNDS):
            store(f"Incident {number}: crew {number % 37} reported a loose mooring in harbour {number % 11}.")
        store_ms = median_ms(lambda number: store(f"Note {number}: the lamp at pier {number % 13} was replaced."))
        return store_ms, median_ms(search)


def in_fresh_clone(folder: Path) -> float:
    """Return the seconds of `./taskw up` in a fresh clone with empty caches."""
    clone = folder / "tmws"
    subprocess.run(["git", "clone", "-q", str(ROOT), str(clone)], check=True)
    environ = {"UV_CACHE_DIR": str(folder / "uv-cache"), "PIP_NO_CACHE_DIR": "1"}
    process, seconds = start(["./taskw", "up"], clone, free_port(), environ)
    stop(process)
    return seconds


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clone", type=Path, help="also time the first start in a fresh clone made in this folder")
    arguments = parser.parse_args()
    rows: list[tuple[str, str, str]] = []
    if arguments.clone:
        rows.append(("./taskw up, fresh clone, empty caches", f"{in_fresh_clone(arguments.clone):.1f} s", "< 120 s"))
    data = Path(tempfile.mkdtemp(prefix="tmws-bench-"))
    environ = {"TMWS_DATA_DIR": str(data / "data"), "TMWS_RATE_LIMIT_REQUESTS": "1000000"}
    up = [str(Path(sys.executable).parent / "tmws"), "up"]
    try:
        process, first_s = start(up, data, port := free_port(), environ)
        rows.append(("first start, packages installed", f"{first_s:.1f} s", ""))
        rows.append(("stop", f"{stop(process):.1f} s", "< 3 s"))
        process, later_s = start(up, data, port, environ)
        rows.append(("later start", f"{later_s:.1f} s", "< 10 s"))
        time.sleep(SETTLE_S)
        processes = family(process)
        rows.append(
            (f"memory of {len(processes)} processes", f"{proportional_set_mb(processes):.0f} MB PSS", "< 1200 MB")
        )
        rows.append(("processor at rest", f"{cpu_share(processes) * 100:.1f} % of a core", "< 5 %"))
        store_ms, search_ms = measure_memory(port)
        rows.append((f"store, {MEMORIES} memories, p50", f"{store_ms:.1f} ms", "< 25 ms"))
        rows.append((f"search, {MEMORIES} memories, p50", f"{search_ms:.1f} ms", "< 25 ms"))
        rows.append(("memory after that", f"{proportional_set_mb(family(process)):.0f} MB PSS", "< 1200 MB"))
        stop(process)
    finally:
        shutil.rmtree(data, ignore_errors=True)
    for what, value, bar in rows:
        print(f"{what:42}{value:>20}   {bar}")


if __name__ == "__main__":
    main()
