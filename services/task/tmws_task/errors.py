"""What can be wrong with a request about tasks.

ProblemError
├── NotFound ─── TaskNotFound
├── InvalidRequest
│   ├── UnknownTask
│   └── ResultInvalid
└── Conflict
    ├── IllegalTransition
    ├── DependenciesOpen
    ├── DependencyCycle
    ├── ParentCycle
    ├── TaskHasDependents
    ├── TaskClaimed
    ├── ClaimLost
    └── OperationSkipped
"""

from __future__ import annotations

from uuid import UUID

from tmws_contracts.common import FieldProblem
from tmws_contracts.task import TaskStatus
from tmws_shared.problems import Conflict, InvalidRequest, NotFound


class TaskNotFound(NotFound):
    """There is no such task here."""


class UnknownTask(InvalidRequest):
    """The request names a task that does not exist."""

    def __init__(self, pointer: str) -> None:
        detail = "must be the id of an existing task"
        super().__init__(f"{pointer}: {detail}", errors=[FieldProblem(pointer=pointer, detail=detail)])


class ResultInvalid(InvalidRequest):
    """The result does not satisfy the task's output_schema; the task is as it was."""

    def __init__(self, problems: list[FieldProblem]) -> None:
        super().__init__(f"{problems[0].pointer}: {problems[0].detail}", errors=problems)


class IllegalTransition(Conflict):
    """The task cannot go to that status from where it stands."""

    def __init__(self, current: TaskStatus, legal: tuple[TaskStatus, ...]) -> None:
        names = ", ".join(legal) or "none: it is final"
        detail = f"must be one of the statuses reachable from {current}: {names}"
        super().__init__(
            f"/status: {detail}",
            errors=[FieldProblem(pointer="/status", detail=detail)],
            current=current,
            legal=list(legal),
        )


class DependenciesOpen(Conflict):
    """The task depends on tasks that are not completed."""

    def __init__(self, open_ids: list[UUID]) -> None:
        super().__init__("Complete what it depends on first.", open_dependencies=[str(task_id) for task_id in open_ids])


class DependencyCycle(Conflict):
    """The dependency would close a circle."""

    def __init__(self, pointer: str = "/depends_on") -> None:
        detail = "must not lead back to the task itself"
        super().__init__(f"{pointer}: {detail}", errors=[FieldProblem(pointer=pointer, detail=detail)])


class ParentCycle(Conflict):
    """The task would come to lie under itself."""

    def __init__(self, pointer: str = "/parent_id") -> None:
        detail = "must not be the task itself, nor one under it"
        super().__init__(f"{pointer}: {detail}", errors=[FieldProblem(pointer=pointer, detail=detail)])


class TaskHasDependents(Conflict):
    """Unfinished tasks depend on this one."""

    def __init__(self, dependents: list[UUID]) -> None:
        super().__init__(
            "Delete them, or take it out of their depends_on first.", dependents=[str(item) for item in dependents]
        )


class TaskClaimed(Conflict):
    """Somebody has claimed the task."""

    def __init__(self, claimed_by: str | None) -> None:
        detail = "must be the token of its claim"
        super().__init__(
            "Give the claim_token, wait until the claim ends, or cancel the task.",
            errors=[FieldProblem(pointer="/claim_token", detail=detail)],
            claimed_by=claimed_by,
        )


class ClaimLost(Conflict):
    """The claim has ended; the task may be somebody else's now."""

    def __init__(self) -> None:
        super().__init__(
            "Leave what you have done on it, and claim again.",
            errors=[FieldProblem(pointer="/claim_token", detail="must be the token of a claim that holds")],
        )


class OperationSkipped(Conflict):
    """The operation depends on another one of the batch that failed."""

    def __init__(self, pointer: str) -> None:
        detail = "must name an operation that succeeds"
        super().__init__(f"{pointer}: {detail}", errors=[FieldProblem(pointer=pointer, detail=detail)])
