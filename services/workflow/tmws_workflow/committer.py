"""The group committer: whatever was reported while the last commit ran goes into the next one.

One transaction for up to 50 reports is the engine's whole speed: the disk flushes once for all of them.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol
from uuid import UUID

from tmws_shared.database import Connection, Database, unavailable_when_lost
from tmws_shared.problems import Unavailable
from tmws_shared.telemetry import Counter
from tmws_workflow.definition import Plan, PlannedStep
from tmws_workflow.engine import Adoption, Advance, Failed, Report, StepState, Verdict
from tmws_workflow.gathering import gather
from tmws_workflow.plans import Plans
from tmws_workflow.repository.journal import Journal
from tmws_workflow.repository.pinned import Pinned, pinned
from tmws_workflow.repository.queue import Held

_log = logging.getLogger(__name__)

BATCH = 50
RETRY_S = 0.2
REPORTS = Counter("workflow_step_reports", "What became of reports about steps", ["verdict"])
_UNSTORABLE = Failed({"code": "unstorable", "message": "The step's result cannot be stored."})
COMMITS = Counter("workflow_commits", "Transactions that moved executions")


@dataclass(slots=True)
class _Waiting:
    report: Report
    verdict: asyncio.Future[Verdict]


@dataclass(slots=True)
class Committed:
    """What a commit left to do: steps this worker holds now, and how many others are ready for anybody."""

    adopted: list[Held] = field(default_factory=list[Held])
    left_ready: int = 0


class Holder(Protocol):
    """Who runs steps and is told what became of them."""

    def room_to_adopt(self, freed: int) -> int:
        """Return how many steps can be taken at once when `freed` end."""
        ...

    def note(self, report: Report) -> None:
        """Take note of a report of one's own that is durable now."""
        ...

    def follow(self, committed: Committed) -> None:
        """Do what a commit left to do."""
        ...


class Committer:
    """Writes down what became of steps, and what follows from it."""

    def __init__(self, database: Database, plans: Plans, owner: UUID, lease_s: float, holder: Holder) -> None:
        self._database = database
        self._plans = plans
        self._owner = owner
        self._lease_s = lease_s
        self._holder = holder
        self._queue: list[_Waiting] = []
        self._filled = asyncio.Event()

    async def submit(self, report: Report) -> Verdict:
        """Wait until the report is durable, or refused."""
        verdict: asyncio.Future[Verdict] = asyncio.get_running_loop().create_future()
        self._queue.append(_Waiting(report, verdict))
        self._filled.set()
        return await verdict

    async def run(self) -> None:
        """Commit until cancelled; while the database is away, what was reported is kept."""
        while True:
            try:
                async with pinned(self._database) as database:
                    while True:
                        await self._filled.wait()
                        await self._commit_next(database)
            except Unavailable:
                _log.warning("reports of steps wait: the database is not available")
                await asyncio.sleep(RETRY_S)

    async def _commit_next(self, database: Pinned) -> None:
        batch = self._queue[:BATCH]
        try:
            await self._commit(database, batch)
        except Unavailable:
            raise
        except Exception:  # noqa: BLE001 -- the job wrapper: one report must not hold up the others
            _log.exception("%d reports cannot be committed together", len(batch))
            for item in batch:
                await self._commit_alone(database, item)

    async def _commit_alone(self, database: Pinned, item: _Waiting) -> None:
        for outcome in (item.report.outcome, _UNSTORABLE):
            item.report = replace(item.report, outcome=outcome)
            try:
                await self._commit(database, [item])
            except Unavailable:
                raise
            except Exception:  # noqa: BLE001 -- the job wrapper: the step fails instead
                _log.exception("the report of step %s cannot be committed", item.report.path)
            else:
                return
        self._answer([item], [Verdict.STALE])

    async def _commit(self, database: Pinned, batch: Sequence[_Waiting]) -> None:
        reports = [item.report for item in batch]
        with unavailable_when_lost():
            async with database.transaction() as connection:
                verdicts, committed = await self._apply(connection, reports)
        COMMITS.inc()
        for report, verdict in zip(reports, verdicts, strict=True):
            if verdict is not Verdict.STALE and report.owner == self._owner:
                self._holder.note(report)
        self._holder.follow(committed)
        self._answer(batch, verdicts)

    def _answer(self, batch: Sequence[_Waiting], verdicts: Sequence[Verdict]) -> None:
        done = set(map(id, batch))
        self._queue = [item for item in self._queue if id(item) not in done]
        if not self._queue:
            self._filled.clear()
        for item, verdict in zip(batch, verdicts, strict=True):
            REPORTS.labels(verdict.value).inc()
            if not item.verdict.done():
                item.verdict.set_result(verdict)

    async def _apply(self, connection: Connection, reports: Sequence[Report]) -> tuple[list[Verdict], Committed]:
        journal = Journal(connection)
        locked = await journal.lock(report.execution_id for report in reports)
        plans = await self._plans.of_executions(connection, locked.versions)
        known = await gather(journal, reports, locked, plans)
        own = sum(report.owner == self._owner for report in reports)
        adoption = Adoption(self._owner, self._holder.room_to_adopt(own))
        advances = {
            key: Advance(state, known.steps.get(key, {}), plans[key], adoption, known.completed.get(key, ()))
            for key, state in locked.states.items()
        }
        verdicts = [
            advances[report.execution_id].report(report) if report.execution_id in advances else Verdict.STALE
            for report in reports
        ]
        await journal.write(locked, advances.values(), self._lease_s)
        return verdicts, _committed(advances.values(), plans)


def _committed(advances: Iterable[Advance], plans: dict[UUID, Plan]) -> Committed:
    result = Committed()
    for advance in advances:
        result.left_ready += advance.left_ready
        plan = plans[advance.execution.id]
        result.adopted += [_held(advance.execution.id, step, plan.step(step.path)) for step in advance.adopted]
    return result


def _held(execution_id: UUID, step: StepState, planned: PlannedStep | None) -> Held:
    timeout_s = None if planned is None else planned.timeout_s
    return Held(execution_id, step.path, step.fence, step.attempt, timeout_s, step.run, step.item_no, step.input)
