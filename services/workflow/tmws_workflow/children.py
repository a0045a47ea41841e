"""Child executions: launched once for each run of a parent's step, cancelled with it."""

from __future__ import annotations

from collections.abc import Callable
from uuid import UUID

from tmws_shared.database import Connection, Database
from tmws_workflow.cancelling import cancel_executions
from tmws_workflow.errors import DefinitionInvalid, ParametersInvalid
from tmws_workflow.launching import launch, starter_of
from tmws_workflow.plans import Plans
from tmws_workflow.repository.children import find_child, parent_of, workflows_named
from tmws_workflow.repository.executions import Parent
from tmws_workflow.repository.queue import Queue
from tmws_workflow.repository.workflows import WorkflowRepository, WorkflowState
from tmws_workflow.steps.base import ChildWanted, StepFailed

MAX_DEPTH = 8
ORPHANS_AT_ONCE = 100


class ChildExecutions:
    """The children of executions. `announce` tells the workers of new work."""

    def __init__(self, database: Database, plans: Plans) -> None:
        self._database = database
        self._plans = plans
        self.announce: Callable[[], None] = lambda: None

    async def launch(self, wanted: ChildWanted) -> UUID:
        """Launch the child, unless this run of the step has one, and return its id.

        Raises:
            StepFailed: there is no such workflow, it cannot run, or the parent is nested too deep.
        """
        async with self._database.transaction() as connection:
            child_id = await find_child(connection, wanted.execution_id, wanted.path, wanted.run)
            if child_id is None:
                child_id = await self._launch(connection, wanted)
        self.announce()
        return child_id

    async def cancel(self, execution_id: UUID) -> None:
        """Cancel an execution, unless it has ended."""
        async with self._database.transaction() as connection:
            await cancel_executions(connection, self._plans, [execution_id])
        self.announce()

    async def cancel_orphans(self) -> None:
        """Cancel children whose parent ended before it knew of them."""
        found = await Queue(self._database).orphans(ORPHANS_AT_ONCE)
        if found:
            async with self._database.transaction() as connection:
                await cancel_executions(connection, self._plans, found)
            self.announce()

    async def _launch(self, connection: Connection, wanted: ChildWanted) -> UUID:
        parent = await parent_of(connection, wanted.execution_id)
        if parent is None:
            raise StepFailed("deleted", "The execution was deleted.")
        if parent["depth"] >= MAX_DEPTH:
            raise StepFailed("too_deep", f"Executions must not be nested deeper than {MAX_DEPTH}.")
        if "workflow:run" not in wanted.principal.scopes:
            raise StepFailed("refused", "Whoever started the execution may not run workflows.", status=403)
        workflow = await _find(connection, wanted, parent["namespace"])
        lineage = Parent(wanted.execution_id, wanted.path, wanted.run, parent["root_id"], parent["depth"])
        starter = starter_of(parent["namespace"], parent["principal"])
        try:
            accepted = await launch(
                connection, self._plans, starter, workflow, wanted.parameters, wanted.priority, lineage
            )
        except ParametersInvalid as problem:
            raise StepFailed("refused", f"The parameters do not fit: {problem.detail}", status=422) from None
        except DefinitionInvalid as error:
            raise StepFailed("definition", str(error)) from None
        return accepted.execution_id


async def _find(connection: Connection, wanted: ChildWanted, namespace: str) -> WorkflowState:
    workflow_id = wanted.workflow_id
    if workflow_id is None:
        named = await workflows_named(connection, namespace, wanted.name or "")
        if len(named) > 1:
            raise StepFailed("ambiguous", "/with/name: several workflows have this name; use workflow_id")
        workflow_id = named[0] if named else None
    state = None
    if workflow_id is not None:
        state = await WorkflowRepository(connection, namespace).lock_to_execute(workflow_id)
    if state is None:
        raise StepFailed("workflow_not_found", "There is no such workflow here.", status=404)
    return state
