"""The task service's background process: takes back lost tasks, relays events, counts, forgets old answers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from fastapi import FastAPI

from tmws_shared.app import open_database, serve
from tmws_shared.background import Loop, create_worker, every
from tmws_shared.events import relaying
from tmws_shared.idempotency import forget_old_keys
from tmws_shared.jobs import Doorbell
from tmws_task.bells import EVENTS_BELL, READY_BELL
from tmws_task.models import SCHEMA
from tmws_task.repository.lists import TALLY
from tmws_task.settings import TaskSettings
from tmws_task.sweeping import ADD_UP_S, keep_sweeping

FORGET_EVERY_S = 600.0


def build(settings: TaskSettings) -> FastAPI:
    """Return the worker of the task service."""

    @asynccontextmanager
    async def open_loops(app: FastAPI) -> AsyncGenerator[dict[str, Loop]]:
        redis_url = settings.redis_url.get_secret_value()
        async with (
            open_database(settings, "tmws_task", SCHEMA, max_size=3) as database,
            relaying(database, redis_url) as (relay, wake_relay),
        ):
            app.state.checks["database"] = database.check
            bell, ready = Doorbell(redis_url, EVENTS_BELL), Doorbell(redis_url, READY_BELL)

            async def tell() -> None:
                wake_relay()
                await ready.ring()

            yield relay | {
                "forget old answers": lambda: every(FORGET_EVERY_S, lambda: forget_old_keys(database)),
                "take back lost tasks": lambda: keep_sweeping(database, tell),
                "add up counts": lambda: every(ADD_UP_S, lambda: TALLY.add_up(database)),
                "hear the bell": lambda: bell.listen(wake_relay),
            }
            await asyncio.gather(bell.close(), ready.close())

    return create_worker("task-worker", settings, open_loops)


if __name__ == "__main__":
    serve("task-worker", TaskSettings, build)
