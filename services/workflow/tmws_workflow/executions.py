"""What can be done with executions; each method is one transaction."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from uuid import UUID

from tmws_contracts.common import FieldProblem, Page, Problem
from tmws_contracts.executions import AcceptedBatch, BatchItem, BatchItemResult, ExecutionBatch
from tmws_contracts.workflow import (
    Execution,
    ExecutionDetail,
    ExecutionRequest,
    ExecutionStatus,
    JournalEvent,
    Workflow,
    WorkflowReport,
)
from tmws_shared.auth import Principal
from tmws_shared.clock import new_id
from tmws_shared.database import Connection, Database
from tmws_shared.idempotency import Attempt, Reply, do_once
from tmws_shared.pagination import Cursors
from tmws_shared.replies import reply
from tmws_workflow.definition import Plan
from tmws_workflow.errors import (
    BatchInvalid,
    DefinitionInvalid,
    ParametersInvalid,
)
from tmws_workflow.launching import check_parameters, launch, launch_all
from tmws_workflow.lookups import find_execution, find_workflow, hold_workflow
from tmws_workflow.plans import Plans
from tmws_workflow.reports import show_steps
from tmws_workflow.repository.executions import ExecutionFilter, ExecutionRepository, NewExecution
from tmws_workflow.repository.workflows import WorkflowState


class ExecutionService:
    """The executions of all namespaces; a caller sees only its own. `ring` tells the workers of new work."""

    def __init__(self, database: Database, cursors: Cursors, plans: Plans, ring: Callable[[], None]) -> None:
        self._database = database
        self._cursors = cursors
        self._plans = plans
        self._ring = ring

    async def execute(self, caller: Principal, workflow_id: UUID, wanted: ExecutionRequest, attempt: Attempt) -> Reply:
        """Accept an execution: once this returns, it will run whatever happens.

        Raises:
            WorkflowNotFound: there is none.
            ParametersInvalid: the parameters do not fit the inputs.
        """

        async def work(connection: Connection) -> Reply:
            state = await hold_workflow(connection, caller.namespace, workflow_id)
            accepted = await launch(connection, self._plans, caller, state, wanted.parameters, wanted.priority)
            return reply(accepted, 202, location=f"/api/v1/executions/{accepted.execution_id}")

        answer = await do_once(self._database, attempt, work)
        self._ring()
        return answer

    async def execute_batch(
        self, caller: Principal, workflow_id: UUID, batch: ExecutionBatch, attempt: Attempt
    ) -> Reply:
        """Accept many executions in one transaction; an item whose parameters do not fit is refused alone.

        Raises:
            WorkflowNotFound: there is none.
            BatchInvalid: two items have the same key.
        """
        _check_keys(batch.items)

        async def work(connection: Connection) -> Reply:
            state = await hold_workflow(connection, caller.namespace, workflow_id)
            plan = await self._plans.get(connection, state.id, state.config_version)
            refused = _refused(plan, batch.items)
            wanted = {
                number: NewExecution(new_id(), item.priority or state.priority, item.parameters)
                for number, item in enumerate(batch.items)
                if number not in refused
            }
            if wanted:
                await launch_all(connection, plan, caller, state, list(wanted.values()))
            return reply(_accepted(state, batch.items, wanted, refused), 202)

        answer = await do_once(self._database, attempt, work)
        self._ring()
        return answer

    async def report(self, caller: Principal, workflow_id: UUID) -> WorkflowReport:
        """Return how the latest execution of a workflow goes.

        Raises:
            WorkflowNotFound: there is none.
        """
        async with self._database.snapshot() as connection:
            workflow = await find_workflow(connection, caller, workflow_id)
            execution = await ExecutionRepository(connection, caller.namespace).latest(workflow_id)
            if execution is None:
                return _never_run(workflow)
            detail = await self._detail(connection, caller, execution)
        shown = {name: getattr(detail, name) for name in WorkflowReport.model_fields if hasattr(detail, name)}
        return WorkflowReport.model_validate({**shown, "execution_id": detail.id})

    async def list_of(
        self,
        caller: Principal,
        workflow_id: UUID,
        status: Sequence[ExecutionStatus],
        cursor: str | None,
        limit: int,
    ) -> Page[Execution]:
        """Return a page of a workflow's executions, newest first.

        Raises:
            WorkflowNotFound: there is none.
            MalformedRequest: the cursor belongs to another list.
        """
        async with self._database.connection() as connection:
            await find_workflow(connection, caller, workflow_id)
        return await self.list_page(caller, ExecutionFilter(tuple(status), workflow_id), cursor, limit)

    async def list_page(
        self, caller: Principal, wanted: ExecutionFilter, cursor: str | None, limit: int
    ) -> Page[Execution]:
        """Return a page of executions, newest first.

        Raises:
            MalformedRequest: the cursor belongs to another list.
        """
        context = {"list": "executions", "namespace": caller.namespace, "filter": asdict(wanted)}
        after = self._cursors.decode(cursor, **context)
        async with self._database.connection() as connection:
            found = await ExecutionRepository(connection, caller.namespace).list_page(wanted, after, limit + 1)
        return self._cursors.page(found, limit, **context)

    async def get(self, caller: Principal, execution_id: UUID) -> ExecutionDetail:
        """Return an execution, step by step.

        Raises:
            ExecutionNotFound: there is none.
        """
        async with self._database.snapshot() as connection:
            execution = await find_execution(connection, caller, execution_id)
            return await self._detail(connection, caller, execution)

    async def events(self, caller: Principal, execution_id: UUID, cursor: str | None, limit: int) -> Page[JournalEvent]:
        """Return a page of an execution's journal, oldest first.

        Raises:
            ExecutionNotFound: there is none.
            MalformedRequest: the cursor belongs to another list.
        """
        context = {"list": f"events of {execution_id}", "namespace": caller.namespace}
        after = self._cursors.decode(cursor, **context)
        async with self._database.connection() as connection:
            await find_execution(connection, caller, execution_id)
            executions = ExecutionRepository(connection, caller.namespace)
            found = await executions.events(execution_id, after[0] if after else 0, limit + 1)
        return self._cursors.page([(event, [event.seq]) for event in found], limit, **context)

    async def _detail(self, connection: Connection, caller: Principal, execution: Execution) -> ExecutionDetail:
        rows = await ExecutionRepository(connection, caller.namespace).steps(execution.id)
        try:
            plan = await self._plans.get(connection, execution.workflow_id, execution.workflow_version)
        except DefinitionInvalid:
            plan = Plan({}, {}, None)
        steps = show_steps(rows, plan)
        fields = {name: getattr(execution, name) for name in Execution.model_fields}
        return ExecutionDetail.model_validate({**fields, "steps": steps})


def _check_keys(items: Sequence[BatchItem]) -> None:
    seen: set[str] = set()
    for number, item in enumerate(items):
        if item.key is not None and item.key in seen:
            raise BatchInvalid.of(f"/items/{number}/key", "must not be that of an item before")
        seen |= {item.key} if item.key is not None else set()


def _refused(plan: Plan, items: Sequence[BatchItem]) -> dict[int, list[FieldProblem]]:
    if plan.inputs is None:
        return {}
    checked = {
        number: check_parameters(plan, item.parameters, f"/items/{number}/parameters")
        for number, item in enumerate(items)
    }
    return {number: problems for number, problems in checked.items() if problems}


def _accepted(
    state: WorkflowState,
    items: Sequence[BatchItem],
    wanted: Mapping[int, NewExecution],
    refused: Mapping[int, list[FieldProblem]],
) -> AcceptedBatch:
    results = [
        BatchItemResult(status=202, key=item.key, execution_id=wanted[number].id)
        if number in wanted
        else BatchItemResult(status=422, key=item.key, problem=_problem(refused[number]))
        for number, item in enumerate(items)
    ]
    return AcceptedBatch(
        workflow_id=state.id,
        workflow_version=state.config_version,
        items=results,
        accepted=len(wanted),
        refused=len(refused),
    )


def _problem(problems: Sequence[FieldProblem]) -> Problem:
    return Problem.model_validate(ParametersInvalid(problems).document())


def _never_run(workflow: Workflow) -> WorkflowReport:
    return WorkflowReport(
        workflow_id=workflow.id,
        execution_id=None,
        workflow_version=workflow.config_version,
        status=ExecutionStatus.PENDING,
        progress=0,
        output=None,
        error=None,
        created_at=None,
        started_at=None,
        finished_at=None,
        cancel_requested_at=None,
        steps=[],
    )
