"""How fast workflows run, submitted through the gateway, beside DBOS, procrastinate and arq on the same servers.

    python tests/benchmarks/workflow_engine.py [--peers DIR --install] [--rounds 5] [--executions 1000]
        [--finished 1000000]

A stack with its own PostgreSQL (fsync and synchronous_commit on) and Redis runs workflows of five no-op steps: many at
once, submission timed, and one at a time. `--finished` adds so many finished executions to the tables and measures
again. Prints medians of the rounds, and the ratio to each peer.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import asyncpg
import httpx2
import workflow_peers
from stack import start, stop

from tmws_local.paths import free_port
from tmws_local.roles import role_url

sys.path.insert(0, str(Path(__file__).parents[1]))

from support.postgres import PostgresForTests
from support.redis import RedisForTests

TMWS = str(Path(sys.executable).parent / "tmws")
SECRET = "the secret of a benchmark, long enough to be one"
DURABLE = {"fsync": "on", "synchronous_commit": "on", "full_page_writes": "on"}
STEPS = 5
ALONE = 20
BATCH = 250
CONNECTIONS = 4
POLL_S, POLL_ALONE_S = 0.02, 0.002
TIMEOUT_S = 300.0
DEFINITION = {
    "name": "no-op",
    "workflow_type": "sequential",
    "config": {"steps": [{"id": f"s{number}", "uses": "transform", "with": {"n": number}} for number in range(STEPS)]},
}
# Executions that ended long ago: as their rows are left by running them.
_OLD = """
    WITH old AS (
        INSERT INTO executions (id, namespace, workflow_id, workflow_version, status, priority, parameters, principal,
                                open_steps, last_seq, created_at, started_at, finished_at)
        SELECT gen_random_uuid(), 'default', $1, 1, 'completed', 'medium', '{}', '{"subject": "x", "scopes": []}',
               0, 12, now() - interval '9 d', now() - interval '9 d', now() - interval '9 d'
        FROM generate_series(1, $2) RETURNING id
    )
    INSERT INTO step_executions (execution_id, path, place, kind, status, unmet, attempt, fence, finished_at, output)
    SELECT id, 's' || n, n, 'transform', 'completed', 0, 1, 1, now() - interval '9 d', '{"n": 1}'
    FROM old CROSS JOIN generate_series(0, $3 - 1) n
"""


_OPEN = "SELECT count(*) FROM executions WHERE status IN ('pending', 'running', 'cancelling')"
_WRONG = "SELECT count(*) FROM step_executions WHERE status <> 'completed' OR attempt <> 1"


class Ours:
    """The stack, through its gateway, and a look at its tables."""

    def __init__(self, port: int, url: str, runner: asyncio.Runner) -> None:
        self._client = httpx2.Client(base_url=f"http://127.0.0.1:{port}/api/v1", timeout=60)
        self._runner = runner
        self._tables = runner.run(asyncpg.connect(url))
        self._workflow = self._post("/workflows", DEFINITION)["id"]

    def many(self, count: int) -> float:
        """Run so many executions and return the seconds from the first request to the last end."""
        batches = [{"items": [{}] * min(BATCH, count - done)} for done in range(0, count, BATCH)]
        began = time.perf_counter()
        with ThreadPoolExecutor(CONNECTIONS) as pool:
            list(pool.map(lambda body: self._post(f"/workflows/{self._workflow}/execute/batch", body), batches))
        self._wait_until_ended(POLL_S)
        return time.perf_counter() - began

    def alone(self) -> list[float]:
        """Run one execution at a time and return the milliseconds of each."""
        times: list[float] = []
        for _ in range(ALONE):
            time.sleep(0.2)
            began = time.perf_counter()
            self._post(f"/workflows/{self._workflow}/execute", {})
            self._wait_until_ended(POLL_ALONE_S)
            times.append((time.perf_counter() - began) * 1000)
        return times

    def add_finished(self, count: int) -> None:
        """Put finished executions into the tables."""
        for done in range(0, count, 10_000):
            self._runner.run(self._tables.execute(_OLD, self._workflow, min(10_000, count - done), STEPS))
        self._runner.run(self._tables.execute("ANALYZE executions, step_executions"))

    def check(self) -> None:
        """Refuse figures of an engine that ran a step twice or lost one."""
        assert self._runner.run(self._tables.fetchval(_WRONG)) == 0

    def _post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        answer = self._client.post(path, json=body)
        if answer.is_error:
            raise SystemExit(f"POST {path} answered {answer.status_code}: {answer.text[:500]}")
        return answer.json()

    def _wait_until_ended(self, poll_s: float) -> None:
        until = time.perf_counter() + TIMEOUT_S
        while self._runner.run(self._tables.fetchval(_OPEN)):
            if time.perf_counter() > until:
                raise SystemExit("executions do not end")
            time.sleep(poll_s)


class Table:
    """Collects the rounds of each engine, and prints medians."""

    def __init__(self, executions: int) -> None:
        self._executions = executions
        self._many: dict[str, list[float]] = {}
        self._alone: dict[str, list[float]] = {}

    def add(self, name: str, seconds: float, alone_ms: list[float]) -> None:
        """Note a round."""
        self._many.setdefault(name, []).append(self._executions * STEPS / seconds)
        self._alone.setdefault(name, []).append(statistics.median(alone_ms))

    def print(self) -> None:
        """Print each engine's medians, and how many times its speed is ours."""
        ours = statistics.median(self._many["tmws"])
        print(f"{'':34}{'steps/s':>10}{'one alone':>12}{'ours is':>10}")
        for name, rates in self._many.items():
            rate = statistics.median(rates)
            alone = statistics.median(self._alone[name])
            print(f"{name:34}{rate:>10,.0f}{alone:>9,.0f} ms{ours / rate:>9.1f} x", flush=True)


