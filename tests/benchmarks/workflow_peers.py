"""The engines that ours is compared with, in an environment of their own, driven as programs.

This file is also the driver: `python workflow_peers.py NAME URL WORKFLOWS STEPS ROUNDS` (with the peers' Python) runs
so many workflows of no-op steps at once and then some one at a time; it prints `{"seconds": s, "alone_ms": [ms, …]}`.
URL is that of an empty PostgreSQL database (dbos, procrastinate) or of Redis (arq, which keeps nothing).
"""

# The peers are not installed where this is checked.
# pyright: reportMissingImports=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUntypedFunctionDecorator=false, reportUnknownParameterType=false
# pyright: reportMissingModuleSource=false, reportAttributeAccessIssue=false

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import venv
from collections.abc import Awaitable, Callable
from pathlib import Path
from time import perf_counter
from typing import Any

PACKAGES = ["dbos==3.4.0", "procrastinate==3.10.0", "psycopg[binary,pool]", "arq==0.28.0"]
ON_POSTGRES = ("dbos", "procrastinate")
NAMES = (*ON_POSTGRES, "arq")
DBOS_AT_ONCE = 100
PROCRASTINATE_AT_ONCE = 32
# Its notifications do not wake a worker that has room; by default it polls every five seconds.
PROCRASTINATE_POLL_S = 0.02
ARQ_AT_ONCE = 100
ARQ_POLL_S = 0.01

Result = dict[str, Any]
# Starts one workflow, by its number, and returns when it has ended.
RunOne = Callable[[int], Awaitable[None]]


def install(peers: Path) -> None:
    """Make the peers' environment when there is none."""
    if not python_of(peers).is_file():
        print("installing dbos, procrastinate and arq", flush=True)
        venv.create(peers, with_pip=True)
        subprocess.run([python_of(peers), "-m", "pip", "install", "--quiet", *PACKAGES], check=True)


def python_of(peers: Path) -> Path:
    """Return the Python of the peers' environment."""
    return peers / "bin" / "python"


def measure(peers: Path, name: str, url: str, workflows: int, steps: int, rounds: int) -> Result:
    """Run a peer's driver and return what it printed."""
    command = [str(python_of(peers)), __file__, name, url, str(workflows), str(steps), str(rounds)]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


async def _alone(run: RunOne, rounds: int) -> list[float]:
    times = []
    for number in range(rounds):
        began = perf_counter()
        await run(number)
        times.append((perf_counter() - began) * 1000)
    return times


async def drive_dbos(url: str, workflows: int, steps: int, rounds: int) -> Result:
    """DBOS Transact by its asynchronous API, which is its faster one."""
    from dbos import DBOS

    configuration = {
        "name": "bench", "system_database_url": url, "log_level": "ERROR", "sys_db_pool_size": 20,
        "application_version": "1",
    }  # fmt: skip
    DBOS(config=configuration)

    @DBOS.step()
    async def step(number: int) -> int:
        return number

    @DBOS.workflow()
    async def workflow(number: int) -> int:
        for place in range(steps):
            await step(place)
        return number

    DBOS.launch()
    await (await DBOS.start_workflow_async(workflow, -1)).get_result()
    gate = asyncio.Semaphore(DBOS_AT_ONCE)

    async def one(number: int) -> None:
        async with gate:
            await (await DBOS.start_workflow_async(workflow, number)).get_result()

    async def alone(number: int) -> None:
        await workflow(number)

    began = perf_counter()
    await asyncio.gather(*(one(number) for number in range(workflows)))
    seconds = perf_counter() - began
    times = await _alone(alone, rounds)
    DBOS.destroy()
    return {"seconds": seconds, "alone_ms": times}


class _Countdown:
    """Tells when so many workflows have ended."""

    def __init__(self) -> None:
        self._left = 0
        self._is_over = asyncio.Event()

    def begin(self, count: int) -> None:
        self._left = count
        self._is_over.clear()

    def tick(self) -> None:
        self._left -= 1
        if self._left <= 0:
            self._is_over.set()

    async def wait(self) -> None:
        await self._is_over.wait()


async def drive_procrastinate(url: str, workflows: int, steps: int, rounds: int) -> Result:
    """procrastinate: a chain of jobs, each of which defers the next; results are not kept."""
    import procrastinate

    app = procrastinate.App(connector=procrastinate.PsycopgConnector(conninfo=url, min_size=4, max_size=20))
    countdown = _Countdown()

    @app.task(name="step", queue="bench")
    async def step(workflow: int, place: int) -> None:
        if place + 1 < steps:
            await step.defer_async(workflow=workflow, place=place + 1)
        else:
            countdown.tick()

    async def alone(number: int) -> None:
        countdown.begin(1)
        await step.defer_async(workflow=number, place=0)
        await countdown.wait()

    async with app.open_async():
        await app.schema_manager.apply_schema_async()
        working = asyncio.create_task(
            app.run_worker_async(
                queues=["bench"],
                concurrency=PROCRASTINATE_AT_ONCE,
                install_signal_handlers=False,
                fetch_job_polling_interval=PROCRASTINATE_POLL_S,
            )
        )
        await asyncio.sleep(1)
        countdown.begin(workflows)
        began = perf_counter()
        await step.batch_defer_async(*({"workflow": number, "place": 0} for number in range(workflows)))
        await countdown.wait()
        seconds = perf_counter() - began
        times = await _alone(alone, rounds)
        working.cancel()
        await asyncio.gather(working, return_exceptions=True)
    return {"seconds": seconds, "alone_ms": times}


async def drive_arq(url: str, workflows: int, steps: int, rounds: int) -> Result:
    """arq, tuned: many jobs at once, a short poll, no results kept. Nothing of it survives the loss of Redis."""
    from arq import Worker, create_pool, func
    from arq.connections import RedisSettings

    settings = RedisSettings.from_dsn(url)
    pool = await create_pool(settings)
    countdown = _Countdown()

    async def step(context: dict[str, Any], workflow: int, place: int) -> None:
        if place + 1 < steps:
            await context["redis"].enqueue_job("step", workflow, place + 1)
        else:
            countdown.tick()

    async def alone(number: int) -> None:
        countdown.begin(1)
        await pool.enqueue_job("step", number, 0)
        await countdown.wait()

    worker = Worker(
        functions=[func(step, name="step")], redis_settings=settings, handle_signals=False, max_jobs=ARQ_AT_ONCE,
        poll_delay=ARQ_POLL_S, keep_result=0,
    )  # fmt: skip
    working = asyncio.create_task(worker.async_run())
    await asyncio.sleep(1)
    countdown.begin(workflows)
    began = perf_counter()
    await asyncio.gather(*(pool.enqueue_job("step", number, 0) for number in range(workflows)))
    await countdown.wait()
    seconds = perf_counter() - began
    times = await _alone(alone, rounds)
    working.cancel()
    await asyncio.gather(working, return_exceptions=True)
    return {"seconds": seconds, "alone_ms": times}


DRIVERS = {"dbos": drive_dbos, "procrastinate": drive_procrastinate, "arq": drive_arq}

if __name__ == "__main__":
    name, url, *numbers = sys.argv[1:]
    print(json.dumps(asyncio.run(DRIVERS[name](url, *map(int, numbers)))))
