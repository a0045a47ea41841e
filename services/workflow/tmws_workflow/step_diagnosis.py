"""What one step waits for, in words, and which calls unblock it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from tmws_contracts.approvals import Approval
from tmws_contracts.diagnosis import Call, Child, QueuePlace, StepDiagnosis, TaskStanding, Verdict, Workers
from tmws_contracts.workflow import Execution, StepStatus, Waiting
from tmws_shared.database import Row
from tmws_workflow import task_standing
from tmws_workflow.definition import Plan
from tmws_workflow.engine import MAX_LEASE_LOSSES
from tmws_workflow.steps import KINDS

_EXECUTIONS = "/api/v1/executions"
_PROMPT_SHOWN = 200


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known beside the step itself; None for what does not concern it."""

    execution: Execution
    plan: Plan
    workers: Workers
    task: TaskStanding | None
    approval: Approval | None
    queue: QueuePlace | None
    child: Child | None


@dataclass(frozen=True, slots=True)
class _Finding:
    verdict: Verdict
    explanation: str
    unblock: tuple[Call, ...] = ()
    until: datetime | None = None


def open_needs(plan: Plan, row: Row, is_open: set[str]) -> list[str]:
    """Return which of a step's needs have not ended."""
    planned = plan.steps.get(row["path"])
    return [] if planned is None else [need for need in planned.needs if need in is_open]


def explain(row: Row, waits: Waiting | None, facts: Facts) -> StepDiagnosis:
    """Say what a step waits for."""
    finding = _find(row, waits, facts)
    return StepDiagnosis(
        id=row["path"],
        uses=row["kind"],
        status=StepStatus(row["status"]),
        verdict=finding.verdict,
        explanation=finding.explanation,
        waiting_for=waits,
        since=row["since"],
        until=finding.until or row["deadline_at"],
        attempt=row["attempt"],
        attempts_left=_attempts_left(row, facts.plan),
        error=row["error"],
        unblock=list(finding.unblock),
        task=facts.task,
        queue=facts.queue,
        child=facts.child,
    )


def _find(row: Row, waits: Waiting | None, facts: Facts) -> _Finding:
    match StepStatus(row["status"]):
        case StepStatus.RUNNING:
            return _running(row, facts)
        case StepStatus.READY:
            return _ready(row, facts)
        case StepStatus.PENDING:
            return _pending(waits, facts)
        case StepStatus.WAITING if waits is not None:
            return _waiting(waits, facts)
        case _:
            return _failed(row, facts)


def _running(row: Row, facts: Facts) -> _Finding:
    if row["lease_until"] is not None and row["lease_until"] < row["now"]:
        return _orphaned(row, facts)
    where = f" on {row['host']}" if row["host"] else ""
    return _Finding(Verdict.RUNNING, f"A worker runs it{where}, attempt {row['attempt']}.")


def _orphaned(row: Row, facts: Facts) -> _Finding:
    if not facts.workers.alive:
        return _Finding(Verdict.NO_WORKER, "Its worker has died, and there is no other. Start one: it goes on then.")
    losses = f"{row['lease_losses']} of {MAX_LEASE_LOSSES}"
    return _Finding(Verdict.RETRYING, f"Its worker has died ({losses} times so far); another takes it over in seconds.")


def _ready(row: Row, facts: Facts) -> _Finding:
    if row["sched_key"] > row["now"] and row["error"]:
        text = f"Attempt {row['attempt']} failed: {row['error']['message']} It is tried again by itself."
        return _Finding(Verdict.RETRYING, text, until=row["sched_key"])
    if not facts.workers.alive:
        seen = facts.workers.last_seen_at
        lately = "in the last day" if seen is None else f"since {seen:%Y-%m-%dT%H:%M:%SZ}"
        return _Finding(Verdict.NO_WORKER, f"It is ready, but no worker has been seen {lately}. Start one.")
    ahead = 0 if facts.queue is None else facts.queue.ahead
    busy = f"{facts.workers.in_flight} of {facts.workers.capacity} places of {facts.workers.alive} workers are taken"
    return _Finding(Verdict.QUEUED, f"It is ready; {ahead} steps are before it, and {busy}.")


