"""Where a task may go from where it stands, and what that does to its claim. No I/O."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from tmws_contracts.common import JsonObject
from tmws_contracts.task import TaskStatus
from tmws_contracts.task_history import TaskAction

_S = TaskStatus
FINISHED: Final = frozenset({_S.COMPLETED, _S.FAILED, _S.CANCELLED})
LEGAL: Final[dict[TaskStatus, tuple[TaskStatus, ...]]] = {
    _S.PENDING: (_S.IN_PROGRESS, _S.INPUT_REQUIRED, _S.COMPLETED, _S.FAILED, _S.CANCELLED),
    _S.IN_PROGRESS: (_S.PENDING, _S.INPUT_REQUIRED, _S.COMPLETED, _S.FAILED, _S.CANCELLED),
    _S.INPUT_REQUIRED: (_S.PENDING, _S.IN_PROGRESS, _S.COMPLETED, _S.FAILED, _S.CANCELLED),
    _S.FAILED: (_S.PENDING,),
    _S.CANCELLED: (_S.PENDING,),
    _S.COMPLETED: (),
}
_ACTIONS: Final = {
    _S.IN_PROGRESS: TaskAction.STARTED,
    _S.INPUT_REQUIRED: TaskAction.INPUT_REQUIRED,
    _S.COMPLETED: TaskAction.COMPLETED,
    _S.FAILED: TaskAction.FAILED,
    _S.CANCELLED: TaskAction.CANCELLED,
}
_LEFT: Final[dict[str, Any]] = {"claimed_by": None, "claim_token": None, "claim_request": None, "lease_until": None}


@dataclass(frozen=True, slots=True)
class TaskState:
    """What decides whether and how a task may change."""

    status: TaskStatus
    version: int
    unmet: int
    unblocks: int
    is_leased: bool
    claim_token: int | None
    claimed_by: str | None
    metadata: JsonObject
    output_schema: JsonObject | None


def action_of(before: TaskStatus, after: TaskStatus) -> TaskAction:
    """Return what a change of status is called in the history."""
    if before is after:
        return TaskAction.CHANGED
    if after is TaskStatus.PENDING:
        return TaskAction.REOPENED if before in FINISHED else TaskAction.RELEASED
    return _ACTIONS[after]


def consequences(before: TaskStatus, after: TaskStatus) -> dict[str, Any]:
    """Return the columns that a change of status sets besides the status itself.

    Who completed or failed a task stays known, and so does the token, so that the same call again is no stale one.
    """
    if before is after:
        return {}
    if after is TaskStatus.COMPLETED:
        return {"progress": 100, "lease_until": None}
    if after is TaskStatus.FAILED:
        return {"lease_until": None}
    if before in FINISHED:
        return {**_LEFT, "lease_losses": 0, "result": None, "error": None, "progress": 0}
    return dict(_LEFT)
