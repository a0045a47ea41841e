"""Steps as callers see them: what each waits for, in words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from tmws_contracts.workflow import Step, StepStatus, Waiting
from tmws_shared.database import Row
from tmws_workflow.definition import Plan
from tmws_workflow.engine import ITEMS_KEY, OUTPUT_STEP

_OPEN = frozenset({StepStatus.PENDING, StepStatus.READY, StepStatus.RUNNING, StepStatus.WAITING})


def show_steps(rows: Sequence[Row], plan: Plan) -> list[Step]:
    """Return the steps of an execution, in the order of the plan."""
    open_steps = {row["path"] for row in rows if StepStatus(row["status"]) in _OPEN}
    return [_show(row, plan, open_steps) for row in rows if row["path"] != OUTPUT_STEP]


def _show(row: Row, plan: Plan, open_steps: set[str]) -> Step:
    planned = plan.steps.get(row["path"])
    needs = [] if planned is None else list(planned.needs)
    return Step(
        id=row["path"],
        uses=row["kind"],
        needs=needs,
        status=StepStatus(row["status"]),
        attempt=row["attempt"],
        waiting_for=waiting_for(row, [need for need in needs if need in open_steps]),
        started_at=row["started_at"],
        finished_at=row["finished_at"],
        deadline_at=row["deadline_at"],
        output=row["output"],
        error=row["error"],
    )


def waiting_for(row: Row, open_needs: list[str]) -> Waiting | None:
    """Return what a step waits for; None for one that runs or has ended."""
    match StepStatus(row["status"]):
        case StepStatus.PENDING if row["unmet"] == 0:
            # What has nothing before it and has not started yet is held back by a pause.
            return Waiting(what="resume")
        case StepStatus.PENDING:
            # Compensations come one after the other, without needing each other.
            return Waiting(what="steps", steps=open_needs) if open_needs else Waiting(what="turn")
        case StepStatus.READY if row["attempt"] and row["error"]:
            return Waiting(what="retry", until=row["sched_key"])
        case StepStatus.READY:
            return Waiting(what="worker")
        case StepStatus.WAITING:
            return _waiting_outside(row["wait_key"], row["look_at"])
        case _:
            return None


def _waiting_outside(key: str, look_at: Any) -> Waiting:
    kind, _, subject = key.partition(":")
    match kind:
        case "task":
            return Waiting(what="task", task_id=UUID(subject))
        case "approval":
            return Waiting(what="approval", approval_id=UUID(subject))
        case "signal":
            return Waiting(what="signal", signal=subject.partition(":")[2])
        case "execution":
            return Waiting(what="execution", execution_id=UUID(subject))
        case _ if key == ITEMS_KEY:
            return Waiting(what="items")
        case _:
            return Waiting(what="time", until=look_at)
