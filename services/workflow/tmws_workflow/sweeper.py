"""What nobody holds: steps whose worker died, whose timeout passed, that wait, or that were cancelled while waiting."""

from __future__ import annotations

import asyncio
import logging
import random

from opentelemetry import propagate
from opentelemetry.trace import SpanKind

from tmws_contracts.events import Event
from tmws_shared.database import Connection, Database
from tmws_shared.problems import ProblemError, Unavailable
from tmws_shared.telemetry import tracer
from tmws_workflow.attempts import failure_of
from tmws_workflow.committer import Committer
from tmws_workflow.contexts import principal_of
from tmws_workflow.engine import LeaseLost, Outcome, Report, TimedOut
from tmws_workflow.repository.queue import DueWait, Lapsed, Queue, look_now
from tmws_workflow.retries import RetryPolicy
from tmws_workflow.steps import KINDS, StepKind
from tmws_workflow.steps.base import Services, Wait

_log = logging.getLogger(__name__)

SWEEP_LIMIT = 200
LOOK_LIMIT = 200
LOOKS_AT_ONCE = 16
LOOK_LEASE_S = 15.0
WITHDRAW_AGAIN_S = 30.0
WITHDRAW_PERIODS = 3
PURGE_LIMIT = 500
PURGE_EVERY_S = 60.0
_TIMEOUT = {"code": "timeout", "message": "The step took longer than its timeout."}


class Sweeper:
    """Finds what fell to the ground and reports it to the engine."""

    def __init__(self, database: Database, committer: Committer, services: Services, period_s: float) -> None:
        self._queue = Queue(database)
        self._committer = committer
        self._services = services
        self._period_s = period_s
        self._waits_are_due = asyncio.Event()

    def wake(self) -> None:
        """Look at the steps that wait and are due."""
        self._waits_are_due.set()

    async def sweep(self) -> None:
        """Take back lost leases and end what is overdue, until cancelled."""
        while True:
            # Workers that started together must not sweep together.
            await asyncio.sleep(self._period_s * random.uniform(0.75, 1.25))  # noqa: S311 -- jitter, not a secret
            reports = [_report(item) for item in await self._queue.lapsed(SWEEP_LIMIT)]
            if lost := sum(isinstance(report.outcome, LeaseLost) for report in reports):
                _log.warning("%d steps lost their worker", lost)
            await asyncio.gather(*(self._committer.submit(report) for report in reports))

    async def look(self) -> None:
        """Look at waiting steps when they are due, until cancelled."""
        while True:
            await self._waits_are_due.wait()
            self._waits_are_due.clear()
            waits = await self._queue.due_waits(LOOK_LIMIT, LOOK_LEASE_S)
            gate = asyncio.Semaphore(LOOKS_AT_ONCE)
            async with asyncio.TaskGroup() as group:
                for wait in waits:
                    group.create_task(self._look_at(wait, gate))

    async def withdraw(self) -> None:
        """Take back what cancelled steps had asked for, until cancelled."""
        while True:
            await asyncio.sleep(WITHDRAW_PERIODS * self._period_s)
            for wait in await self._queue.due_withdrawals(LOOK_LIMIT, WITHDRAW_AGAIN_S):
                kind = KINDS[wait.kind]
                try:
                    await kind.withdraw(self._wait(wait, kind))
                except ProblemError as problem:
                    _log.warning("step %s of %s cannot be withdrawn yet: %s", wait.path, wait.execution_id, problem)
                else:
                    await self._queue.mark_withdrawn(wait)

    async def purge(self) -> None:
        """Delete the history of deleted workflows, until cancelled."""
        while True:
            deleted = await self._queue.purge(PURGE_LIMIT)
            if deleted < PURGE_LIMIT:
                await asyncio.sleep(PURGE_EVERY_S)

    async def hear(self, connection: Connection, event: Event) -> None:
        """Take note that a task has ended; the step that waits for it is looked at next."""
        if await look_now(connection, f"task:{event.subject}"):
            self._waits_are_due.set()

    async def _look_at(self, wait: DueWait, gate: asyncio.Semaphore) -> None:
        kind = KINDS[wait.kind]
        parent = propagate.extract({"traceparent": wait.traceparent} if wait.traceparent else {})
        async with gate:
            with tracer.start_as_current_span(f"look at {wait.path}", context=parent, kind=SpanKind.CONSUMER):
                outcome = await self._ask(kind, wait)
        if outcome is None:
            await self._queue.look_again(wait, self._services.look_again_s)
            return
        await self._committer.submit(Report(wait.execution_id, wait.path, wait.fence, None, outcome))

    async def _ask(self, kind: StepKind, wait: DueWait) -> Outcome | None:
        try:
            return await kind.look(self._wait(wait, kind))
        except Unavailable:
            return None
        except ProblemError as problem:
            failure = failure_of(problem, RetryPolicy(max_attempts=2), 1)
            # A transient answer is asked for again; only a refusal ends the step.
            return failure if failure.retry_in_s is None else None

    def _wait(self, wait: DueWait, kind: StepKind) -> Wait:
        principal = principal_of(wait.execution_id, wait.namespace, wait.principal, kind.scopes)
        return Wait(wait.execution_id, wait.path, wait.key, principal, self._services)


def _report(lapsed: Lapsed) -> Report:
    outcome = TimedOut(_TIMEOUT) if lapsed.owner is None else LeaseLost()
    return Report(lapsed.execution_id, lapsed.path, lapsed.fence, lapsed.owner, outcome)
