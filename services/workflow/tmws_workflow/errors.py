"""What can be wrong with a request about workflows.

ProblemError
├── NotFound ─── WorkflowNotFound, ExecutionNotFound
├── InvalidRequest ─── DefinitionInvalid, ParametersInvalid
└── Conflict ─── ExecutionsOpen
"""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from tmws_contracts.common import FieldProblem
from tmws_shared.problems import Conflict, InvalidRequest, NotFound

_TOLD = 3


class WorkflowNotFound(NotFound):
    """There is no such workflow here."""


class ExecutionNotFound(NotFound):
    """There is no such execution here."""


def _summary(problems: Sequence[FieldProblem]) -> str:
    return "; ".join(f"{item.pointer}: {item.detail}" for item in problems[:_TOLD])


class DefinitionInvalid(InvalidRequest):
    """The definition cannot run."""

    def __init__(self, problems: Sequence[FieldProblem]) -> None:
        super().__init__(_summary(problems), errors=problems)


class ParametersInvalid(InvalidRequest):
    """The parameters do not fit the workflow's inputs."""

    def __init__(self, problems: Sequence[FieldProblem]) -> None:
        super().__init__(_summary(problems), errors=problems)


class ExecutionsOpen(Conflict):
    """Executions of the workflow have not ended."""

    def __init__(self, open_ids: list[UUID]) -> None:
        super().__init__("Cancel them, or wait for them first.", open_executions=[str(item) for item in open_ids])
