"""The workflow service's process."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from fastapi import FastAPI

from tmws_shared.app import create_app, open_database, serve
from tmws_shared.jobs import ringing
from tmws_shared.pagination import Cursors
from tmws_workflow.models import SCHEMA
from tmws_workflow.plans import Plans
from tmws_workflow.routes import executions_router, router, stats_router
from tmws_workflow.service import WorkflowService
from tmws_workflow.settings import BELL, WorkflowSettings


def build(settings: WorkflowSettings) -> FastAPI:
    """Return the workflow service's app."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncGenerator[None]:
        async with (
            open_database(settings, "tmws_workflow", SCHEMA) as database,
            ringing(settings.redis_url.get_secret_value(), BELL) as ringer,
        ):
            cursors = Cursors(settings.secret_key.get_secret_value())
            app.state.workflows = WorkflowService(database, cursors, Plans(), ringer.ask)
            app.state.checks["database"] = database.check
            yield

    return create_app("workflow", settings, routers=[router, executions_router, stats_router], lifespan=lifespan)


if __name__ == "__main__":
    serve("workflow", WorkflowSettings, build)
