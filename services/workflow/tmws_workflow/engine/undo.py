"""Compensation: when an execution cannot end well, what its completed steps did is undone, the last one first.

Each compensation is a step of its own, `name~undo`; one after the other, whether or not one fails.
"""

from __future__ import annotations

from tmws_contracts.workflow import StepStatus
from tmws_workflow.definition import UNDO, PlannedStep
from tmws_workflow.engine.moves import Moves
from tmws_workflow.engine.state import StepState

# Compensations come after all steps of the plan.
FIRST_PLACE = 10_000


def is_undo(path: str) -> bool:
    """Whether the path is that of a compensation."""
    return path.endswith(UNDO)


def has_begun(moves: Moves) -> bool:
    """Whether compensation is under way."""
    return any(is_undo(path) for path in moves.steps)


def begin(moves: Moves) -> bool:
    """Write down what is to be undone and start with the last; return whether there is anything."""
    wanted = [] if has_begun(moves) else _compensations(moves)
    for place, planned in enumerate(wanted):
        moves.add(
            StepState(
                planned.id,
                StepStatus.PENDING,
                unmet=1,
                run=moves.execution.retries,
                place=FIRST_PLACE + place,
                kind=planned.uses,
                timeout_s=planned.timeout_s,
            )
        )
    if wanted:
        moves.tell("compensation.started", steps=[planned.id for planned in wanted])
        go_on(moves)
    return bool(wanted)


def go_on(moves: Moves) -> None:
    """Start the next compensation; after the last one, say so."""
    waiting = [step for step in moves.steps.values() if is_undo(step.path) and step.status is StepStatus.PENDING]
    if waiting:
        moves.start(min(waiting, key=lambda step: step.place))
    else:
        moves.tell("compensation.ended")


def _compensations(moves: Moves) -> list[PlannedStep]:
    names = dict.fromkeys(reversed(moves.completed))
    planned = [moves.plan.steps[name].undo for name in names if name in moves.plan.steps]
    return [undo for undo in planned if undo is not None]
