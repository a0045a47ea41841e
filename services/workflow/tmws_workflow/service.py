"""What can be done with workflows; each method is one transaction."""

from __future__ import annotations

from uuid import UUID

from tmws_contracts.common import Page
from tmws_contracts.executions import VersionSummary, WorkflowVersion
from tmws_contracts.workflow import (
    NewWorkflow,
    Validation,
    Workflow,
    WorkflowChange,
    WorkflowStats,
)
from tmws_shared.auth import Principal
from tmws_shared.clock import new_id
from tmws_shared.database import Connection, Database
from tmws_shared.idempotency import Attempt, Reply, do_once
from tmws_shared.pagination import Cursors
from tmws_shared.replies import match_version, reply
from tmws_workflow.engine import OUTPUT_STEP
from tmws_workflow.errors import ExecutionsOpen, VersionNotFound, WorkflowNotFound
from tmws_workflow.lookups import find_workflow
from tmws_workflow.repository.counts import count_executions
from tmws_workflow.repository.executions import ExecutionRepository
from tmws_workflow.repository.schedules import ScheduleRepository
from tmws_workflow.repository.workflows import WorkflowFilter, WorkflowRepository, WorkflowState
from tmws_workflow.validation import plan_workflow


class WorkflowService:
    """The workflows of all namespaces; a caller sees only its own."""

    def __init__(self, database: Database, cursors: Cursors) -> None:
        self._database = database
        self._cursors = cursors

    async def validate(self, workflow: NewWorkflow) -> Validation:
        """Check a definition, saving nothing.

        Raises:
            DefinitionInvalid: it cannot run; every reason is named.
        """
        plan = plan_workflow(workflow.workflow_type, workflow.config)
        return Validation(steps=[name for name in plan.steps if name != OUTPUT_STEP])

    async def create(self, caller: Principal, workflow: NewWorkflow, attempt: Attempt) -> Reply:
        """Create a workflow.

        Raises:
            DefinitionInvalid: it cannot run.
        """
        plan_workflow(workflow.workflow_type, workflow.config)

        async def work(connection: Connection) -> Reply:
            workflows = WorkflowRepository(connection, caller.namespace)
            workflow_id = new_id()
            await workflows.insert(
                workflow_id, workflow.name, workflow.workflow_type, workflow.priority, workflow.config
            )
            kept = await find_workflow(connection, caller, workflow_id)
            return reply(kept, 201, location=f"/api/v1/workflows/{workflow_id}")

        return await do_once(self._database, attempt, work)

    async def get(self, caller: Principal, workflow_id: UUID) -> Workflow:
        """Return a workflow.

        Raises:
            WorkflowNotFound: there is none.
        """
        async with self._database.connection() as connection:
            return await find_workflow(connection, caller, workflow_id)

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
        return self._cursors.page(found, limit, **context)

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
                plan_workflow(kind, config)
            if values:
                await workflows.update(workflow_id, values, is_new_definition=is_new)
            return await find_workflow(connection, caller, workflow_id)

    async def delete(self, caller: Principal, workflow_id: UUID, if_match: str | None) -> None:
        """Delete a workflow with its history and its schedules.

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
            await ScheduleRepository(connection, caller.namespace).delete_all(workflow_id)
            await workflows.delete(workflow_id)

    async def versions(
        self, caller: Principal, workflow_id: UUID, cursor: str | None, limit: int
    ) -> Page[VersionSummary]:
        """Return a page of a workflow's versions, newest first.

        Raises:
            WorkflowNotFound: there is none.
            MalformedRequest: the cursor belongs to another list.
        """
        context = {"list": f"versions of {workflow_id}", "namespace": caller.namespace}
        after = self._cursors.decode(cursor, **context)
        async with self._database.connection() as connection:
            workflows = WorkflowRepository(connection, caller.namespace)
            await find_workflow(connection, caller, workflow_id)
            found = await workflows.versions(workflow_id, after[0] if after else None, limit + 1)
        return self._cursors.page([(version, [version.version]) for version in found], limit, **context)

    async def version(self, caller: Principal, workflow_id: UUID, version: int) -> WorkflowVersion:
        """Return a version of a workflow with its definition.

        Raises:
            VersionNotFound: there is none.
        """
        async with self._database.connection() as connection:
            found = await WorkflowRepository(connection, caller.namespace).version(workflow_id, version)
        if found is None:
            raise VersionNotFound
        return found

    async def stats(self, caller: Principal) -> WorkflowStats:
        """Count the namespace's workflows, executions and open steps."""
        async with self._database.connection() as connection:
            executions = ExecutionRepository(connection, caller.namespace)
            by_status = await count_executions(connection, caller.namespace)
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


async def _lock(workflows: WorkflowRepository, workflow_id: UUID, if_match: str | None) -> WorkflowState:
    state = await workflows.lock_to_change(workflow_id)
    if state is None:
        raise WorkflowNotFound
    match_version(if_match, state.version)
    return state
