"""Why an execution does not move: what each step that has not ended waits for, since when, and who can unblock it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from tmws_contracts.approvals import Approval
from tmws_contracts.diagnosis import Child, Diagnosis, QueuePlace, StepDiagnosis, Workers
from tmws_contracts.workflow import Execution, StepStatus, Waiting
from tmws_shared.auth import Principal
from tmws_shared.database import Connection, Database, Row
from tmws_shared.http import ServiceClient
from tmws_workflow import task_standing
from tmws_workflow.definition import Plan
from tmws_workflow.errors import DefinitionInvalid
from tmws_workflow.lookups import find_execution
from tmws_workflow.plans import Plans
from tmws_workflow.reports import waiting_for
from tmws_workflow.repository.approvals import ApprovalRepository
from tmws_workflow.repository.diagnosis import open_steps, steps_ahead, unsuccessful_steps
from tmws_workflow.repository.executions import ExecutionRepository
from tmws_workflow.repository.workers import SeenWorker, seen_workers
from tmws_workflow.step_diagnosis import Facts, explain, open_needs
from tmws_workflow.verdicts import judge


@dataclass(frozen=True, slots=True)
class _Look:
    """What the database says about an execution at one moment."""

    execution: Execution
    plan: Plan
    steps: list[tuple[Row, Waiting | None]]
    workers: Workers
    approvals: dict[UUID, Approval]
    queue: dict[str, QueuePlace]
    children: dict[UUID, Execution]


class Diagnostician:
    """Looks at executions; `tasks` is asked about what they wait for."""

    def __init__(self, database: Database, plans: Plans, tasks: ServiceClient) -> None:
        self._database = database
        self._plans = plans
        self._tasks = tasks

    async def diagnose(self, caller: Principal, execution_id: UUID) -> Diagnosis:
        """Say why an execution does not move.

        Raises:
            ExecutionNotFound: there is none.
        """
        return await self._diagnose(caller, execution_id, follow=True)

    async def _diagnose(self, caller: Principal, execution_id: UUID, *, follow: bool) -> Diagnosis:
        async with self._database.snapshot() as connection:
            look = await self._look(connection, caller, execution_id)
        steps = await asyncio.gather(*(self._step(caller, look, row, waits, follow) for row, waits in look.steps))
        return judge(look.execution, steps, look.workers)

    async def _look(self, connection: Connection, caller: Principal, execution_id: UUID) -> _Look:
        execution = await find_execution(connection, caller, execution_id)
        is_over = execution.finished_at is not None
        rows = await (unsuccessful_steps if is_over else open_steps)(connection, execution_id)
        plan = await self._plan(connection, execution)
        is_open = {row["path"] for row in rows}
        waits = [waiting_for(row, open_needs(plan, row, is_open)) for row in rows]
        return _Look(
            execution=execution,
            plan=plan,
            steps=list(zip(rows, waits, strict=True)),
            workers=_workers(await seen_workers(connection)),
            approvals=await _approvals(connection, caller, waits),
            queue=await _queue(connection, caller, rows),
            children=await _children(connection, caller, waits),
        )

    async def _plan(self, connection: Connection, execution: Execution) -> Plan:
        try:
            return await self._plans.get(connection, execution.workflow_id, execution.workflow_version)
        except DefinitionInvalid:
            return Plan({}, {}, None)

    async def _step(
        self, caller: Principal, look: _Look, row: Row, waits: Waiting | None, follow: bool
    ) -> StepDiagnosis:
        task = child = approval = None
        if waits is not None and waits.task_id is not None:
            task = await task_standing.ask(self._tasks, caller, waits.task_id)
        if waits is not None and waits.approval_id is not None:
            approval = look.approvals.get(waits.approval_id)
        if waits is not None and waits.execution_id is not None and waits.execution_id in look.children:
            child = await self._child(caller, look.children[waits.execution_id], follow)
        facts = Facts(look.execution, look.plan, look.workers, task, approval, look.queue.get(row["path"]), child)
        return explain(row, waits, facts)

    async def _child(self, caller: Principal, execution: Execution, follow: bool) -> Child | None:
        """Return how a child stands; its own children are not followed."""
        if not follow:
            return None
        found = await self._diagnose(caller, execution.id, follow=False)
        return Child(execution_id=execution.id, status=found.status, verdict=found.verdict, summary=found.summary)


async def _approvals(
    connection: Connection, caller: Principal, waits: Sequence[Waiting | None]
) -> dict[UUID, Approval]:
    approvals = ApprovalRepository(connection, caller.namespace)
    wanted = [wait.approval_id for wait in waits if wait is not None and wait.approval_id is not None]
    found = [await approvals.get(approval_id) for approval_id in wanted]
    return {approval.id: approval for approval in found if approval is not None}


async def _children(
    connection: Connection, caller: Principal, waits: Sequence[Waiting | None]
) -> dict[UUID, Execution]:
    executions = ExecutionRepository(connection, caller.namespace)
    wanted = [wait.execution_id for wait in waits if wait is not None and wait.execution_id is not None]
    found = [await executions.get(execution_id) for execution_id in wanted]
    return {execution.id: execution for execution in found if execution is not None}


async def _queue(connection: Connection, caller: Principal, rows: Sequence[Row]) -> dict[str, QueuePlace]:
    """Return the places of the ready steps. Of many, only the first is counted: it says what there is to say."""
    ready = [row for row in rows if StepStatus(row["status"]) is StepStatus.READY and row["sched_key"] is not None]
    if not ready:
        return {}
    ahead = await steps_ahead(connection, caller.namespace, min(row["sched_key"] for row in ready))
    return {row["path"]: QueuePlace(ahead=ahead, due_at=row["sched_key"]) for row in ready}


def _workers(seen: Sequence[SeenWorker]) -> Workers:
    alive = [worker for worker in seen if worker.is_alive]
    return Workers(
        alive=len(alive),
        in_flight=sum(worker.in_flight for worker in alive),
        capacity=sum(worker.capacity for worker in alive),
        last_seen_at=seen[0].seen_at if seen else None,
    )
