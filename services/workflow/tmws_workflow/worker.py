"""The workflow service's background process: runs steps, and takes back what others lost."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from fastapi import FastAPI

from tmws_contracts.events import TASK_FINISHED, Event
from tmws_shared.app import open_database, serve
from tmws_shared.auth import InternalTokens
from tmws_shared.background import Loop, create_worker, every, keep_running
from tmws_shared.clock import new_id
from tmws_shared.database import Connection, Database
from tmws_shared.events import Reader, forget_old_events
from tmws_shared.http import ServiceClient
from tmws_shared.idempotency import forget_old_keys
from tmws_shared.jobs import Doorbell, ringing
from tmws_workflow.attempts import Attempts
from tmws_workflow.models import SCHEMA
from tmws_workflow.plans import Plans
from tmws_workflow.runner import Pace, Runner
from tmws_workflow.sandbox import Sandbox
from tmws_workflow.settings import BELL, WorkflowSettings
from tmws_workflow.steps.base import Services
from tmws_workflow.sweeper import Sweeper

FORGET_EVERY_S = 600.0
LEAVE_S = 3.0
# arq polls; twice as often costs an idle worker another 1 % of a core.
BELL_POLL_S = 0.1
# Without Redis nobody announces a finished task, so waiting steps ask for it themselves.
LOOK_AGAIN_S, LOOK_AGAIN_WITHOUT_REDIS_S = 60.0, 2.0


def build(settings: WorkflowSettings, pace: Pace | None = None) -> FastAPI:
    """Return the worker of the workflow service; `pace` is how often it does what."""
    rhythm = pace or Pace()

    @asynccontextmanager
    async def open_loops(app: FastAPI) -> AsyncGenerator[dict[str, Loop]]:
        async with (
            open_database(settings, "tmws_workflow", SCHEMA) as database,
            _open_services(settings, database) as services,
            _open_sandbox() as sandbox,
        ):
            app.state.checks["database"] = database.check
            runner = Runner(
                database, Plans(), Attempts(services, sandbox), new_id(), settings.workflow_in_flight, rhythm
            )
            sweeper = Sweeper(database, runner.committer, services, rhythm.sweep_s)
            runner.on_waits_due = sweeper.wake
            async with _open_bell(settings, runner, sweeper, database) as bells, _committing(runner):
                yield bells | {
                    "run steps": runner.poll,
                    "renew leases": runner.beat,
                    "watch cancellations": runner.watch_cancellations,
                    "sweep": sweeper.sweep,
                    "look at waiting steps": sweeper.look,
                    "withdraw": sweeper.withdraw,
                    "purge": sweeper.purge,
                    "forget old answers": lambda: every(FORGET_EVERY_S, lambda: forget_old_keys(database)),
                    "forget old events": lambda: every(FORGET_EVERY_S, lambda: forget_old_events(database)),
                }

    return create_worker("workflow-worker", settings, open_loops)


@asynccontextmanager
async def _open_services(settings: WorkflowSettings, database: Database) -> AsyncGenerator[Services]:
    tokens = InternalTokens(settings.secret_key.get_secret_value())
    task = ServiceClient(settings.task_url, "task", tokens)
    memory = ServiceClient(settings.memory_url, "memory", tokens)
    has_redis = bool(settings.redis_url.get_secret_value())
    try:
        yield Services(database, task, memory, LOOK_AGAIN_S if has_redis else LOOK_AGAIN_WITHOUT_REDIS_S)
    finally:
        await asyncio.gather(task.close(), memory.close())


@asynccontextmanager
async def _open_sandbox() -> AsyncGenerator[Sandbox]:
    sandbox = Sandbox()
    try:
        yield sandbox
    finally:
        await sandbox.close()


@asynccontextmanager
async def _committing(runner: Runner) -> AsyncGenerator[None]:
    """Keep the committer running beyond the loops: leaving needs it."""
    committing = asyncio.create_task(keep_running("commit", runner.committer.run), name="commit")
    try:
        yield
    finally:
        await runner.leave(LEAVE_S)
        committing.cancel()
        await asyncio.gather(committing, return_exceptions=True)


@asynccontextmanager
async def _open_bell(
    settings: WorkflowSettings, runner: Runner, sweeper: Sweeper, database: Database
) -> AsyncGenerator[dict[str, Loop]]:
    redis_url = settings.redis_url.get_secret_value()
    if not redis_url:
        yield {}
        return
    bell = Doorbell(redis_url, BELL, poll_s=BELL_POLL_S)

    async def hear(connection: Connection, event: Event) -> None:
        await sweeper.hear(connection, event)
        runner.wake()

    reader = Reader(database, redis_url, "workflow", TASK_FINISHED, hear)
    async with ringing(redis_url, BELL) as ringer:
        runner.ring = ringer.ask
        yield {"hear the bell": lambda: bell.listen(runner.wake), "read events": reader.run}
    await asyncio.gather(reader.close(), bell.close())


if __name__ == "__main__":
    serve("workflow-worker", WorkflowSettings, build)
