"""Many changes of tasks in one request, on the wire."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, Final, Literal, TypeAlias, cast
from uuid import UUID

from pydantic import AfterValidator, Field, ValidationError, WrapValidator

from tmws_contracts.common import Metadata, Problem, Wire
from tmws_contracts.task import MAX_DEPENDENCIES, ClaimToken, Description, NewTask, TaskChange

MAX_OPERATIONS: Final = 500
_REF = re.compile(r"[A-Za-z0-9_.-]{1,64}")


def _check_reference(text: str) -> str:
    if text.startswith("#") and _REF.fullmatch(text, 1):
        return text
    try:
        return str(UUID(text))
    except ValueError:
        raise ValueError("must be a task's id, or # and the ref of a create of this batch") from None


Reference = Annotated[str, AfterValidator(_check_reference)]
Target = Annotated[Reference, Field(description="a task's id, or `#` and the ref of a create of this batch")]


class CreateOperation(NewTask):
    """Makes a task; others of the batch name it `#ref`, also those before it."""

    op: Literal["create"]
    ref: Annotated[str, Field(pattern=f"^{_REF.pattern}$")] | None = None
    parent_id: Target | None = None  # pyright: ignore[reportIncompatibleVariableOverride] -- what is not made yet has no id
    depends_on: Annotated[list[Target], Field(max_length=MAX_DEPENDENCIES)] = []  # pyright: ignore[reportIncompatibleVariableOverride] -- the same


class UpdateOperation(Wire):
    """Changes a task as `PATCH` does."""

    op: Literal["update"]
    id: Target
    change: TaskChange


class CompleteOperation(Wire):
    """Completes a task."""

    op: Literal["complete"]
    id: Target
    result: Metadata | None = None
    claim_token: ClaimToken | None = None


class FailOperation(Wire):
    """Fails a task."""

    op: Literal["fail"]
    id: Target
    error: Description | None = None
    claim_token: ClaimToken | None = None


class PlainOperation(Wire):
    """Cancels, reopens or deletes a task."""

    op: Literal["cancel", "reopen", "delete"]
    id: Target


Operation: TypeAlias = CreateOperation | UpdateOperation | CompleteOperation | FailOperation | PlainOperation
_MODELS: Final[dict[str, type[Operation]]] = {
    "create": CreateOperation,
    "update": UpdateOperation,
    "complete": CompleteOperation,
    "fail": FailOperation,
    "cancel": PlainOperation,
    "reopen": PlainOperation,
    "delete": PlainOperation,
}


@dataclass(frozen=True, slots=True)
class RefusedOperation:
    """What is no operation, with pydantic's errors."""

    errors: list[dict[str, Any]]


def _read(value: Any, read_any: Callable[[Any], Operation]) -> Operation | RefusedOperation:
    """Return the operation; a bad one fails by itself and not the batch."""
    name = cast("dict[str, Any]", value).get("op") if isinstance(value, dict) else None
    model = _MODELS.get(name) if isinstance(name, str) else None
    if model is None:
        detail = f"must be one of {', '.join(_MODELS)}"
        return RefusedOperation([{"type": "literal_error", "loc": ("op",), "msg": detail}])
    try:
        return model.model_validate(value)
    except ValidationError as error:
        return RefusedOperation([dict(item) for item in error.errors(include_input=False, include_url=False)])


class TaskBatch(Wire):
    """What `POST /tasks/batch` takes: first everything is created, then the others come in their order."""

    operations: Annotated[
        list[Annotated[Operation, WrapValidator(_read)]], Field(min_length=1, max_length=MAX_OPERATIONS)
    ]
    atomic: bool = Field(False, description="all or nothing; otherwise each succeeds or fails by itself")


class OperationResult(Wire):
    """What became of an operation."""

    status: int = Field(description="201 created, 200 done, 204 deleted, or the problem's")
    id: UUID | None = None
    ref: str | None = None
    version: int | None = None
    problem: Problem | None = None


class TaskBatchResult(Wire):
    """What `POST /tasks/batch` answers: a result for each operation, in their order."""

    items: list[OperationResult]
