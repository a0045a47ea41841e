"""The task service's process."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from fastapi import FastAPI

from tmws_shared.app import create_app, open_database, serve
from tmws_shared.jobs import ringing
from tmws_shared.pagination import Cursors
from tmws_task.models import SCHEMA
from tmws_task.routes import router, stats_router
from tmws_task.service import BELL, TaskService
from tmws_task.settings import TaskSettings


def build(settings: TaskSettings) -> FastAPI:
    """Return the task service's app."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncGenerator[None]:
        async with (
            open_database(settings, "tmws_task", SCHEMA) as database,
            ringing(settings.redis_url.get_secret_value(), BELL) as ringer,
        ):
            cursors = Cursors(settings.secret_key.get_secret_value())
            app.state.tasks = TaskService(database, cursors, ringer.ask)
            app.state.checks["database"] = database.check
            yield

    return create_app("task", settings, routers=[router, stats_router], lifespan=lifespan)


if __name__ == "__main__":
    serve("task", TaskSettings, build)