def measure(ours: Ours, postgres: PostgresForTests, redis_url: str, options: argparse.Namespace) -> None:
    """Run the rounds, each engine once in every round."""
    table = Table(options.executions)
    ours.many(100)
    for _ in range(options.rounds):
        table.add("tmws", ours.many(options.executions), ours.alone())
        for name in workflow_peers.NAMES if options.peers else ():
            url = postgres.create_empty_database().admin if name in workflow_peers.ON_POSTGRES else redis_url
            found = workflow_peers.measure(options.peers.absolute(), name, url, options.executions, STEPS, ALONE)
            table.add(name, found["seconds"], found["alone_ms"])
    ours.check()
    if options.finished:
        ours.add_finished(options.finished)
        for _ in range(options.rounds):
            table.add(f"tmws, {options.finished:,} finished", ours.many(options.executions), ours.alone())
    table.print()


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--executions", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--in-flight", type=int, default=128)
    parser.add_argument("--finished", type=int, default=0)
    parser.add_argument("--peers", type=Path, help="folder of the peers' environment")
    parser.add_argument("--install", action="store_true", help="install the peers when they are absent")
    options = parser.parse_args()
    if options.peers and options.install:
        workflow_peers.install(options.peers)
    with tempfile.TemporaryDirectory(prefix="tmws-") as name, asyncio.Runner() as runner:
        directory = Path(name)
        directory.chmod(0o755)
        postgres, redis = PostgresForTests(directory, DURABLE), RedisForTests(directory)
        postgres.start()
        redis.start()
        try:
            run_stack(directory, postgres, redis.url, runner, options)
        finally:
            redis.stop()
            postgres.stop()


def run_stack(
    directory: Path, postgres: PostgresForTests, redis_url: str, runner: asyncio.Runner, options: argparse.Namespace
) -> None:
    """Start a stack on these servers, measure, and stop it."""
    database, port = postgres.create_database(), free_port()
    environ = {
        "TMWS_DATA_DIR": str(directory / "data"),
        "TMWS_DATABASE_URL": database.admin,
        "TMWS_REDIS_URL": redis_url,
        "TMWS_SECRET_KEY": SECRET,
        "TMWS_WORKFLOW_IN_FLIGHT": str(options.in_flight),
        "TMWS_RATE_LIMIT_REQUESTS": "1000000",
    }
    process, _ = start([TMWS, "up"], directory, port, environ)
    try:
        measure(Ours(port, role_url(database.admin, SECRET, "workflow"), runner), postgres, redis_url, options)
    finally:
        stop(process)


if __name__ == "__main__":
    main()
