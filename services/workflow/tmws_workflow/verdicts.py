"""What an execution is about, made of what its steps are about."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from tmws_contracts.diagnosis import Call, Diagnosis, StepDiagnosis, Verdict, Workers
from tmws_contracts.workflow import Execution, ExecutionStatus, StepStatus
from tmws_workflow.step_diagnosis import resume_call

# What moves by itself comes before what somebody has to do something about; without a worker nothing moves.
_ORDER = (
    Verdict.NO_WORKER,
    Verdict.RUNNING,
    Verdict.QUEUED,
    Verdict.RETRYING,
    Verdict.WAITING_FOR_PERSON,
    Verdict.WAITING_FOR_AGENT,
    Verdict.WAITING_FOR_TASK,
    Verdict.WAITING_FOR_SIGNAL,
    Verdict.WAITING_FOR_CHILD,
    Verdict.WAITING_FOR_TIME,
)


def judge(execution: Execution, steps: Sequence[StepDiagnosis], workers: Workers) -> Diagnosis:
    """Return the diagnosis of an execution."""
    verdict, summary, since = _verdict(execution, steps)
    return Diagnosis(
        execution_id=execution.id,
        workflow_id=execution.workflow_id,
        status=execution.status,
        verdict=verdict,
        summary=summary,
        since=since,
        unblock=_calls(execution),
        steps=list(steps),
        workers=workers,
    )


def _verdict(execution: Execution, steps: Sequence[StepDiagnosis]) -> tuple[Verdict, str, datetime]:
    if execution.finished_at is not None:
        return Verdict.FINISHED, _ended(execution), execution.finished_at
    leading = _leading(steps)
    if execution.status is ExecutionStatus.PAUSED and execution.paused_at is not None:
        return Verdict.PAUSED, "It is paused; nothing new starts until somebody resumes it.", execution.paused_at
    if leading is None:
        return Verdict.RUNNING, "It is about to go on.", execution.started_at or execution.created_at
    text = f"Step {leading.id}: {leading.explanation}"
    if execution.status is ExecutionStatus.CANCELLING:
        return Verdict.CANCELLING, f"It is being cancelled. {text}", execution.cancel_requested_at or leading.since
    if execution.outcome is not None:
        text = f"It will end as {execution.outcome.value}. {text}"
    return leading.verdict, text, leading.since


def _leading(steps: Sequence[StepDiagnosis]) -> StepDiagnosis | None:
    """Return the step that says most about where the execution stands; what comes after others says nothing."""
    moved = [step for step in steps if step.status is not StepStatus.PENDING and step.verdict in _ORDER]
    return min(moved, key=lambda step: _ORDER.index(step.verdict), default=None)


def _ended(execution: Execution) -> str:
    error = execution.error
    if execution.status is ExecutionStatus.COMPLETED:
        return "It has completed."
    if error is None:
        return f"It has ended as {execution.status.value}."
    where = f" at step {error.step}" if error.step else ""
    return f"It has ended as {execution.status.value}{where}: {error.message}"


def _calls(execution: Execution) -> list[Call]:
    if execution.status is ExecutionStatus.PAUSED:
        return [resume_call(execution)]
    if execution.finished_at is not None and execution.status is not ExecutionStatus.COMPLETED:
        path = f"/api/v1/executions/{execution.id}/retry"
        does = "runs again what did not succeed; what has completed is kept"
        return [Call(method="POST", path=path, does=does, by="whoever has workflow:run")]
    return []
