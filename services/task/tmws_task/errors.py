"""What can be wrong with a request about tasks.

ProblemError
├── NotFound ─── TaskNotFound
├── InvalidRequest ─── UnknownTask
└── Conflict
    ├── IllegalTransition
    ├── DependenciesOpen
    ├── DependencyCycle
    └── TaskHasDependents
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

    def __init__(self) -> None:
        detail = "must not lead back to the task itself"
        super().__init__(f"/depends_on: {detail}", errors=[FieldProblem(pointer="/depends_on", detail=detail)])


class TaskHasDependents(Conflict):
    """Unfinished tasks depend on this one."""

    def __init__(self, dependents: list[UUID]) -> None:
        super().__init__(
            "Delete them, or take it out of their depends_on first.", dependents=[str(item) for item in dependents]
        )
