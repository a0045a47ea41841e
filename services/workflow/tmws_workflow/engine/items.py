"""The items of a `map`: each is a step of its own, `map[0]`, `map[1]`…, of which so many are open at once.

The map's `unmet` counts the items that have not ended; an item that waits for its turn has `unmet` 1.
"""

from __future__ import annotations

from tmws_contracts.workflow import StepStatus
from tmws_workflow.engine.moves import Moves
from tmws_workflow.engine.outcomes import Maps
from tmws_workflow.engine.state import ITEMS_KEY, QUEUED_STEP, UNSUCCESSFUL_STEP, StepState


def expand(moves: Moves, step: StepState, outcome: Maps) -> None:
    """Add the items of a map, but those an earlier run has left, and start as many as may run at once."""
    planned = moves.plan.step(step.path)
    if planned is None or planned.inner is None:
        raise AssertionError("only a map has items")
    added: list[StepState] = []
    for number, item in enumerate(outcome.items):
        path = f"{step.path}[{number}]"
        if path not in moves.steps:
            added.append(
                StepState(
                    path,
                    StepStatus.PENDING,
                    unmet=1,
                    run=step.run,
                    map_path=step.path,
                    item_no=number,
                    place=step.place,
                    kind=planned.inner.uses,
                    timeout_s=planned.inner.timeout_s,
                    input=item,
                )
            )
    for item in added:
        moves.add(item)
    step.status, step.owner, step.wait_key, step.error = StepStatus.WAITING, None, ITEMS_KEY, None
    step.unmet = len(added)
    moves.tell("step.waiting", step.path, step.attempt, key=ITEMS_KEY, items=len(outcome.items))
    for item in added[: outcome.concurrency]:
        moves.start(item)
    if not added:
        _collect(moves, step)


def ended(moves: Moves, item: StepState) -> StepState | None:
    """Go on after an item has ended; return its map when that has failed by now."""
    each = map_of(moves, item)
    if each is None or each.status is not StepStatus.WAITING:
        return None
    each.unmet -= 1
    each.is_changed = True
    planned = moves.plan.step(item.path)
    is_failure = item.status in UNSUCCESSFUL_STEP and not (planned is not None and planned.is_tolerant)
    if is_failure and each.error is None:
        reason = (item.error or {}).get("message", "it did not succeed")
        each.error = {"code": "item_failed", "message": f"Item {item.item_no}: {reason}", "item": item.item_no}
        each.unmet -= close(moves, each.path)
    if each.unmet == 0 and each.error is None:
        _collect(moves, each)
    elif each.error is None:
        _start_next(moves, each.path)
    return each if each.unmet == 0 and each.error is not None else None


def close(moves: Moves, map_path: str) -> int:
    """Cancel the items of a map that nobody runs and return how many there were."""
    queued = [step for step in moves.steps.values() if step.map_path == map_path and step.status in QUEUED_STEP]
    for step in queued:
        moves.end(step, StepStatus.CANCELLED)
    return len(queued)


def is_unwanted(moves: Moves, step: StepState) -> bool:
    """Whether the step is an item whose map has failed or ended."""
    each = map_of(moves, step)
    return each is not None and (each.status is not StepStatus.WAITING or each.error is not None)


def map_of(moves: Moves, item: StepState) -> StepState | None:
    """Return the map that a step is an item of."""
    return None if item.map_path is None else moves.steps.get(item.map_path)


def _start_next(moves: Moves, map_path: str) -> None:
    waiting = [
        step
        for step in moves.steps.values()
        if step.map_path == map_path and step.status is StepStatus.PENDING and step.unmet
    ]
    if waiting:
        moves.start(min(waiting, key=lambda step: step.item_no or 0))


def _collect(moves: Moves, each: StepState) -> None:
    """Let whoever looks at the map next gather what its items gave."""
    each.look_in_s = 0
    moves.left_ready += 1
