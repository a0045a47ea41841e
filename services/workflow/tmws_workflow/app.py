"""The workflow service's process."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from fastapi import FastAPI

from tmws_shared.app import create_app, open_database, serve
from tmws_shared.auth import InternalTokens
from tmws_shared.http import ServiceClient
from tmws_shared.jobs import ringing
from tmws_shared.pagination import Cursors
from tmws_workflow.approvals import ApprovalService
from tmws_workflow.control import ExecutionControl
from tmws_workflow.diagnosis import Diagnostician
from tmws_workflow.executions import ExecutionService
from tmws_workflow.journal_stream import JournalStreams
from tmws_workflow.models import SCHEMA
from tmws_workflow.plans import Plans
from tmws_workflow.routes import ROUTERS
from tmws_workflow.schedules import ScheduleService
from tmws_workflow.service import WorkflowService
from tmws_workflow.settings import BELL, WorkflowSettings
from tmws_workflow.signals import SignalService


def build(settings: WorkflowSettings) -> FastAPI:
    """Return the workflow service's app."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncGenerator[None]:
        async with (
            open_database(settings, "tmws_workflow", SCHEMA) as database,
            ringing(settings.redis_url.get_secret_value(), BELL) as ringer,
            _open_tasks(settings) as tasks,
        ):
            cursors = Cursors(settings.secret_key.get_secret_value())
            plans = Plans()
            app.state.workflows = WorkflowService(database, cursors)
            app.state.executions = ExecutionService(database, cursors, plans, ringer.ask)
            app.state.control = ExecutionControl(database, plans, ringer.ask)
            app.state.schedules = ScheduleService(database, cursors, plans)
            app.state.approvals = ApprovalService(database, cursors, ringer.ask)
            app.state.signals = SignalService(database, ringer.ask)
            app.state.diagnostician = Diagnostician(database, plans, tasks)
            app.state.journal_streams = streams = JournalStreams(database)
            app.state.checks["database"] = database.check
            try:
                yield
            finally:
                await streams.close()

    return create_app("workflow", settings, routers=ROUTERS, lifespan=lifespan)


@asynccontextmanager
async def _open_tasks(settings: WorkflowSettings) -> AsyncGenerator[ServiceClient]:
    tasks = ServiceClient(settings.task_url, "task", InternalTokens(settings.secret_key.get_secret_value()))
    try:
        yield tasks
    finally:
        await tasks.close()


if __name__ == "__main__":
    serve("workflow", WorkflowSettings, build)
