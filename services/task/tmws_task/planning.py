"""Which tasks of a batch can be made: refs, circles, and what hangs on what fails. No I/O."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tmws_shared.problems import InvalidRequest, ProblemError
from tmws_task.errors import DependencyCycle, OperationSkipped, ParentCycle


@dataclass(frozen=True, slots=True)
class Planned:
    """A task to be made: what it names of the batch, by its place there, each with the pointer that names it."""

    depends_on: Mapping[int, str]
    parent: int | None


def in_circles(edges: Mapping[int, Sequence[int]]) -> set[int]:
    """Return the nodes that lie on a circle, or between two."""
    onward = _left_over(edges)
    back: dict[int, list[int]] = {node: [] for node in onward}
    for node in onward:
        for target in edges[node]:
            if target in back:
                back[target].append(node)
    return _left_over(back)


def _left_over(edges: Mapping[int, Sequence[int]]) -> set[int]:
    """Return the nodes from which a circle can be reached."""
    open_targets = {node: sum(target in edges for target in targets) for node, targets in edges.items()}
    pointing: dict[int, list[int]] = {node: [] for node in edges}
    for node, targets in edges.items():
        for target in targets:
            if target in pointing:
                pointing[target].append(node)
    done = [node for node, count in open_targets.items() if not count]
    for node in done:
        for source in pointing[node]:
            open_targets[source] -= 1
            if not open_targets[source]:
                done.append(source)
    return set(edges) - set(done)


def check_circles(planned: Mapping[int, Planned]) -> dict[int, ProblemError]:
    """Return what is wrong with tasks that depend on each other, or lie under each other, in a circle."""
    depending = in_circles({place: list(one.depends_on) for place, one in planned.items()})
    lying = in_circles({place: [] if one.parent is None else [one.parent] for place, one in planned.items()})
    problems: dict[int, ProblemError] = {place: ParentCycle() for place in sorted(lying)}
    for place in sorted(depending):
        pointer = next(where for target, where in planned[place].depends_on.items() if target in depending)
        problems[place] = DependencyCycle(pointer)
    return problems


def skip_dependents(planned: Mapping[int, Planned], failed: set[int]) -> dict[int, ProblemError]:
    """Return the tasks that name one that is not made, directly or not."""
    skipped: dict[int, ProblemError] = {}
    is_growing = True
    while is_growing:
        is_growing = False
        for place, one in planned.items():
            if place in failed or place in skipped:
                continue
            gone = [where for target, where in one.depends_on.items() if target in failed or target in skipped]
            if one.parent is not None and (one.parent in failed or one.parent in skipped):
                gone.append("/parent_id")
            if gone:
                skipped[place] = OperationSkipped(gone[0])
                is_growing = True
    return skipped


def unknown_ref(pointer: str) -> InvalidRequest:
    """Return the problem of naming a ref that no operation has."""
    return InvalidRequest.of(pointer, "must be the ref of a create of this batch")
