"""Everything is killed, frozen and emptied at random while executions go on; afterwards the books must balance.

CHAOS_S=300 CHAOS_SEED=7 ./taskw test:chaos -- -k soak
"""

import asyncio
import os
import random
import signal
import subprocess
import uuid
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import ExitStack, asynccontextmanager
from typing import Any

import pytest
from redis import Redis

from support.invariants import check_journals, tasks_by_step, wait_until_ended
from support.postgres import PostgresForTests
from support.redis import RedisForTests
from support.service import ServiceUnderTest
from support.workflow_engine import BRISK, WORKFLOWS, Engine

SECONDS = float(os.environ.get("CHAOS_S", "60"))
SEED = int(os.environ.get("CHAOS_SEED", "1"))
WORKERS = 3
STEPS: list[dict[str, Any]] = [
    {"id": "first", "uses": "transform", "with": {"x": 1}},
    {"id": "ask", "uses": "task", "needs": ["first"], "with": {"title": "Do it"}},
    {"id": "pause", "uses": "delay", "needs": ["first"], "with": {"duration": "300ms"}},
    {"id": "beside", "uses": "transform", "needs": ["first"], "with": {"x": 2}},
    {"id": "last", "uses": "transform", "needs": ["ask", "pause", "beside"], "with": {"x": 3}},
]


class Herd:
    """Worker processes, of which some are dying."""

    def __init__(self, engine: Engine, stack: ExitStack) -> None:
        self._engine = engine
        self._stack = stack
        self._started = 0
        self.processes: list[subprocess.Popen[bytes]] = []

    def fill(self) -> None:
        """Start what is missing."""
        self.processes = [process for process in self.processes if process.poll() is None]
        while len(self.processes) < WORKERS:
            self._started += 1
            self.processes.append(self._stack.enter_context(self._engine.worker_process(f"worker-{self._started}")))

    def wake(self) -> None:
        """Let every frozen one go on."""
        for process in self.processes:
            process.send_signal(signal.SIGCONT)


class Chaos:
    """Harms one part at a time; a fault may come while the last one is still being recovered from."""

    def __init__(self, herd: Herd, cluster: PostgresForTests, redis: RedisForTests) -> None:
        self._herd = herd
        self._cluster = cluster
        self._redis = redis
        self._random = random.Random(SEED)  # noqa: S311 -- no secret
        self.done: list[str] = []

    async def rage(self, seconds: float) -> None:
        """Do harm for so long."""
        faults: list[Callable[[], Awaitable[None]]] = [
            self.kill_workers, self.kill_workers, self.freeze_worker, self.stop_postgres, self.flush_redis,
            self.kill_redis,
        ]  # fmt: skip
        until = asyncio.get_running_loop().time() + seconds
        while asyncio.get_running_loop().time() < until:
            fault = self._random.choice(faults)
            self.done.append(fault.__name__)
            await fault()
            self._herd.fill()
            await asyncio.sleep(self._random.uniform(0.2, 3.0))

    async def kill_workers(self) -> None:
        """SIGKILL one or two workers."""
        for process in self._random.sample(self._herd.processes, self._random.randint(1, 2)):
            process.kill()

    async def freeze_worker(self) -> None:
        """Stop a worker for longer than its leases last, then let it go on with what it believes."""
        process = self._random.choice(self._herd.processes)
        process.send_signal(signal.SIGSTOP)
        await asyncio.sleep(BRISK.lease_s + 1)
        process.send_signal(signal.SIGCONT)

    async def stop_postgres(self) -> None:
        """Shut PostgreSQL down at once, without a checkpoint, and start it again."""
        await asyncio.to_thread(self._cluster.stop)
        await asyncio.sleep(self._random.uniform(0, 1))
        await asyncio.to_thread(self._cluster.start)

    async def flush_redis(self) -> None:
        """Lose all that Redis knows."""
        with Redis.from_url(self._redis.url) as client:
            client.flushall()

    async def kill_redis(self) -> None:
        """Kill Redis, and start it again a little later."""
        await asyncio.to_thread(self._redis.kill)
        await asyncio.sleep(self._random.uniform(0, 1))
        await asyncio.to_thread(self._redis.start)


async def call(service: ServiceUnderTest, method: str, path: str, **request: Any) -> Any:
    """Ask until there is an answer that is none of an outage, with one key for all attempts."""
    request.setdefault("headers", {"idempotency-key": str(uuid.uuid4())})
    while True:
        answer = await service.call(method, path, **request)
        if answer.status_code < 500:
            return answer
        await asyncio.sleep(0.1)


async def submit(engine: Engine, workflow: str, accepted: list[str]) -> None:
    """Execute the workflow again and again, as a client does that does not give up."""
    while True:
        answer = await call(engine.api, "POST", f"{WORKFLOWS}/{workflow}/execute", json={})
        accepted.append(answer.json()["execution_id"])
        await asyncio.sleep(0.05)


async def complete_tasks(tasks: ServiceUnderTest) -> None:
    """Complete every task that is pending."""
    while True:
        answer = await call(tasks, "GET", "/api/v1/tasks", params={"status": "pending", "limit": 200}, headers={})
        for task in answer.json()["items"]:
            await call(tasks, "POST", f"/api/v1/tasks/{task['id']}/complete", json={"result": {}})
        await asyncio.sleep(0.1)


@asynccontextmanager
async def going_on(*works: Awaitable[None]) -> AsyncGenerator[None]:
    """Do this beside the block."""
    running = [asyncio.ensure_future(work) for work in works]
    try:
        yield
        for work in running:
            assert not work.done(), work
    finally:
        for work in running:
            work.cancel()
        await asyncio.gather(*running, return_exceptions=True)


@pytest.mark.timeout(SECONDS + 300)
async def test_soak(engine: Engine, cluster: PostgresForTests, redis_of_ours: RedisForTests) -> None:
    accepted: list[str] = []
    workflow = await engine.save(*STEPS)
    with ExitStack() as stack:
        herd = Herd(engine, stack)
        herd.fill()
        chaos = Chaos(herd, cluster, redis_of_ours)
        async with engine.tasks() as tasks, going_on(complete_tasks(tasks)):
            async with going_on(submit(engine, workflow, accepted)):
                await chaos.rage(SECONDS)
            herd.wake()
            herd.fill()
            rows = await engine.sql("SELECT id::text FROM executions")
            await wait_until_ended(engine, [row["id"] for row in rows], timeout_s=120)

    print(f"{len(accepted)} executions, {len(chaos.done)} faults: {chaos.done}")  # noqa: T201 -- -s shows it
    assert len(accepted) == len(set(accepted)) > SECONDS
    await check_journals(engine, accepted)
    ends = await engine.sql("SELECT id::text, status::text, error ->> 'code' AS code FROM executions")
    # A step that lost its worker three times is given up, by design; nothing else may go wrong.
    assert {(row["status"], row["code"]) for row in ends} <= {("completed", None), ("failed", "lease_lost")}
    # The last one may have been accepted without its client having heard so.
    assert set(accepted) <= {row["id"] for row in ends}
    assert len(ends) <= len(accepted) + 1
    asked = await tasks_by_step(engine)
    assert set(asked.values()) == {1}
    assert {row["id"] for row in ends if row["status"] == "completed"} <= {execution for execution, _ in asked}
