"""How soon an idle worker runs a step that became ready, on a PostgreSQL of its own with synchronous_commit on.

    python tests/benchmarks/dispatch.py [--rounds 50]

Prints p50 and p99 from the answer to `execute` until the journal says that the first step runs, with Redis and without;
beside it tuned arq alone (poll_delay 50 ms, as in its documentation 500 ms), from `enqueue_job` until the job runs; and
what an idle worker costs.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

import psutil
from arq import create_pool
from arq.connections import RedisSettings
from arq.worker import Worker, func

sys.path.insert(0, str(Path(__file__).parents[1]))

from support.postgres import DatabaseUrls, PostgresForTests
from support.redis import RedisForTests
from support.workflow_engine import running_engine

STEP = {"id": "a", "uses": "transform", "with": {"n": 1}}
DURABLE = {"fsync": "on", "synchronous_commit": "on", "full_page_writes": "on"}
IDLE_S = 20.0
# Longer than the longest poll, so that the worker is as idle as it gets.
PAUSE_S = 1.2
STARTED = "SELECT at FROM events WHERE execution_id = $1 AND type = 'step.started' ORDER BY seq LIMIT 1"


def show(name: str, times_ms: Sequence[float]) -> None:
    ordered = sorted(times_ms)
    p99 = ordered[min(len(ordered) - 1, int(len(ordered) * 0.99))]
    print(f"{name:<48}{statistics.median(ordered):>10.1f}{p99:>10.1f}{len(ordered):>8}", flush=True)


async def dispatch(urls: DatabaseUrls, redis_url: str, directory: Path, rounds: int) -> list[float]:
    times_ms: list[float] = []
    async with running_engine(urls, directory, redis_url) as engine:
        name = "with Redis" if redis_url else "without Redis"
        with engine.worker_process(name.replace(" ", "-"), "tmws_workflow.worker") as process:
            workflow_id = await engine.save(STEP)
            await engine.ended(await engine.execute(workflow_id))
            await idle(process.pid, name)
            for _ in range(rounds):
                await asyncio.sleep(PAUSE_S + random.random())  # noqa: S311 -- so that no poll is met
                execution_id = await engine.execute(workflow_id)
                answered = datetime.now(UTC)
                await engine.ended(execution_id)
                [row] = await engine.sql(STARTED, UUID(execution_id))
                times_ms.append((row["at"] - answered).total_seconds() * 1000)
    return times_ms


async def idle(pid: int, name: str) -> None:
    """Print what a worker costs while there is nothing to do."""
    process = psutil.Process(pid)
    await asyncio.sleep(3)
    before = process.cpu_times()
    await asyncio.sleep(IDLE_S)
    after = process.cpu_times()
    used_s = after.user + after.system - before.user - before.system
    print(f"{f'idle worker {name}':<48}{used_s / IDLE_S:>10.1%} of a core", flush=True)


async def arq_alone(redis_url: str, poll_s: float, rounds: int) -> list[float]:
    started = asyncio.Event()

    async def job(ctx: dict[str, object]) -> None:
        started.set()

    pool = await create_pool(RedisSettings.from_dsn(redis_url))
    arq = Worker([func(job, name="job")], redis_pool=pool, poll_delay=poll_s, keep_result=0, handle_signals=False)
    working = asyncio.create_task(arq.async_run())
    times_ms: list[float] = []
    for _ in range(rounds):
        await asyncio.sleep(0.1 + random.random() * poll_s)  # noqa: S311 -- so that no poll is met
        await pool.enqueue_job("job")
        answered = time.perf_counter()
        await started.wait()
        started.clear()
        times_ms.append((time.perf_counter() - answered) * 1000)
    # Closing cancels what has not ended, and then stumbles over it.
    await asyncio.gather(*arq.tasks.values())
    if arq.main_task is not None:
        arq.main_task.cancel()
    await asyncio.gather(working, return_exceptions=True)
    await arq.close()
    return times_ms


async def measure(postgres: PostgresForTests, redis: RedisForTests, directory: Path, rounds: int) -> None:
    print(f"{'ms':<48}{'p50':>10}{'p99':>10}{'rounds':>8}", flush=True)
    for name, url in (("with Redis", redis.url), ("without Redis", "")):
        times_ms = await dispatch(postgres.create_database(), url, directory, rounds)
        show(f"execute answered -> first step runs, {name}", times_ms)
    for poll_s in (0.05, 0.5):
        show(f"arq alone, poll_delay={poll_s}", await arq_alone(redis.url, poll_s, rounds))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=50)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="tmws-") as name:
        directory = Path(name)
        directory.chmod(0o755)
        postgres, redis = PostgresForTests(directory, DURABLE), RedisForTests(directory)
        postgres.start()
        redis.start()
        try:
            asyncio.run(measure(postgres, redis, directory, options.rounds))
        finally:
            redis.stop()
            postgres.stop()


if __name__ == "__main__":
    main()
