"""What a report about a step means for it, for the steps after it, and for its execution."""

from __future__ import annotations

from tmws_contracts.workflow import ExecutionStatus, StepStatus
from tmws_workflow.engine import items, undo
from tmws_workflow.engine.moves import Moves
from tmws_workflow.engine.outcomes import (
    Aborted,
    Completed,
    Error,
    Failed,
    LeaseLost,
    Maps,
    Outcome,
    OutcomeUnknown,
    Released,
    Report,
    Skipped,
    TimedOut,
    Verdict,
    Waits,
)
from tmws_workflow.engine.state import FINAL_STEP, OUTPUT_STEP, QUEUED_STEP, StepState

MAX_LEASE_LOSSES = 3
_DEAD_LETTER: Error = {
    "code": "lease_lost",
    "message": f"The step's worker was lost {MAX_LEASE_LOSSES} times; it is not tried again.",
}
_UNKNOWN: Error = {
    "code": "outcome_unknown",
    "message": "The step's worker was lost while it ran. Find out whether it had its effect before you retry.",
}


class Advance(Moves):
    """Takes reports into account.

    `steps` must hold every step a report names, the steps that need it, its map, the items of it that are next, and all
    open steps when `closes` says so or something is being undone.
    """

    def report(self, report: Report) -> Verdict:
        """Take a report into account, unless it is stale or was taken before."""
        step = self.steps.get(report.path)
        verdict = _judge(step, report)
        if step is not None and verdict is Verdict.APPLIED:
            step.is_changed = True
            self._take(step, report.outcome)
            self.finish_if_done()
        elif verdict is Verdict.STALE and report.is_result:
            self.tell("step.result_refused", report.path, None, fence=report.fence)
        return verdict

    def finish_if_done(self) -> None:
        """End the execution when no step is open; before, undo what is to be undone."""
        if self.execution.is_final or self.execution.open_steps:
            return
        if self.execution.outcome is None or not undo.begin(self):
            self.conclude()

    def _take(self, step: StepState, outcome: Outcome) -> None:
        match outcome:
            case Completed(output):
                step.output = output
                self.end(step, StepStatus.COMPLETED)
                self.completed.append(step.path)
                self._follow(step)
            case Skipped(reason):
                self.end(step, StepStatus.SKIPPED, reason=reason)
                self._follow(step)
            case TimedOut(error):
                self._fail(step, StepStatus.TIMED_OUT, error, ExecutionStatus.TIMED_OUT)
            case Failed(error, None):
                self._fail(step, StepStatus.FAILED, error, ExecutionStatus.FAILED)
            case OutcomeUnknown(error):
                self._fail(step, StepStatus.OUTCOME_UNKNOWN, error, ExecutionStatus.FAILED)
            case LeaseLost():
                self._lose(step)
            case Aborted() if self._is_unwanted(step):
                self._drop(step)
            case _:
                self._continue_later(step, outcome)

    def _lose(self, step: StepState) -> None:
        planned = self.plan.step(step.path)
        step.lease_losses += 1
        # Whoever held it may still report, and is to hear that it came too late.
        step.owner = None
        if planned is not None and planned.is_at_most_once:
            self._fail(step, StepStatus.OUTCOME_UNKNOWN, _UNKNOWN, ExecutionStatus.FAILED)
        elif step.lease_losses >= MAX_LEASE_LOSSES:
            self._fail(step, StepStatus.FAILED, _DEAD_LETTER, ExecutionStatus.FAILED)
        else:
            self._continue_later(step, LeaseLost())

    def _continue_later(self, step: StepState, outcome: Outcome) -> None:
        """The step has not ended; where nobody wants it any more, it ends here."""
        if isinstance(outcome, Waits):
            step.wait_key = outcome.key
        if self._is_unwanted(step):
            self._drop(step)
            return
        match outcome:
            case Waits(key, look_in_s):
                step.status, step.look_in_s, step.owner = StepStatus.WAITING, look_in_s, None
                self.tell("step.waiting", step.path, step.attempt, key=key)
            case Maps():
                items.expand(self, step, outcome)
            case Failed(error, float(delay_s)):
                self.requeue(step, delay_s)
                step.error = error
                self.tell("step.retrying", step.path, step.attempt, error=error, in_s=round(delay_s, 3))
            case LeaseLost():
                self.tell("step.lease_lost", step.path, step.attempt, losses=step.lease_losses)
                self.requeue(step, 0)
            case Released() | Aborted():
                self.tell("step.released", step.path, step.attempt)
                step.attempt -= 1
                self.requeue(step, 0)
            case _:
                raise AssertionError(f"{type(outcome).__name__} ends a step")

    def _is_unwanted(self, step: StepState) -> bool:
        if undo.is_undo(step.path):
            return False
        return self.execution.outcome is not None or items.is_unwanted(self, step)

    def _drop(self, step: StepState) -> None:
        self.end(step, StepStatus.CANCELLED)
        if step.map_path is not None or undo.is_undo(step.path):
            self._follow(step)

    def _fail(self, step: StepState, status: StepStatus, error: Error, outcome: ExecutionStatus) -> None:
        step.error = error
        self.end(step, status, error=error)
        items.close(self, step.path)
        planned = self.plan.step(step.path)
        if step.map_path is not None or undo.is_undo(step.path) or (planned is not None and planned.is_tolerant):
            self._follow(step)
        elif self.execution.outcome is None:
            self.execution.outcome = outcome
            self.execution.error = {"step": None if step.path == OUTPUT_STEP else step.path, **error}
            self.close_queued()

    def _follow(self, step: StepState) -> None:
        """Do what comes after a step that has ended."""
        if step.map_path is not None:
            failed = items.ended(self, step)
            if failed is not None and failed.error is not None:
                self._fail(failed, StepStatus.FAILED, failed.error, ExecutionStatus.FAILED)
        elif undo.is_undo(step.path):
            undo.go_on(self)
        else:
            self._release_successors(step)

    def _release_successors(self, step: StepState) -> None:
        for name in self.plan.successors.get(step.path, ()):
            follower = self.steps[name]
            if follower.status is not StepStatus.PENDING:
                continue
            follower.unmet -= 1
            follower.is_changed = True
            if follower.unmet == 0 and self.execution.outcome is None:
                self.start(follower)


def _judge(step: StepState | None, report: Report) -> Verdict:
    if step is None or step.fence != report.fence:
        return Verdict.STALE
    if report.owner is None:
        return Verdict.APPLIED if step.status in QUEUED_STEP else Verdict.STALE
    if step.status is StepStatus.RUNNING and step.owner == report.owner:
        return Verdict.APPLIED
    # The answer to our own commit was lost and we ask again: the row says that it was applied.
    is_repeat = step.owner == report.owner and step.status in FINAL_STEP
    is_repeat |= isinstance(report.outcome, Waits) and step.wait_key == report.outcome.key
    return Verdict.REPEATED if is_repeat else Verdict.STALE
