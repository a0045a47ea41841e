"""Launching an execution: its parameters are checked, its steps written down, and from then on it will run."""

from __future__ import annotations

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
from tmws_workflow.repository.executions import ExecutionInsert, ExecutionRepository
from tmws_workflow.repository.workflows import WorkflowState
from tmws_workflow.schemas import SchemaError, check_value


async def launch(
    connection: Connection,
    plans: Plans,
    starter: Principal,
    workflow: WorkflowState,
    parameters: dict[str, Any],
    priority: Priority | None = None,
) -> AcceptedExecution:
    """Accept an execution of a locked workflow, with the rights of its starter, in the caller's transaction.

    Raises:
        ParametersInvalid: the parameters do not fit the inputs.
        InvalidDefinition: the definition cannot run any more.
    """
    plan = await plans.get(connection, workflow.id, workflow.config_version)
    _check_parameters(plan, parameters)
    execution = ExecutionInsert(
        id=new_id(),
        workflow_id=workflow.id,
        workflow_version=workflow.config_version,
        priority=priority or workflow.priority,
        parameters=parameters,
        principal={
            "subject": starter.subject,
            "scopes": sorted(starter.scopes),
            "persona": starter.persona,
            "key_id": starter.key_id,
        },
        traceparent=carry_trace().get("traceparent"),
    )
    created_at = await ExecutionRepository(connection, starter.namespace).insert(execution, plan.steps)
    return AcceptedExecution(
        execution_id=execution.id,
        workflow_id=workflow.id,
        workflow_version=workflow.config_version,
        status=ExecutionStatus.PENDING,
        priority=execution.priority,
        created_at=created_at,
    )


def _check_parameters(plan: Plan, parameters: dict[str, Any]) -> None:
    if plan.inputs is None:
        return
    try:
        problems = check_value(plan.inputs, parameters, "/parameters")
    except SchemaError:
        detail = "cannot be checked: the schema of the inputs follows references without end"
        problems = [FieldProblem(pointer="/parameters", detail=detail)]
    if problems:
        raise ParametersInvalid(problems)
