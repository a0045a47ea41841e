"""What a caller names by its id: found in the caller's namespace, or refused."""

from __future__ import annotations

from uuid import UUID

from tmws_contracts.workflow import Execution, Workflow
from tmws_shared.auth import Principal
from tmws_shared.database import Connection
from tmws_workflow.errors import ExecutionNotFound, WorkflowNotFound
from tmws_workflow.repository.executions import ExecutionRepository
from tmws_workflow.repository.workflows import WorkflowRepository, WorkflowState


async def find_workflow(connection: Connection, caller: Principal, workflow_id: UUID) -> Workflow:
    """Return a workflow.

    Raises:
        WorkflowNotFound: there is none.
    """
    workflow = await WorkflowRepository(connection, caller.namespace).get(workflow_id)
    if workflow is None:
        raise WorkflowNotFound
    return workflow


async def hold_workflow(connection: Connection, namespace: str, workflow_id: UUID) -> WorkflowState:
    """Return a workflow that stays as it is until the transaction ends.

    Raises:
        WorkflowNotFound: there is none.
    """
    state = await WorkflowRepository(connection, namespace).lock_to_execute(workflow_id)
    if state is None:
        raise WorkflowNotFound
    return state


async def find_execution(connection: Connection, caller: Principal, execution_id: UUID) -> Execution:
    """Return an execution.

    Raises:
        ExecutionNotFound: there is none.
    """
    execution = await ExecutionRepository(connection, caller.namespace).get(execution_id)
    if execution is None:
        raise ExecutionNotFound
    return execution
