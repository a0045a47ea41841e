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
from tmws_shared.event_reader import Reader, forget_old_events
from tmws_shared.events import relaying
from tmws_shared.http import ServiceClient
from tmws_shared.idempotency import forget_old_keys
from tmws_shared.jobs import Doorbell, ringing
from tmws_workflow.attempts import Attempts
from tmws_workflow.children import ChildExecutions
from tmws_workflow.egress.client import Egress
from tmws_workflow.models import SCHEMA
from tmws_workflow.plans import Plans
from tmws_workflow.presence import Presence
from tmws_workflow.repository.counts import TALLY
from tmws_workflow.repository.schedules import forget_old_fires
from tmws_workflow.runner import Pace, Runner
from tmws_workflow.sandbox import Sandbox
from tmws_workflow.settings import BELL, WorkflowSettings
from tmws_workflow.steps.base import Children, Services
from tmws_workflow.sweeper import Sweeper
from tmws_workflow.ticker import Ticker

FORGET_EVERY_S = 600.0
ADD_UP_EVERY_S = 5.0
LEAVE_S = 3.0
ORPHANS_PERIODS = 3
# Without Redis nobody announces a finished task, so waiting steps ask for it themselves.
LOOK_AGAIN_S, LOOK_AGAIN_WITHOUT_REDIS_S = 60.0, 2.0


def build(settings: WorkflowSettings, pace: Pace | None = None) -> FastAPI:
    """Return the worker of the workflow service; `pace` is how often it does what."""
    rhythm = pace or Pace()

    @asynccontextmanager
    async def open_loops(app: FastAPI) -> AsyncGenerator[dict[str, Loop]]:
        plans = Plans()
        async with (
            open_database(settings, "tmws_workflow", SCHEMA) as database,
            _open_services(settings, database, children := ChildExecutions(database, plans)) as services,
            _open_sandbox() as sandbox,
        ):
            app.state.checks["database"] = database.check
            worker_id, limit = new_id(), settings.workflow_in_flight
            runner = Runner(database, plans, Attempts(services, sandbox), worker_id, limit, rhythm)
            sweeper = Sweeper(database, runner.committer, services, rhythm.sweep_s)
            runner.on_waits_due = sweeper.wake
            children.announce = runner.announce
            ticker = Ticker(database, plans, runner.announce, rhythm.tick_s)
            presence = Presence(database, worker_id, limit, lambda: limit - runner.room(), rhythm.heartbeat_s)
            async with (
                _open_bell(settings, runner, sweeper, database) as bells,
                relaying(database, settings.redis_url.get_secret_value()) as (relay, runner.on_committed),
                _committing(runner),
            ):
                own: dict[str, Loop] = {
                    "run steps": runner.poll,
                    "renew leases": runner.beat,
                    "watch cancellations": runner.watch_cancellations,
                    "sweep": sweeper.sweep,
                    "look at waiting steps": sweeper.look,
                    "withdraw": sweeper.withdraw,
                    "cancel orphans": lambda: every(ORPHANS_PERIODS * rhythm.sweep_s, children.cancel_orphans),
                    "purge": sweeper.purge,
                    "fire schedules": ticker.run,
                    "show presence": presence.show,
                }
                yield own | bells | relay | _housekeeping(database)

    return create_worker("workflow-worker", settings, open_loops)


def _housekeeping(database: Database) -> dict[str, Loop]:
    return {
        "add up counts": lambda: every(ADD_UP_EVERY_S, lambda: TALLY.add_up(database)),
        "forget old fires": lambda: every(FORGET_EVERY_S, lambda: forget_old_fires(database)),
        "forget old answers": lambda: every(FORGET_EVERY_S, lambda: forget_old_keys(database)),
        "forget old events": lambda: every(FORGET_EVERY_S, lambda: forget_old_events(database)),
    }


@asynccontextmanager
async def _open_services(
    settings: WorkflowSettings, database: Database, children: Children
) -> AsyncGenerator[Services]:
    tokens = InternalTokens(settings.secret_key.get_secret_value())
    task = ServiceClient(settings.task_url, "task", tokens)
    memory = ServiceClient(settings.memory_url, "memory", tokens)
    egress = Egress(settings.http_allowed, settings.secrets, settings.workflow_http_timeout_seconds)
    look_again_s = LOOK_AGAIN_S if settings.redis_url.get_secret_value() else LOOK_AGAIN_WITHOUT_REDIS_S
    try:
        yield Services(database, task, memory, look_again_s, egress, children)
    finally:
        await asyncio.gather(task.close(), memory.close(), egress.close())


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
    bell = Doorbell(redis_url, BELL)

    async def hear(connection: Connection, event: Event) -> None:
        await sweeper.hear(connection, event)
        runner.wake()

    def wake() -> None:
        # The API has committed something: there may be steps to run, and events to relay.
        runner.wake()
        runner.on_committed()

    reader = Reader(database, redis_url, "workflow", TASK_FINISHED, hear)
    async with ringing(redis_url, BELL) as ringer:
        runner.ring = ringer.ask
        yield {"hear the bell": lambda: bell.listen(wake), "read events": reader.run}
    await asyncio.gather(reader.close(), bell.close())


if __name__ == "__main__":
    serve("workflow-worker", WorkflowSettings, build)
