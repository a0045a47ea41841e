"""Launching an execution: its parameters are checked, its steps written down, and from then on it will run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tmws_contracts.common import FieldProblem, Priority
from tmws_contracts.workflow import AcceptedExecution, ExecutionStatus
from tmws_shared.auth import Principal
from tmws_shared.clock import new_id
from tmws_shared.database import Connection
from tmws_shared.telemetry import carry_trace
from tmws_workflow.definition import Plan
from tmws_workflow.errors import ParametersInvalid
from tmws_workflow.plans import Plans
from tmws_workflow.repository.executions import ExecutionRepository, Launch, NewExecution, Parent
from tmws_workflow.repository.workflows import WorkflowState
from tmws_workflow.schemas import SchemaError, check_value


async def launch(
    connection: Connection,
    plans: Plans,
    starter: Principal,
    workflow: WorkflowState,
    parameters: dict[str, Any],
    priority: Priority | None = None,
    parent: Parent | None = None,
) -> AcceptedExecution:
    """Accept an execution of a locked workflow, with the rights of its starter, in the caller's transaction.

    `parent` is the step that waits for it.

    Raises:
        ParametersInvalid: the parameters do not fit the inputs.
        DefinitionInvalid: the definition cannot run any more.
    """
    plan = await plans.get(connection, workflow.id, workflow.config_version)
    if problems := check_parameters(plan, parameters):
        raise ParametersInvalid(problems)
    execution = NewExecution(new_id(), priority or workflow.priority, parameters)
    return (await launch_all(connection, plan, starter, workflow, [execution], parent))[0]


async def launch_all(
    connection: Connection,
    plan: Plan,
    starter: Principal,
    workflow: WorkflowState,
    executions: Sequence[NewExecution],
    parent: Parent | None = None,
) -> list[AcceptedExecution]:
    """Accept executions of a locked workflow whose parameters have been checked."""
    common = Launch(
        workflow_id=workflow.id,
        workflow_version=workflow.config_version,
        principal=kept_principal(starter),
        traceparent=carry_trace().get("traceparent"),
        parent=parent,
    )
    created_at = await ExecutionRepository(connection, starter.namespace).insert(common, executions, plan.steps)
    return [
        AcceptedExecution(
            execution_id=execution.id,
            workflow_id=workflow.id,
            workflow_version=workflow.config_version,
            status=ExecutionStatus.PENDING,
            priority=execution.priority,
            created_at=created_at,
        )
        for execution in executions
    ]


def kept_principal(starter: Principal) -> dict[str, Any]:
    """Return a principal as it is kept: who, and with which rights; its namespace has a column of its own."""
    return {
        "subject": starter.subject,
        "scopes": sorted(starter.scopes),
        "persona": starter.persona,
        "key_id": starter.key_id,
    }


def starter_of(namespace: str, kept: Mapping[str, Any]) -> Principal:
    """Return the principal that `kept_principal` has kept."""
    return Principal(kept["subject"], namespace, frozenset(kept["scopes"]), kept["persona"], kept["key_id"])


def check_parameters(plan: Plan, parameters: dict[str, Any], pointer: str = "/parameters") -> list[FieldProblem]:
    """Return what does not fit the inputs; `pointer` is where the parameters are in the request."""
    if plan.inputs is None:
        return []
    try:
        return check_value(plan.inputs, parameters, pointer)
    except SchemaError:
        detail = "cannot be checked: the schema of the inputs follows references without end"
        return [FieldProblem(pointer=pointer, detail=detail)]
