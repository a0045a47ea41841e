"""What the engine has to know to take reports into account: read in as few round trips as the reports allow."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from uuid import UUID

from tmws_workflow.definition import Plan, map_of
from tmws_workflow.engine import Maps, Report, StepState, closes, is_undo
from tmws_workflow.repository.journal import Journal, LockedExecutions

Steps = dict[UUID, dict[str, StepState]]


@dataclass(slots=True)
class Known:
    """Steps by execution; and where something may have to be undone, what has completed, in that order."""

    steps: Steps
    completed: dict[UUID, list[str]] = field(default_factory=dict[UUID, list[str]])


async def gather(
    journal: Journal, reports: Sequence[Report], locked: LockedExecutions, plans: Mapping[UUID, Plan]
) -> Known:
    """Read the steps that the reports are about, and those that may move with them."""
    ending = {report.execution_id for report in reports if closes([report]) or is_undo(report.path)}
    known = Known(await journal.steps(_named(reports, plans), sorted(ending)))
    ending |= await _gather_items(journal, reports, known.steps, ending)
    for report in reports:
        if isinstance(report.outcome, Maps) and _was_retried(locked, report.execution_id):
            _merge(known.steps, {report.execution_id: await journal.items(report.execution_id, report.path)})
    undoing = [key for key, state in locked.states.items() if key in ending or state.outcome is not None]
    if undoable := [key for key in undoing if plans[key].can_undo]:
        known.completed = await journal.completed(undoable)
    return known


def _named(reports: Iterable[Report], plans: Mapping[UUID, Plan]) -> list[tuple[UUID, str]]:
    wanted: dict[tuple[UUID, str], None] = {}
    for report in reports:
        key, plan = report.execution_id, plans.get(report.execution_id)
        wanted[key, report.path] = None
        # An item may end its map, and the map be followed.
        path = map_of(report.path)
        wanted[key, path] = None
        for follower in () if plan is None else plan.successors.get(path, ()):
            wanted[key, follower] = None
    return list(wanted)


async def _gather_items(journal: Journal, reports: Iterable[Report], steps: Steps, ending: set[UUID]) -> set[UUID]:
    """Read the items that are next; return the executions whose maps have failed, of which all open steps are read."""
    wanted = Counter((report.execution_id, map_of(report.path)) for report in reports if report.path.endswith("]"))
    if not wanted:
        return set()
    # They come with their input, which those read before do not have.
    for key, items in (await journal.next_items(wanted)).items():
        steps.setdefault(key, {}).update(items)
    failed = {key for key, path in wanted if (each := steps.get(key, {}).get(path)) is not None and each.error}
    if failed - ending:
        _merge(steps, await journal.steps([], sorted(failed - ending)))
    return failed


def _was_retried(locked: LockedExecutions, execution_id: UUID) -> bool:
    state = locked.states.get(execution_id)
    return state is not None and state.retries > 0


def _merge(steps: Steps, more: Steps) -> None:
    for key, found in more.items():
        known = steps.setdefault(key, {})
        for path, step in found.items():
            known.setdefault(path, step)
