"""A definition that was found valid: steps, what each needs, and their compiled expressions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tmws_workflow.expressions import Expression
from tmws_workflow.retries import RetryPolicy
from tmws_workflow.templates import Template, expressions_in

# The path of a step that undoes another is the other's with this.
UNDO = "~undo"


@dataclass(frozen=True, slots=True)
class PlannedStep:
    """A step as it will run. `is_lenient`: a skipped need does not skip it; `options` are fields of its kind alone.

    `is_tolerant`: when it fails, what needs it runs all the same. `undo` is its compensation, `inner` what a
    map does for each item.
    """

    id: str
    uses: str
    needs: tuple[str, ...]
    arguments: Template
    condition: Expression | None = None
    retry: RetryPolicy | None = None
    timeout_s: float | None = None
    is_lenient: bool = False
    options: Mapping[str, Any] = field(default_factory=dict[str, Any])
    is_tolerant: bool = False
    is_at_most_once: bool = False
    undo: PlannedStep | None = None
    inner: PlannedStep | None = None
    expressions: tuple[Expression, ...] = field(init=False)
    reads: frozenset[str] = field(init=False)

    def __post_init__(self) -> None:
        """Work out what has to be known before the step can run."""
        expressions = tuple({item.text: item for item in expressions_in(self.arguments)}.values())
        condition = () if self.condition is None else (self.condition,)
        reads = frozenset(name for item in (*expressions, *condition) for name in item.steps)
        object.__setattr__(self, "expressions", expressions)
        object.__setattr__(self, "reads", reads)


@dataclass(frozen=True, slots=True)
class Plan:
    """A whole definition; `steps` are in an order in which they can run."""

    steps: Mapping[str, PlannedStep]
    successors: Mapping[str, tuple[str, ...]]
    inputs: Mapping[str, Any] | None

    @property
    def can_undo(self) -> bool:
        """Whether any step has a compensation."""
        return any(step.undo is not None for step in self.steps.values())

    def step(self, path: str) -> PlannedStep | None:
        """Return what runs under a path: a step, an item of a map, or a compensation."""
        if path.endswith(UNDO):
            undone = self.steps.get(path.removesuffix(UNDO))
            return None if undone is None else undone.undo
        if path.endswith("]"):
            each = self.steps.get(map_of(path))
            return None if each is None else each.inner
        return self.steps.get(path)


def map_of(path: str) -> str:
    """Return the path of the map that an item belongs to."""
    return path.partition("[")[0]
