"""How many tasks agents claim and complete a second, and whether finished tasks slow them down.

    python tests/benchmarks/task_claims.py [--ready 10000] [--finished 0 100000 1000000] [--agents 16] [--rounds 5]

One process of the task service with a PostgreSQL of its own (fsync and synchronous_commit on). For each number of
finished tasks, agents claim and complete until no task is left; prints medians of the rounds, and how many were given
to two agents.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import asyncpg

sys.path.insert(0, str(Path(__file__).parents[1]))

from support.postgres import DatabaseUrls, PostgresForTests
from tmws_shared.auth import InternalTokens, Principal
from tmws_shared.http import ServiceClient
from tmws_shared.problems import Unavailable

SECRET = "the secret of a benchmark, long enough to be one"
DURABLE = {"fsync": "on", "synchronous_commit": "on", "full_page_writes": "on"}
READY_S = 30.0
NAMESPACE = "bench"
# As they are left by working: rows and history, no events that wait. Triggers rest meanwhile.
_OLD = """
    INSERT INTO task.tasks (id, namespace, title, description, status, priority, effective_priority, progress, labels,
                            claimed_by, claim_token, version, created_at, updated_at)
    SELECT gen_random_uuid(), $1, 'Finished ' || n, 'A task that was done long ago', 'completed', 'medium', 'medium',
           100, '{old}', 'agent', n, 3, now() - interval '9 d' - n * interval '1 ms', now() - interval '8 d'
    FROM generate_series($2::integer + 1, $3) n
"""
_READY = """
    INSERT INTO task.tasks (id, namespace, title, description, priority, effective_priority, created_at)
    SELECT gen_random_uuid(), $1, 'Ready ' || n, 'A task to be done',
           (ARRAY['low', 'medium', 'high', 'urgent'])[n % 4 + 1]::task.task_priority,
           (ARRAY['low', 'medium', 'high', 'urgent'])[n % 4 + 1]::task.task_priority, now() - n * interval '1 ms'
    FROM generate_series(1, $2) n
"""


class Service:
    """A running task service, as one caller sees it."""

    def __init__(self, socket: str) -> None:
        self._client = ServiceClient(socket, "task", InternalTokens(SECRET))
        self._caller = Principal("bench", NAMESPACE, frozenset({"task:read", "task:write"}))

    async def call(self, method: str, path: str, json: object = None, **params: Any) -> Any:
        """Return the answer to a request."""
        answer = await self._client.call(method, f"/api/v1/tasks{path}", self._caller, json=json, params=params or None)
        return answer.json()

    async def wait_until_up(self) -> None:
        """Return once it answers."""
        async with asyncio.timeout(READY_S):
            while True:
                try:
                    await self.call("GET", "", limit=1)
                except Unavailable:
                    await asyncio.sleep(0.1)
                else:
                    return

    async def close(self) -> None:
        """Close the connections."""
        await self._client.close()


@asynccontextmanager
async def task_service(folder: Path, database: DatabaseUrls) -> AsyncGenerator[Service]:
    """Run one process of the task service."""
    socket = f"unix://{folder}/task.sock"
    settings = {
        "TMWS_SECRET_KEY": SECRET,
        "TMWS_DATABASE_URL": database.for_service("task"),
        "TMWS_LISTEN": socket,
        "TMWS_LOG_LEVEL": "error",
    }
    environment = {name: value for name, value in os.environ.items() if not name.startswith("TMWS_")} | settings
    process = subprocess.Popen([sys.executable, "-m", "tmws_task.app"], env=environment)  # noqa: ASYNC220 -- a moment
    service = Service(socket)
    try:
        await service.wait_until_up()
        yield service
    finally:
        await service.close()
        process.terminate()
        process.wait(30)


async def work(service: Service, agent: str, taken: list[str], claims_ms: list[float]) -> None:
    """Claim and complete until nothing is left."""
    while True:
        began = time.perf_counter()
        items = (await service.call("POST", "/claim", {"agent_id": agent}))["items"]
        claims_ms.append((time.perf_counter() - began) * 1000)
        if not items:
            return
        (task,) = items
        taken.append(task["id"])
        body = {"claim_token": task["claim_token"], "result": {"n": 1}}
        await service.call("POST", f"/{task['id']}/complete", body)


async def one_round(service: Service, tables: asyncpg.Connection, ready: int, agents: int) -> tuple[float, float, int]:
    """Return pairs a second, the 99th percentile of a claim in ms, and how many tasks were given twice."""
    await tables.execute(_READY, NAMESPACE, ready)
    taken: list[str] = []
    claims_ms: list[float] = []
    began = time.perf_counter()
    await asyncio.gather(*(work(service, f"agent-{number}", taken, claims_ms) for number in range(agents)))
    seconds = time.perf_counter() - began
    return len(taken) / seconds, statistics.quantiles(claims_ms, n=100)[98], len(taken) - len(set(taken))


async def measure(database: DatabaseUrls, folder: Path, arguments: argparse.Namespace) -> None:
    """Measure with more and more finished tasks."""
    async with task_service(folder, database) as service:
        tables = await asyncpg.connect(database.admin)
        there = 0
        print(f"{'finished':>10} {'pairs/s':>8} {'claim p99 ms':>13} {'given twice':>12}")
        for finished in sorted(arguments.finished):
            if finished > there:
                await tables.execute("SET session_replication_role = replica")
                await tables.execute(_OLD, NAMESPACE, there, finished, timeout=3600)
                await tables.execute("SET session_replication_role = origin")
                await tables.execute("VACUUM ANALYZE task.tasks", timeout=3600)
            there = finished
            rounds = [
                await one_round(service, tables, arguments.ready, arguments.agents) for _ in range(arguments.rounds)
            ]
            pairs, p99, twice = (statistics.median(values) for values in zip(*rounds, strict=True))
            print(f"{finished:>10,} {pairs:>8,.0f} {p99:>13.1f} {twice:>12.0f}")
        await tables.close()


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ready", type=int, default=10_000)
    parser.add_argument("--finished", type=int, nargs="+", default=[0, 100_000, 1_000_000])
    parser.add_argument("--agents", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="tmws-bench-") as folder:
        postgres = PostgresForTests(Path(folder), DURABLE)
        postgres.start()
        try:
            asyncio.run(measure(postgres.create_database(), Path(folder), arguments))
        finally:
            postgres.stop()


if __name__ == "__main__":
    main()
