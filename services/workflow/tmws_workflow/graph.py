"""Which step comes after which: pure functions on `needs`, the steps each step waits for."""

from __future__ import annotations

import heapq
from collections.abc import Mapping, Sequence

Needs = Mapping[str, Sequence[str]]


def find_circles(needs: Needs) -> list[list[str]]:
    """Return a path `a, b, …, a` for each need that closes a circle; empty when there is an order."""
    circles: list[list[str]] = []
    done: set[str] = set()
    for start in needs:
        _walk(needs, start, done, circles)
    return circles


def _walk(needs: Needs, start: str, done: set[str], circles: list[list[str]]) -> None:
    """Depth first from `start`; a stack of our own, since 500 steps in a row exceed Python's comfortably."""
    if start in done:
        return
    path, left = [start], [iter(needs[start])]
    on_path = {start}
    while path:
        step = next((item for item in left[-1] if item not in done), None)
        if step is None:
            left.pop()
            on_path.discard(path[-1])
            done.add(path.pop())
        elif step in on_path:
            circles.append([*path[path.index(step) :], step])
        else:
            path.append(step)
            on_path.add(step)
            left.append(iter(needs[step]))


def order(needs: Needs) -> list[str]:
    """Return the steps so that each comes after its needs; otherwise as they were written.

    `needs` must be free of circles. Source: Kahn, "Topological sorting of large networks" (1962).
    """
    place = {step: number for number, step in enumerate(needs)}
    unmet = {step: len(set(of)) for step, of in needs.items()}
    followers = successors(needs)
    free = [place[step] for step, count in unmet.items() if count == 0]
    names, result = list(needs), list[str]()
    while free:
        step = names[heapq.heappop(free)]
        result.append(step)
        for follower in followers[step]:
            unmet[follower] -= 1
            if unmet[follower] == 0:
                heapq.heappush(free, place[follower])
    return result


def successors(needs: Needs) -> dict[str, list[str]]:
    """Return for each step the steps that need it."""
    result: dict[str, list[str]] = {step: [] for step in needs}
    for step, of in needs.items():
        for need in dict.fromkeys(of):
            result[need].append(step)
    return result


def upstream(needs: Needs) -> dict[str, frozenset[str]]:
    """Return for each step everything it needs, directly or not; `needs` must be free of circles."""
    result: dict[str, frozenset[str]] = {}
    for step in order(needs):
        result[step] = frozenset(needs[step]).union(*(result[need] for need in needs[step]))
    return result
