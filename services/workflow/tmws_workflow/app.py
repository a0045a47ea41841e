"""The workflow service's process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from fastapi import FastAPI

from tmws_shared.app import create_app, open_database, serve
from tmws_shared.background import keep_running
from tmws_shared.jobs import Doorbell
from tmws_shared.pagination import Cursors
from tmws_workflow.models import SCHEMA
from tmws_workflow.plans import Plans
from tmws_workflow.ringer import BELL, Ringer
from tmws_workflow.routes import executions_router, router, stats_router
from tmws_workflow.service import WorkflowService
from tmws_workflow.settings import WorkflowSettings


def build(settings: WorkflowSettings) -> FastAPI:
    """Return the workflow service's app."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncGenerator[None]:
        bell = Doorbell(settings.redis_url.get_secret_value(), BELL)
        ringer = Ringer(bell)
        async with open_database(settings, "tmws_workflow", SCHEMA) as database:
            cursors = Cursors(settings.secret_key.get_secret_value())
            app.state.workflows = WorkflowService(database, cursors, Plans(), ringer.ask)
            app.state.checks["database"] = database.check
            ringing = asyncio.create_task(keep_running("ring", ringer.run), name="ring")
            yield
            ringing.cancel()
            await asyncio.gather(ringing, return_exceptions=True)
            await bell.close()

    return create_app("workflow", settings, routers=[router, executions_router, stats_router], lifespan=lifespan)


if __name__ == "__main__":
    serve("workflow", WorkflowSettings, build)