def _pending(waits: Waiting | None, facts: Facts) -> _Finding:
    if waits is None or waits.what == "resume":
        return _Finding(Verdict.PAUSED, "It is held back by the pause.", (resume_call(facts.execution),))
    if waits.what == "turn":
        return _Finding(Verdict.QUEUED, "It comes after what is undone before it.")
    return _Finding(Verdict.QUEUED, f"It comes after {', '.join(waits.steps or [])}.")


def _waiting(waits: Waiting, facts: Facts) -> _Finding:
    match waits.what:
        case "task" if facts.task is not None:
            calls = tuple(task_standing.calls_for(facts.task))
            return _Finding(task_standing.verdict_on(facts.task), facts.task.detail, calls)
        case "approval":
            return _decision(waits, facts.approval)
        case "signal":
            return _signal(waits, facts.execution)
        case "execution":
            return _child(waits, facts.child)
        case "items":
            return _Finding(Verdict.RUNNING, "Its items are under way; those that have not ended are shown, too.")
        case _:
            return _Finding(Verdict.WAITING_FOR_TIME, "It goes on by itself when its time has come.", (), waits.until)


def _decision(waits: Waiting, approval: Approval | None) -> _Finding:
    path = f"/api/v1/approvals/{waits.approval_id}"
    if approval is None:
        return _Finding(Verdict.WAITING_FOR_PERSON, "Somebody has to decide.")
    who = f"the personas {', '.join(approval.approvers)}" if approval.approvers else "whoever has workflow:approve"
    calls = (
        Call(method="POST", path=f"{path}/approve", does="lets it go on", by=who),
        Call(method="POST", path=f"{path}/reject", does="says no", by=who),
    )
    text = f"Somebody has to decide: {approval.prompt[:_PROMPT_SHOWN]}"
    return _Finding(Verdict.WAITING_FOR_PERSON, text, calls, approval.expires_at)


def _signal(waits: Waiting, execution: Execution) -> _Finding:
    send = Call(
        method="POST",
        path=f"{_EXECUTIONS}/{execution.id}/signals",
        does=f'sends it, with {{"name": "{waits.signal}"}}',
        by="whoever has workflow:run",
    )
    return _Finding(Verdict.WAITING_FOR_SIGNAL, f"It waits for the signal {waits.signal}.", (send,))


def _child(waits: Waiting, child: Child | None) -> _Finding:
    look = Call(
        method="GET",
        path=f"{_EXECUTIONS}/{waits.execution_id}/diagnosis",
        does="says why the child does not move",
        by="whoever has workflow:read",
    )
    text = "It waits for its child." if child is None else f"It waits for its child: {child.summary}"
    return _Finding(Verdict.WAITING_FOR_CHILD, text, (look,))


def _failed(row: Row, facts: Facts) -> _Finding:
    message = "It did not end well." if row["error"] is None else row["error"]["message"]
    if StepStatus(row["status"]) is StepStatus.OUTCOME_UNKNOWN:
        message = f"Nobody knows whether it took effect, and it may happen once only. {message}"
    from_here = Call(
        method="POST",
        path=f"{_EXECUTIONS}/{facts.execution.id}/retry",
        does="runs it again, and what comes after it",
        by="whoever has workflow:run",
    )
    return _Finding(Verdict.FINISHED, message, (from_here,))


def resume_call(execution: Execution) -> Call:
    """Return the call that ends a pause."""
    path = f"{_EXECUTIONS}/{execution.id}/resume"
    return Call(method="POST", path=path, does="lets it go on", by="whoever has workflow:run")


def _attempts_left(row: Row, plan: Plan) -> int | None:
    """Return how often a step may still fail; None where it is not about attempts."""
    planned = plan.step(row["path"])
    if planned is None or row["kind"] not in KINDS or StepStatus(row["status"]) is StepStatus.PENDING:
        return None
    policy = planned.retry or KINDS[row["kind"]].retry
    return max(policy.max_attempts - row["attempt"], 0)
