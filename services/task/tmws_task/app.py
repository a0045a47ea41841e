"""The task service's process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from fastapi import FastAPI

from tmws_shared.app import create_app, open_database, serve
from tmws_shared.background import keep_running
from tmws_shared.jobs import Doorbell, ringing
from tmws_shared.pagination import Cursors
from tmws_task.batches import BatchService
from tmws_task.bells import EVENTS_BELL, READY_BELL, Bells
from tmws_task.claiming import ClaimService
from tmws_task.models import SCHEMA
from tmws_task.reading import HistoryService
from tmws_task.routes import ROUTERS
from tmws_task.service import TaskService
from tmws_task.settings import TaskSettings
from tmws_task.waiting import Waiters

# A commit waits for the disk, and many share one wait: with more of them at once, more get through.
POOL_SIZE = 16


def build(settings: TaskSettings) -> FastAPI:
    """Return the task service's app."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncGenerator[None]:
        redis_url = settings.redis_url.get_secret_value()
        waiters = Waiters()
        async with (
            open_database(settings, "tmws_task", SCHEMA, max_size=POOL_SIZE) as database,
            ringing(redis_url, EVENTS_BELL) as relay,
            ringing(redis_url, READY_BELL) as others,
            _hearing(redis_url, waiters),
        ):
            cursors = Cursors(settings.secret_key.get_secret_value())
            bells = Bells(waiters, relay.ask, others.ask)
            app.state.tasks = TaskService(database, cursors, bells)
            app.state.claims = ClaimService(database, app.state.tasks, bells, waiters)
            app.state.history = HistoryService(database, cursors)
            app.state.batches = BatchService(app.state.tasks)
            app.state.checks["database"] = database.check
            yield

    return create_app("task", settings, routers=ROUTERS, lifespan=lifespan)


@asynccontextmanager
async def _hearing(redis_url: str, waiters: Waiters) -> AsyncGenerator[None]:
    """Wake the claims that wait here when another process has made something ready."""
    bell = Doorbell(redis_url, READY_BELL)
    listening = asyncio.create_task(keep_running("hear of tasks", lambda: bell.listen(waiters.wake_all)))
    try:
        yield
    finally:
        listening.cancel()
        await asyncio.gather(listening, return_exceptions=True)
        await bell.close()


if __name__ == "__main__":
    serve("task", TaskSettings, build)
