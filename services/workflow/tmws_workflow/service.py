"""What can be done with workflows and executions; each method is one transaction."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any
from uuid import UUID

from tmws_contracts.common import Page
from tmws_contracts.workflow import (
    Cancellation,
    Execution,
    ExecutionDetail,
    ExecutionRequest,
    ExecutionStatus,
    JournalEvent,
    NewWorkflow,
    Validation,
    Workflow,
    WorkflowChange,
    WorkflowReport,
    WorkflowStats,
    WorkflowType,
)
from tmws_shared.auth import Principal
from tmws_shared.clock import new_id
from tmws_shared.database import Connection, Database
from tmws_shared.idempotency import Attempt, Reply, do_once
from tmws_shared.pagination import Cursors
from tmws_shared.replies import match_version, reply
from tmws_workflow.definition import Plan
from tmws_workflow.engine import OUTPUT_STEP, Advance
from tmws_workflow.errors import (
    DefinitionInvalid,
    ExecutionNotFound,
    ExecutionsOpen,
    WorkflowNotFound,
)
from tmws_workflow.launching import launch
from tmws_workflow.plans import Plans
from tmws_workflow.reports import show_steps
from tmws_workflow.repository.executions import ExecutionRepository
from tmws_workflow.repository.journal import Journal
from tmws_workflow.repository.workflows import WorkflowFilter, WorkflowRepository, WorkflowState
from tmws_workflow.validation import InvalidDefinition, plan_workflow


class WorkflowService:
    """The workflows of all namespaces; a caller sees only its own. `ring` tells the workers of new work."""

    def __init__(self, database: Database, cursors: Cursors, plans: Plans, ring: Callable[[], None]) -> None:
        self._database = database
        self._cursors = cursors
        self._plans = plans
        self._ring = ring

    async def validate(self, workflow: NewWorkflow) -> Validation:
        """Check a definition, saving nothing.

        Raises:
            DefinitionInvalid: it cannot run; every reason is named.
        """
        plan = _plan(workflow.workflow_type, workflow.config)
        return Validation(steps=[name for name in plan.steps if name != OUTPUT_STEP])

    async def create(self, caller: Principal, workflow: NewWorkflow, attempt: Attempt) -> Reply:
        """Create a workflow.

        Raises:
            DefinitionInvalid: it cannot run.
        """
        _plan(workflow.workflow_type, workflow.config)

        async def work(connection: Connection) -> Reply:
            workflows = WorkflowRepository(connection, caller.namespace)
            workflow_id = new_id()
            await workflows.insert(
                workflow_id, workflow.name, workflow.workflow_type, workflow.priority, workflow.config
            )
            return reply(await _view(workflows, workflow_id), 201, location=f"/api/v1/workflows/{workflow_id}")

        return await do_once(self._database, attempt, work)

    async def get(self, caller: Principal, workflow_id: UUID) -> Workflow:
        """Return a workflow.

        Raises:
            WorkflowNotFound: there is none.
        """
        async with self._database.connection() as connection:
            return await _view(WorkflowRepository(connection, caller.namespace), workflow_id)

    async def list_page(
        self, caller: Principal, wanted: WorkflowFilter, cursor: str | None, limit: int
    ) -> Page[Workflow]:
        """Return a page of workflows.

        Raises:
            MalformedRequest: the cursor belongs to another list.
        """
        context = {"list": "workflows", "namespace": caller.namespace, "filter": wanted}
        after = self._cursors.decode(cursor, **context)
        async with self._database.connection() as connection:
            found = await WorkflowRepository(connection, caller.namespace).list_page(wanted, after, limit + 1)
        return self._page(found, limit, context)

    async def update(
        self, caller: Principal, workflow_id: UUID, change: WorkflowChange, if_match: str | None
    ) -> Workflow:
        """Set the fields that `change` was given; executions that run keep the definition they started with.

        Raises:
            WorkflowNotFound: there is none.
            PreconditionFailed: it is not the version that `if_match` names.
            DefinitionInvalid: the new definition cannot run.
        """
        values = {name: getattr(change, name) for name in change.model_fields_set}
        async with self._database.transaction() as connection:
            workflows = WorkflowRepository(connection, caller.namespace)
            state = await _lock(workflows, workflow_id, if_match)
            kind = values.get("workflow_type", state.workflow_type)
            config = values.get("config", state.config)
            is_new = kind is not state.workflow_type or config != state.config
            if is_new:
                _plan(kind, config)
            if values:
                await workflows.update(workflow_id, values, is_new_definition=is_new)
            return await _view(workflows, workflow_id)

    async def delete(self, caller: Principal, workflow_id: UUID, if_match: str | None) -> None:
        """Delete a workflow with its history.

        Raises:
            WorkflowNotFound: there is none.
            ExecutionsOpen: executions of it have not ended.
        """
        async with self._database.transaction() as connection:
            workflows = WorkflowRepository(connection, caller.namespace)
            await _lock(workflows, workflow_id, if_match)
            open_ids = await workflows.open_executions(workflow_id)
            if open_ids:
                raise ExecutionsOpen(open_ids)
            await workflows.delete(workflow_id)

    async def execute(self, caller: Principal, workflow_id: UUID, wanted: ExecutionRequest, attempt: Attempt) -> Reply:
        """Accept an execution: once this returns, it will run whatever happens.

        Raises:
            WorkflowNotFound: there is none.
            ParametersInvalid: the parameters do not fit the inputs.
        """

        async def work(connection: Connection) -> Reply:
            workflows = WorkflowRepository(connection, caller.namespace)
            state = await workflows.lock_to_execute(workflow_id)
            if state is None:
                raise WorkflowNotFound
            accepted = await launch(connection, self._plans, caller, state, wanted.parameters, wanted.priority)
            return reply(accepted, 202, location=f"/api/v1/executions/{accepted.execution_id}")

        try:
            answer = await do_once(self._database, attempt, work)
        except InvalidDefinition as error:
            raise DefinitionInvalid(error.problems) from error
        self._ring()
        return answer

    async def cancel(self, caller: Principal, workflow_id: UUID, attempt: Attempt) -> Reply:
        """Cancel every execution of a workflow that has not ended.

        Raises:
            WorkflowNotFound: there is none.
        """

        async def work(connection: Connection) -> Reply:
            await _view(WorkflowRepository(connection, caller.namespace), workflow_id)
            journal = Journal(connection)
            locked = await journal.lock(await journal.open_of(caller.namespace, workflow_id))
            steps = await journal.steps([], list(locked.states))
            advances = [Advance(state, steps.get(key, {}), {}) for key, state in locked.states.items()]
            reached = [advance.execution.id for advance in advances if advance.cancel()]
            await journal.write(locked, advances, lease_s=0)
            return reply(Cancellation(workflow_id=workflow_id, executions=reached))

        return await do_once(self._database, attempt, work)

    async def report(self, caller: Principal, workflow_id: UUID) -> WorkflowReport:
        """Return how the latest execution of a workflow goes.

        Raises:
            WorkflowNotFound: there is none.
        """
        async with self._database.connection() as connection:
            workflow = await _view(WorkflowRepository(connection, caller.namespace), workflow_id)
            execution = await ExecutionRepository(connection, caller.namespace).latest(workflow_id)
            if execution is None:
                return _never_run(workflow)
            detail = await self._detail(connection, caller, execution)
        shown = {name: getattr(detail, name) for name in WorkflowReport.model_fields if hasattr(detail, name)}
        return WorkflowReport.model_validate({**shown, "execution_id": detail.id})

    async def list_executions(
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
        context = {"list": f"executions of {workflow_id}", "namespace": caller.namespace, "filter": list(status)}
        after = self._cursors.decode(cursor, **context)
        async with self._database.connection() as connection:
            await _view(WorkflowRepository(connection, caller.namespace), workflow_id)
            executions = ExecutionRepository(connection, caller.namespace)
            found = await executions.list_page(workflow_id, status, after, limit + 1)
        return self._page(found, limit, context)

    async def execution(self, caller: Principal, execution_id: UUID) -> ExecutionDetail:
        """Return an execution, step by step.

        Raises:
            ExecutionNotFound: there is none.
        """
        async with self._database.connection() as connection:
            execution = await _execution(connection, caller, execution_id)
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
            await _execution(connection, caller, execution_id)
            executions = ExecutionRepository(connection, caller.namespace)
            found = await executions.events(execution_id, after[0] if after else 0, limit + 1)
        return self._page([(event, [event.seq]) for event in found], limit, context)

    async def stats(self, caller: Principal) -> WorkflowStats:
        """Count the namespace's workflows, executions and open steps."""
        async with self._database.connection() as connection:
            executions = ExecutionRepository(connection, caller.namespace)
            by_status = await executions.count_by_status()
            queue = dict(await executions.queue() or {})
            workflows = await WorkflowRepository(connection, caller.namespace).count()
        oldest = queue.get("oldest")
        return WorkflowStats(
            workflows=workflows,
            executions_by_status=by_status,
            steps_ready=queue.get("ready", 0),
            steps_running=queue.get("running", 0),
            steps_waiting=queue.get("waiting", 0),
            oldest_ready_s=None if oldest is None else float(oldest),
        )

    def _page(self, found: Sequence[tuple[Any, list[Any]]], limit: int, context: dict[str, Any]) -> Page[Any]:
        more = len(found) > limit
        next_cursor = self._cursors.encode(found[limit - 1][1], **context) if more else None
        return Page(items=[item for item, _ in found[:limit]], next_cursor=next_cursor)

    async def _detail(self, connection: Connection, caller: Principal, execution: Execution) -> ExecutionDetail:
        rows = await ExecutionRepository(connection, caller.namespace).steps(execution.id)
        try:
            plan = await self._plans.get(connection, execution.workflow_id, execution.workflow_version)
        except InvalidDefinition:
            plan = Plan({}, {}, None)
        steps = show_steps(rows, plan)
        fields = {name: getattr(execution, name) for name in Execution.model_fields}
        return ExecutionDetail.model_validate({**fields, "steps": steps})


def _plan(kind: WorkflowType, config: Mapping[str, Any]) -> Plan:
    try:
        return plan_workflow(kind, config)
    except InvalidDefinition as error:
        raise DefinitionInvalid(error.problems) from error


async def _view(workflows: WorkflowRepository, workflow_id: UUID) -> Workflow:
    workflow = await workflows.get(workflow_id)
    if workflow is None:
        raise WorkflowNotFound
    return workflow


async def _lock(workflows: WorkflowRepository, workflow_id: UUID, if_match: str | None) -> WorkflowState:
    state = await workflows.lock_to_change(workflow_id)
    if state is None:
        raise WorkflowNotFound
    match_version(if_match, state.version)
    return state


async def _execution(connection: Connection, caller: Principal, execution_id: UUID) -> Execution:
    execution = await ExecutionRepository(connection, caller.namespace).get(execution_id)
    if execution is None:
        raise ExecutionNotFound
    return execution


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
