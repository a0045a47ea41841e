"""How fast the workflow engine is, on a PostgreSQL of its own with fsync and synchronous_commit on.

    python tests/benchmarks/workflow_engine.py [--executions 1000] [--workers 1] [--in-flight 128] [--no-redis]

Prints the time of one workflow of 5 no-op steps alone, and the steps/s of many at once: engine only (all submitted
before the worker starts) and with submission through the service's own code on 24 connections.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import asyncpg
import orjson

sys.path.insert(0, str(Path(__file__).parents[1]))

from support.postgres import DatabaseUrls, PostgresForTests
from support.redis import RedisForTests
from tmws_contracts.scopes import SCOPES
from tmws_contracts.workflow import ExecutionRequest, NewWorkflow
from tmws_shared.auth import Principal
from tmws_shared.database import Database
from tmws_shared.idempotency import Attempt
from tmws_shared.jobs import ringing
from tmws_shared.migrations import migrate
from tmws_shared.pagination import Cursors
from tmws_workflow.plans import Plans
from tmws_workflow.service import WorkflowService
from tmws_workflow.settings import BELL

STEPS = 5
SECRET = "the secret of a benchmark, long enough to be one"
CALLER = Principal("benchmark", "default", SCOPES)
FREE = Attempt("benchmark", None, b"")
DURABLE = {"fsync": "on", "synchronous_commit": "on", "full_page_writes": "on"}


@contextmanager
def worker(url: str, redis_url: str, directory: Path, in_flight: int) -> Iterator[subprocess.Popen[bytes]]:
    """Run a worker process, frozen until it gets SIGCONT."""
    environment = {
        **{key: value for key, value in os.environ.items() if not key.startswith("TMWS_")},
        "TMWS_DATABASE_URL": url,
        "TMWS_SECRET_KEY": SECRET,
        "TMWS_LISTEN": f"unix://{tempfile.mktemp(dir=directory)}",  # noqa: S306 -- a folder of our own
        "TMWS_WORKFLOW_IN_FLIGHT": str(in_flight),
        **({"TMWS_REDIS_URL": redis_url} if redis_url else {}),
    }
    command = [sys.executable, "-m", "tmws_workflow.worker"]
    process = subprocess.Popen(command, env=environment)
    try:
        yield process
    finally:
        process.send_signal(signal.SIGCONT)
        process.terminate()
        process.wait(20)


class Bench:
    """The service in this process, and a connection to look at what the workers did."""

    def __init__(self, database: Database, watch: asyncpg.Connection, ring: Callable[[], None]) -> None:
        self.service = WorkflowService(database, Cursors(SECRET), Plans(), ring)
        self._watch = watch

    async def create(self) -> str:
        """Create the workflow of no-op steps and return its id."""
        steps = [{"id": f"s{number}", "uses": "transform", "with": {"n": number}} for number in range(STEPS)]
        body = NewWorkflow.model_validate({"name": "no-op", "workflow_type": "sequential", "config": {"steps": steps}})
        return orjson.loads((await self.service.create(CALLER, body, FREE)).body)["id"]

    async def submit(self, workflow_id: str, count: int, connections: int) -> None:
        """Submit executions."""
        left = iter(range(count))

        async def some() -> None:
            for _ in left:
                await self.service.execute(CALLER, workflow_id, ExecutionRequest(), FREE)  # pyright: ignore[reportArgumentType]

        await asyncio.gather(*(some() for _ in range(connections)))

    async def wait_for(self, finished: int) -> None:
        """Wait until so many executions have ended."""
        while await self._watch.fetchval("SELECT count(*) FROM executions WHERE status = 'completed'") < finished:
            await asyncio.sleep(0.005)

    async def clear(self) -> None:
        """Forget all executions."""
        await self._watch.execute("TRUNCATE executions, step_executions, events")

    async def facts(self) -> str:
        """Return what must be true whatever the speed."""
        row = await self._watch.fetchrow(
            """SELECT (SELECT count(*) FROM step_executions WHERE status = 'completed' AND attempt = 1) AS once,
                      (SELECT count(*) FROM step_executions) AS steps,
                      (SELECT count(*) FROM executions e
                       WHERE last_seq <> (SELECT count(*) FROM events WHERE execution_id = e.id)) AS gaps"""
        )
        return f"{row['once']} of {row['steps']} steps ran once, {row['gaps']} journals with gaps"


def show(name: str, value: str) -> None:
    print(f"{name:<58}{value:>22}", flush=True)


async def measure(urls: DatabaseUrls, redis_url: str, directory: Path, options: argparse.Namespace) -> None:
    url = urls.for_service("workflow")
    await migrate(url, "tmws_workflow", "workflow")
    database = await Database.connect(url, name="benchmark", max_size=24)
    watch = await asyncpg.connect(url)
    async with ringing(redis_url, BELL) as ringer:
        bench = Bench(database, watch, ringer.ask)
        workflow_id = await bench.create()
        with ExitStack() as stack:
            workers = [
                stack.enter_context(worker(url, redis_url, directory, options.in_flight))
                for _ in range(options.workers)
            ]
            await bench.submit(workflow_id, 20, 1)
            await bench.wait_for(20)
            await alone(bench, workflow_id)
            await together(bench, workflow_id, workers, options.executions)
    await watch.close()
    await database.close()


async def alone(bench: Bench, workflow_id: str) -> None:
    times = []
    await bench.clear()
    for number in range(1, 21):
        await asyncio.sleep(0.3)
        started = time.perf_counter()
        await bench.submit(workflow_id, 1, 1)
        await bench.wait_for(number)
        times.append((time.perf_counter() - started) * 1000)
    show("one workflow of 5 steps alone, median", f"{statistics.median(times):.0f} ms")


async def together(bench: Bench, workflow_id: str, workers: list[subprocess.Popen[bytes]], count: int) -> None:
    for process in workers:
        process.send_signal(signal.SIGSTOP)
    await bench.clear()
    started = time.perf_counter()
    await bench.submit(workflow_id, count, 24)
    show(f"submitting {count} executions, 24 connections", f"{count / (time.perf_counter() - started):.0f} /s")
    for process in workers:
        process.send_signal(signal.SIGCONT)
    started = time.perf_counter()
    await bench.wait_for(count)
    show("engine only", f"{count * STEPS / (time.perf_counter() - started):.0f} steps/s")
    show("", await bench.facts())
    await bench.clear()
    started = time.perf_counter()
    await bench.submit(workflow_id, count, 24)
    await bench.wait_for(count)
    show("submission timed", f"{count * STEPS / (time.perf_counter() - started):.0f} steps/s")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--executions", type=int, default=1000)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--in-flight", type=int, default=128)
    parser.add_argument("--no-redis", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="tmws-") as name:
        directory = Path(name)
        directory.chmod(0o755)
        postgres = PostgresForTests(directory, DURABLE)
        postgres.start()
        redis = None if options.no_redis else RedisForTests(directory)
        if redis is not None:
            redis.start()
        try:
            asyncio.run(measure(postgres.create_database(), redis.url if redis else "", directory, options))
        finally:
            if redis is not None:
                redis.stop()
            postgres.stop()


if __name__ == "__main__":
    main()
