"""The runner: takes ready steps under leases, runs many at once, and reports what became of them."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from uuid import UUID

from opentelemetry import propagate
from opentelemetry.trace import SpanKind

from tmws_contracts.workflow import StepStatus
from tmws_shared.database import Database
from tmws_shared.problems import Unavailable
from tmws_shared.telemetry import Gauge, tracer
from tmws_workflow.attempts import Attempts
from tmws_workflow.committer import Committed, Committer
from tmws_workflow.contexts import Context, Contexts
from tmws_workflow.definition import PlannedStep
from tmws_workflow.engine import (
    Aborted,
    Completed,
    Failed,
    Outcome,
    OutcomeUnknown,
    Released,
    Report,
    Skipped,
    TimedOut,
    Verdict,
)
from tmws_workflow.errors import DefinitionInvalid
from tmws_workflow.plans import Plans
from tmws_workflow.repository.pinned import pinned
from tmws_workflow.repository.queue import Held, Queue

_log = logging.getLogger(__name__)

SHORTEST_POLL_S, LONGEST_POLL_S = 0.02, 1.0
RETRY_S = 0.5
_UNKNOWN = OutcomeUnknown(
    {
        "code": "outcome_unknown",
        "message": "The step was stopped while it ran. Find out whether it had its effect before you retry.",
    }
)
IN_FLIGHT = Gauge("workflow_steps_in_flight", "Steps this worker runs")


@dataclass(frozen=True, slots=True)
class Pace:
    """How often the worker does what: leases outlive two lost heartbeats, sweeps find what died within seconds."""

    lease_s: float = 15.0
    heartbeat_s: float = 5.0
    sweep_s: float = 2.0
    watch_s: float = 0.5
    tick_s: float = 1.0


@dataclass(slots=True)
class _Running:
    held: Held
    task: asyncio.Task[None] | None = None
    stopped_by: Outcome | None = field(default=None)
    is_reporting: bool = False
    # Whether an effect that must not happen twice may have happened.
    is_past_return: bool = False


class Runner:
    """Runs up to `limit` steps at once, as the owner of their leases."""

    def __init__(
        self, database: Database, plans: Plans, attempts: Attempts, owner: UUID, limit: int, pace: Pace
    ) -> None:
        self._database = database
        self._plans = plans
        self._attempts = attempts
        self._owner = owner
        self._limit = limit
        self._pace = pace
        self._queue = Queue(database)
        self._contexts = Contexts(self._queue)
        self._running: dict[tuple[UUID, str], _Running] = {}
        self._woken = asyncio.Event()
        self._is_leaving = False
        self._reserved = 0
        self.ring: Callable[[], None] = lambda: None
        self.on_waits_due: Callable[[], None] = lambda: None
        self.on_committed: Callable[[], None] = lambda: None
        self.committer = Committer(database, plans, owner, pace.lease_s, self)

    def wake(self) -> None:
        """Look for work now."""
        self._woken.set()

    def announce(self) -> None:
        """Look for work now, and have other workers do so too."""
        self.wake()
        self.ring()

    def room(self) -> int:
        """Return how many steps can be taken."""
        return 0 if self._is_leaving else self._limit - len(self._running)

    def room_to_adopt(self, freed: int) -> int:
        """Return how many steps can be taken at once when `freed` end; namespaces that wait for room come first."""
        return 0 if self._is_leaving else max(0, self.room() + freed - self._reserved)

    def note(self, report: Report) -> None:
        """Remember the result of a step, for those that come after it."""
        match report.outcome:
            case Completed(output):
                self._contexts.remember(report.execution_id, report.path, StepStatus.COMPLETED, output)
            case Skipped():
                self._contexts.remember(report.execution_id, report.path, StepStatus.SKIPPED, None)
            case _:
                pass

    def follow(self, committed: Committed) -> None:
        """Start what a commit gave this worker; tell others about what it left."""
        for held in committed.adopted:
            self._start(held)
        if committed.left_ready:
            self.announce()
        self.on_committed()

    async def poll(self) -> None:
        """Claim steps until cancelled: at once when woken, otherwise after a pause that grows while nothing comes."""
        async with pinned(self._database) as connection:
            queue, pause_s = Queue(connection), SHORTEST_POLL_S
            while True:
                next_s = await queue.next_in_s()
                found = next_s is not None and next_s <= 0 and await self._take(queue)
                pause_s = SHORTEST_POLL_S if found else min(pause_s * 2, LONGEST_POLL_S)
                is_due_soon = next_s is not None and 0 < next_s < pause_s
                if await self._sleep(next_s if is_due_soon and next_s is not None else pause_s):
                    pause_s = SHORTEST_POLL_S

    async def _take(self, queue: Queue) -> bool:
        """Claim as much as there is room for; return whether there was anything."""
        self.on_waits_due()
        free = self.room()
        if free <= 0:
            self._reserved = await queue.others(self._contexts.namespaces())
            return False
        claimed = await queue.claim(free, self._owner, self._pace.lease_s)
        self._reserved = 0
        for held, origin in claimed:
            self._contexts.learn(origin)
            self._start(held)
        return bool(claimed)

    async def _sleep(self, seconds: float) -> bool:
        """Sleep until woken; return whether somebody did."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._woken.wait()
        was_woken = self._woken.is_set()
        self._woken.clear()
        return was_woken

    async def beat(self) -> None:
        """Renew the leases of what runs, until cancelled."""
        while True:
            await asyncio.sleep(self._pace.heartbeat_s)
            held = [running.held for running in self._running.values()]
            if held:
                await self._queue.renew(held, self._owner, self._pace.lease_s)

    async def watch_cancellations(self) -> None:
        """Stop the steps that nobody wants any more."""
        while True:
            await asyncio.sleep(self._pace.watch_s)
            held = [running.held for running in self._running.values()]
            for key in await self._queue.unwanted(held) if held else ():
                running = self._running.get(key)
                if running is not None:
                    _stop(running, Aborted())

    async def leave(self, timeout_s: float) -> None:
        """Hand back what is not finished; what is finished is still committed."""
        self._is_leaving = True
        for running in list(self._running.values()):
            _stop(running, Released())
        tasks = [running.task for running in self._running.values() if running.task is not None]
        if tasks:
            await asyncio.wait(tasks, timeout=timeout_s)
        for task in tasks:
            task.cancel()

    def _start(self, held: Held) -> None:
        running = _Running(held)
        self._running[held.execution_id, held.path] = running
        IN_FLIGHT.set(len(self._running))
        running.task = asyncio.create_task(self._run(running), name=held.path)

    async def _run(self, running: _Running) -> None:
        held = running.held
        context: Context | None = None
        try:
            context, outcome = await self._outcome(running)
            running.is_reporting = True
            report = Report(held.execution_id, held.path, held.fence, self._owner, outcome)
            if await self.committer.submit(report) is Verdict.STALE:
                _log.warning("the result of step %s of %s came after its lease was lost", held.path, held.execution_id)
        finally:
            if context is not None:
                self._contexts.close(context)
            if self._running.get((held.execution_id, held.path)) is running:
                del self._running[held.execution_id, held.path]
            IN_FLIGHT.set(len(self._running))
            if not self._is_leaving and len(self._running) == self._limit - 1:
                self.wake()

    async def _outcome(self, running: _Running) -> tuple[Context | None, Outcome]:
        """Run the step; being stopped and running out of time are outcomes too."""
        held, context = running.held, None
        deadline = asyncio.timeout(held.left_s)
        try:
            async with deadline:
                context = await self._open(held.execution_id)
                return context, await self._attempt(running, context)
        except TimeoutError:
            return context, TimedOut({"code": "timeout", "message": "The step took longer than its timeout."})
        except asyncio.CancelledError:
            if running.stopped_by is None or running.task is None:
                raise
            running.task.uncancel()
            return context, _UNKNOWN if running.is_past_return else running.stopped_by
        except LookupError as error:
            return context, Failed({"code": "deleted", "message": str(error)})

    async def _open(self, execution_id: UUID) -> Context:
        while True:
            try:
                return await self._contexts.open(execution_id)
            except Unavailable:
                await asyncio.sleep(RETRY_S * random.random())  # noqa: S311 -- spreads the retries

    async def _attempt(self, running: _Running, context: Context) -> Outcome:
        held, origin = running.held, context.origin
        parent = propagate.extract({"traceparent": origin.traceparent} if origin.traceparent else {})
        with tracer.start_as_current_span(f"step {held.path}", context=parent, kind=SpanKind.CONSUMER) as span:
            span.set_attributes(
                {
                    "tmws.execution_id": str(held.execution_id),
                    "tmws.step": held.path,
                    "tmws.attempt": held.attempt,
                }
            )
            while True:
                try:
                    step = await self._prepare(held, context)
                    break
                except Unavailable:
                    await asyncio.sleep(RETRY_S)
                except DefinitionInvalid as error:
                    return Failed({"code": "definition", "message": str(error)})

            def begin() -> None:
                running.is_past_return = step.is_at_most_once

            return await self._attempts.run(step, held, context, begin)

    async def _prepare(self, held: Held, context: Context) -> PlannedStep:
        origin = context.origin
        known = self._plans.known(origin.workflow_id, origin.workflow_version)
        if known is None:
            async with self._database.connection() as connection:
                known = await self._plans.get(connection, origin.workflow_id, origin.workflow_version)
        step = known.step(held.path)
        if step is None:
            raise LookupError("the definition has no such step")
        await self._contexts.complete(context, step.reads if step.is_lenient else step.reads.union(step.needs))
        return step


def _stop(running: _Running, outcome: Outcome) -> None:
    if running.task is not None and not running.is_reporting and running.stopped_by is None:
        running.stopped_by = outcome
        running.task.cancel()
