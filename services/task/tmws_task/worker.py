"""The task service's background process: relays events, forgets old answers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from fastapi import FastAPI

from tmws_shared.app import open_database, serve
from tmws_shared.background import Loop, create_worker, every
from tmws_shared.events import Relay
from tmws_shared.idempotency import forget_old_keys
from tmws_shared.jobs import Doorbell
from tmws_task.models import SCHEMA
from tmws_task.service import BELL
from tmws_task.settings import TaskSettings

FORGET_EVERY_S = 600.0
# A poll costs a quarter of a millisecond; a finished task is told about within this time.
BELL_POLL_S = 0.1


def build(settings: TaskSettings) -> FastAPI:
    """Return the worker of the task service."""

    @asynccontextmanager
    async def open_loops(app: FastAPI) -> AsyncGenerator[dict[str, Loop]]:
        redis_url = settings.redis_url.get_secret_value()
        async with open_database(settings, "tmws_task", SCHEMA, max_size=3) as database:
            app.state.checks["database"] = database.check
            loops: dict[str, Loop] = {
                "forget old answers": lambda: every(FORGET_EVERY_S, lambda: forget_old_keys(database))
            }
            if not redis_url:
                yield loops
                return
            relay, bell = Relay(database, redis_url), Doorbell(redis_url, BELL, poll_s=BELL_POLL_S)
            yield loops | {"relay events": relay.run, "hear the bell": lambda: bell.listen(relay.wake)}
            await asyncio.gather(relay.close(), bell.close())

    return create_worker("task-worker", settings, open_loops)


if __name__ == "__main__":
    serve("task-worker", TaskSettings, build)
