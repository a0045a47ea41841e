"""What people do to an execution: cancel it, pause it, let it go on, try it again. Each returns whether it changed.

`steps` must hold all open steps; for a retry, all steps.
"""

from __future__ import annotations

from collections.abc import Iterable

from tmws_contracts.workflow import ExecutionStatus, StepStatus
from tmws_workflow.definition import UNDO
from tmws_workflow.engine import undo
from tmws_workflow.engine.advance import Advance
from tmws_workflow.engine.state import UNSUCCESSFUL_STEP, StepState

PAUSABLE = frozenset({ExecutionStatus.PENDING, ExecutionStatus.RUNNING})
RETRYABLE = frozenset({ExecutionStatus.FAILED, ExecutionStatus.TIMED_OUT, ExecutionStatus.CANCELLED})
_KEPT_ITEM = frozenset({StepStatus.COMPLETED, StepStatus.SKIPPED})


def cancel(advance: Advance) -> bool:
    """Cancel what is queued and ask for what runs to be stopped; what is being undone goes on to its end."""
    execution = advance.execution
    if execution.is_final or execution.status is ExecutionStatus.CANCELLING or undo.has_begun(advance):
        return False
    execution.status = ExecutionStatus.CANCELLING
    execution.outcome = ExecutionStatus.CANCELLED
    advance.tell("execution.cancel_requested")
    advance.close_queued()
    advance.finish_if_done()
    return True


def pause(advance: Advance) -> bool:
    """Hold back what is ready; what runs or waits goes on, and what follows from it is held back."""
    if advance.execution.status not in PAUSABLE:
        return False
    advance.execution.status = ExecutionStatus.PAUSED
    advance.tell("execution.paused")
    for step in advance.steps.values():
        if step.status is StepStatus.READY:
            step.status, step.is_changed = StepStatus.PENDING, True
    return True


def resume(advance: Advance) -> bool:
    """Let go on what a pause has held back."""
    execution = advance.execution
    if execution.status is not ExecutionStatus.PAUSED:
        return False
    execution.status = ExecutionStatus.RUNNING if execution.has_started else ExecutionStatus.PENDING
    advance.tell("execution.resumed")
    for step in advance.steps.values():
        if step.status is StepStatus.PENDING and step.unmet == 0:
            step.status, step.is_changed = StepStatus.READY, True
            advance.left_ready += 1
    return True


def retry(advance: Advance, from_step: str | None) -> bool:
    """Run again what did not end well, and a named step with all that comes after it."""
    execution = advance.execution
    if execution.status not in RETRYABLE:
        return False
    undone = [path.removesuffix(UNDO) for path, step in advance.steps.items() if _is_done_undo(step)]
    named = [] if from_step is None else [from_step]
    anew = _downstream(advance, [*undone, *named])
    again = anew | {path for path, step in advance.steps.items() if _is_to_be_repaired(advance, step)}
    execution.status, execution.outcome = ExecutionStatus.RUNNING, None
    execution.error = execution.output = None
    execution.retries += 1
    advance.tell("execution.retried", steps=sorted(again), from_step=from_step)
    _remove_rows(advance, anew, again)
    for path in sorted(again, key=lambda name: advance.steps[name].place):
        _reset(advance, advance.steps[path], again, is_anew=_is_anew(advance, path, anew, from_step))
    advance.finish_if_done()
    return True


def _is_done_undo(step: StepState) -> bool:
    return undo.is_undo(step.path) and step.status is StepStatus.COMPLETED


def _is_to_be_repaired(advance: Advance, step: StepState) -> bool:
    planned = advance.plan.steps.get(step.path)
    if planned is None:
        return False
    return step.status is StepStatus.CANCELLED or (step.status in UNSUCCESSFUL_STEP and not planned.is_tolerant)


def _downstream(advance: Advance, names: Iterable[str]) -> set[str]:
    found: set[str] = set()
    left = list(names)
    while left:
        name = left.pop()
        if name not in found:
            found.add(name)
            left += advance.plan.successors.get(name, ())
    return found


def _remove_rows(advance: Advance, anew: set[str], again: set[str]) -> None:
    """Remove compensations, and the items of maps that are to run again; completed ones stay unless the map is anew."""
    for path, step in list(advance.steps.items()):
        is_kept_item = step.status in _KEPT_ITEM and step.map_path not in anew
        if undo.is_undo(path) or (step.map_path in again and not is_kept_item):
            advance.removed.append(path)
            del advance.steps[path]


def _is_anew(advance: Advance, path: str, anew: set[str], from_step: str | None) -> bool:
    return path in anew and (path != from_step or any(need in anew for need in advance.plan.steps[path].needs))


def _reset(advance: Advance, step: StepState, again: set[str], *, is_anew: bool) -> None:
    """Let the step run as if it never had.

    It keeps its idempotency key, so that an effect whose answer was lost is not repeated. It gets a new one where the
    effect is to happen once more, or where the answer would be the old failure: it completed, or waited for something
    that has ended, or has items.
    """
    planned = advance.plan.steps[step.path]
    if is_anew or step.status is StepStatus.COMPLETED or step.wait_key is not None or planned.inner is not None:
        step.run += 1
    step.status, step.is_changed, step.is_reset = StepStatus.PENDING, True, True
    step.attempt = step.lease_losses = 0
    step.owner = step.wait_key = step.output = step.error = None
    step.unmet = sum(need in again for need in planned.needs)
    advance.execution.open_steps += 1
    if step.unmet == 0:
        advance.start(step)
