"""`workflow`: executes another workflow and waits for it, holding no worker; the child's output is the step's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast
from uuid import UUID

from tmws_contracts.common import Priority
from tmws_contracts.workflow import ExecutionStatus
from tmws_workflow.engine import Completed, Failed, Outcome, Waits
from tmws_workflow.repository.children import state_of
from tmws_workflow.steps.base import SERVICE_RETRY, Argument, ChildWanted, Simple, StepCall, StepFailed, Wait

# The first look comes soon: the child may have ended before its step was written down as waiting.
FIRST_LOOK_S = 0.5
_DELETED = {"code": "child_deleted", "message": "The child execution was deleted."}
_CANCELLED = {"code": "child_cancelled", "message": "The child execution was cancelled."}
_FAILED = {"code": "child_failed", "message": "The child execution did not succeed."}


class Workflow(Simple):
    """Executes a workflow of the same namespace, with the rights of whoever started the parent."""

    uses = "workflow"
    arguments = {
        "workflow_id": Argument((str,)),
        "name": Argument((str,)),
        "parameters": Argument((dict,)),
        "priority": Argument((str,)),
    }
    scopes = frozenset({"workflow:run"})
    retry = SERVICE_RETRY

    def check(self, arguments: Mapping[str, Any]) -> list[tuple[str, str]]:
        """Require exactly one of id and name, both well written."""
        if ("workflow_id" in arguments) == ("name" in arguments):
            return [("", "must have either workflow_id or name")]
        problems: list[tuple[str, str]] = []
        if isinstance(arguments.get("workflow_id"), str) and _uuid(arguments["workflow_id"]) is None:
            problems.append(("workflow_id", "must be the id of a workflow"))
        if isinstance(arguments.get("priority"), str) and arguments["priority"] not in list(Priority):
            problems.append(("priority", f"must be one of {', '.join(Priority)}"))
        return problems

    async def start(self, call: StepCall) -> Outcome:
        """Launch the child, or find the one that an earlier attempt has launched."""
        child_id = await call.services.children.launch(_wanted(call))
        return Waits(f"execution:{child_id}", FIRST_LOOK_S)

    async def look(self, wait: Wait) -> Outcome | None:
        """Look how the child stands."""
        async with wait.services.database.connection() as connection:
            state = await state_of(connection, UUID(wait.subject))
        if state is None:
            return Failed(_DELETED)
        status, output, error = state
        match ExecutionStatus(status):
            case ExecutionStatus.COMPLETED:
                return Completed(output)
            case ExecutionStatus.CANCELLED:
                return Failed(_CANCELLED)
            case ExecutionStatus.FAILED | ExecutionStatus.TIMED_OUT:
                return Failed(_error(error))
            case _:
                return None

    async def withdraw(self, wait: Wait) -> None:
        """Cancel the child, unless it has ended."""
        await wait.services.children.cancel(UUID(wait.subject))


def _wanted(call: StepCall) -> ChildWanted:
    given = call.arguments
    workflow_id = _uuid(given["workflow_id"]) if "workflow_id" in given else None
    if "workflow_id" in given and workflow_id is None:
        raise StepFailed("argument", "/with/workflow_id: must be the id of a workflow")
    name, parameters, priority = given.get("name"), given.get("parameters", {}), given.get("priority")
    if workflow_id is None and not isinstance(name, str):
        raise StepFailed("argument", "/with/name: must be the name of a workflow")
    if not isinstance(parameters, dict):
        raise StepFailed("argument", "/with/parameters: must be an object")
    if priority is not None and priority not in list(Priority):
        raise StepFailed("argument", f"/with/priority: must be one of {', '.join(Priority)}")
    return ChildWanted(
        execution_id=call.execution_id,
        path=call.path,
        run=call.run,
        principal=call.principal,
        workflow_id=workflow_id,
        name=name,
        parameters=cast("dict[str, Any]", parameters),
        priority=None if priority is None else Priority(priority),
    )


def _error(error: Any) -> dict[str, Any]:
    """The child's error, but not which of its steps that was: the parent has steps of its own."""
    return {key: value for key, value in (error or _FAILED).items() if key not in ("step", "item")}


def _uuid(text: Any) -> UUID | None:
    try:
        return UUID(text) if isinstance(text, str) else None
    except ValueError:
        return None
