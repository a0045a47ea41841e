"""Workers: loops that run for as long as their process, each restarted when it fails."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from fastapi import FastAPI

from tmws_shared.app import create_app
from tmws_shared.cancellation import is_cancelled
from tmws_shared.problems import Unavailable
from tmws_shared.settings import Settings

_log = logging.getLogger(__name__)

Loop = Callable[[], Awaitable[None]]
OpenLoops = Callable[[FastAPI], AbstractAsyncContextManager[dict[str, Loop]]]
RESTART_S = 1.0


def create_worker(name: str, settings: Settings, open_loops: OpenLoops) -> FastAPI:
    """Return an app with health and metrics only, that runs the loops `open_loops` yields by name."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncGenerator[None]:
        async with open_loops(app) as loops, running(loops):
            yield

    return create_app(name, settings, lifespan=lifespan)


@asynccontextmanager
async def running(loops: Mapping[str, Loop]) -> AsyncGenerator[None]:
    """Run loops by name for as long as the block."""
    tasks = [asyncio.create_task(keep_running(name, loop), name=name) for name, loop in loops.items()]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def keep_running(name: str, loop: Loop) -> None:
    """Run a loop until cancelled; a failure is logged and the loop starts again.

    A loop whose clean-up fails while it is cancelled ends all the same.
    """
    while not is_cancelled():
        try:
            await loop()
        except Unavailable as error:
            _log.warning("%s waits: %s", name, error)
        except Exception:  # noqa: BLE001 -- the job wrapper
            _log.exception("%s failed and starts again", name)
        else:
            return
        await asyncio.sleep(RESTART_S)


async def every(period_s: float, work: Callable[[], Awaitable[object]]) -> None:
    """Do `work` again and again, `period_s` seconds apart."""
    while True:
        await work()
        await asyncio.sleep(period_s)
