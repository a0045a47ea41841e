"""What can be wrong with a request about workflows.

ProblemError
├── NotFound ─── WorkflowNotFound, VersionNotFound, ExecutionNotFound, ScheduleNotFound, ApprovalNotFound
├── InvalidRequest ─── DefinitionInvalid, ParametersInvalid, BatchInvalid, ScheduleInvalid, UnknownStep
├── Forbidden ─── NotAnApprover
└── Conflict ─── ApprovalDecided, ApprovalNotOpen, ApprovalChanged, ExecutionEnded, SignalsPending, ExecutionsOpen,
                 ExecutionStateConflict, WithdrawalPending
"""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from tmws_contracts.common import FieldProblem
from tmws_shared.problems import Conflict, Forbidden, InvalidRequest, NotFound

_TOLD = 3


class WorkflowNotFound(NotFound):
    """There is no such workflow here."""


class VersionNotFound(NotFound):
    """The workflow has no such version."""


class ExecutionNotFound(NotFound):
    """There is no such execution here."""


class ScheduleNotFound(NotFound):
    """The workflow has no such schedule."""


class ApprovalNotFound(NotFound):
    """There is no such approval here."""


class NotAnApprover(Forbidden):
    """The caller must not decide this."""


class ApprovalDecided(Conflict):
    """The approval was decided before."""

    def __init__(self, decision: str) -> None:
        super().__init__(f"It is {decision}.", decision=decision)


class ApprovalNotOpen(Conflict):
    """The approval cannot be decided now."""


class ApprovalChanged(Conflict):
    """The approval is not what the caller has read."""


class ExecutionEnded(Conflict):
    """The execution has ended."""


class SignalsPending(Conflict):
    """The execution takes no more signals now."""


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


class BatchInvalid(InvalidRequest):
    """The batch cannot be read item by item."""


class ScheduleInvalid(InvalidRequest):
    """The schedule cannot fire."""

    def __init__(self, problems: Sequence[FieldProblem]) -> None:
        super().__init__(_summary(problems), errors=problems)


class ExecutionsOpen(Conflict):
    """Executions of the workflow have not ended."""

    def __init__(self, open_ids: list[UUID]) -> None:
        super().__init__("Cancel them, or wait for them first.", open_executions=[str(item) for item in open_ids])


class ExecutionStateConflict(Conflict):
    """The execution is in a state that does not allow this."""


class WithdrawalPending(Conflict):
    """What the execution's steps had asked others for is still being withdrawn."""

    retryable = True


class UnknownStep(InvalidRequest):
    """The definition has no such step."""
