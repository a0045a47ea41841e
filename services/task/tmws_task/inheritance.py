"""How urgent a task is for the sake of those that wait for it. No I/O."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final
from uuid import UUID

from tmws_contracts.common import Priority

_RANK: Final = {priority: place for place, priority in enumerate(Priority)}


@dataclass(frozen=True, slots=True)
class Node:
    """A task with the open tasks that wait for it directly, each with the priority that is known of it."""

    priority: Priority
    waiting: Mapping[UUID, Priority] = field(default_factory=dict[UUID, Priority])


@dataclass(frozen=True, slots=True)
class Inherited:
    """What a task has from those that wait for it."""

    priority: Priority
    unblocks: int


def inherit(nodes: Mapping[UUID, Node]) -> dict[UUID, Inherited]:
    """Return what each task inherits.

    What waits and is a node itself is worked out first; of all others the priority that is known holds.
    """
    found: dict[UUID, Inherited] = {}
    for start in nodes:
        path = [start]
        while path:
            node = nodes[path[-1]]
            todo = [one for one in node.waiting if one in nodes and one not in found]
            if todo:
                path.extend(todo)
                continue
            found[path.pop()] = _from_waiting(node, found)
    return found


def _from_waiting(node: Node, found: Mapping[UUID, Inherited]) -> Inherited:
    known = [found[one].priority if one in found else priority for one, priority in node.waiting.items()]
    return Inherited(max([node.priority, *known], key=_RANK.__getitem__), len(node.waiting))
