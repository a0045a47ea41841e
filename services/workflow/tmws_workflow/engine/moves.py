"""The moves that all changes of an execution are made of: a step starts, is queued again, ends; a line is journaled."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from tmws_contracts.workflow import ExecutionStatus, StepStatus
from tmws_workflow.definition import Plan
from tmws_workflow.engine.state import (
    BOOST_S,
    ITEMS_KEY,
    OUTPUT_STEP,
    QUEUED_STEP,
    TIME_KEY,
    Adoption,
    Event,
    ExecutionState,
    StepState,
)


class Moves:
    """One execution on its way to its next state.

    `completed` names the steps that have completed, in that order; it is needed only where something may be undone.
    """

    def __init__(
        self,
        execution: ExecutionState,
        steps: dict[str, StepState],
        plan: Plan,
        adoption: Adoption | None = None,
        completed: Iterable[str] = (),
    ) -> None:
        self.execution = execution
        self.steps = steps
        self.plan = plan
        self.completed = list(completed)
        self.events: list[Event] = []
        self.adopted: list[StepState] = []
        self.removed: list[str] = []
        self.left_ready = 0
        self._adoption = adoption

    def tell(self, kind: str, path: str | None = None, attempt: int | None = None, **data: Any) -> None:
        """Add a line to the journal."""
        self.execution.last_seq += 1
        self.events.append(Event(self.execution.last_seq, kind, path, attempt, data))

    def add(self, step: StepState) -> None:
        """Add a step that the plan did not have written down from the start."""
        self.steps[step.path] = step
        self.execution.open_steps += 1
        step.is_new = step.is_changed = True

    def start(self, step: StepState) -> None:
        """Let a step that has all it needs run: here if there is room, otherwise by whoever claims it."""
        step.unmet, step.is_changed = 0, True
        step.delay_s = -BOOST_S[self.execution.priority]
        if self.execution.status is ExecutionStatus.PAUSED:
            return
        if self._adoption is None or self._adoption.free <= 0:
            step.status = StepStatus.READY
            self.left_ready += 1
            self.tell("step.ready", step.path)
            return
        self._adoption.free -= 1
        step.status, step.owner = StepStatus.RUNNING, self._adoption.owner
        step.fence += 1
        step.attempt += 1
        self.adopted.append(step)
        self.tell("step.started", step.path, step.attempt)

    def requeue(self, step: StepState, delay_s: float) -> None:
        """Let the step be tried again; while the execution is paused it is held back."""
        is_paused = self.execution.status is ExecutionStatus.PAUSED
        step.status = StepStatus.PENDING if is_paused else StepStatus.READY
        step.delay_s, step.owner = delay_s, None
        self.left_ready += not is_paused

    def end(self, step: StepState, status: StepStatus, **data: Any) -> None:
        """Let the step have ended."""
        step.status = status
        step.is_changed = True
        if step.wait_key in (TIME_KEY, ITEMS_KEY):
            step.wait_key = None
        if step.wait_key is not None:
            # What it asked for and nobody wants any more is withdrawn now, not when it was to be looked at next.
            step.look_in_s = 0
        self.execution.open_steps -= 1
        self.tell(f"step.{status}", step.path, step.attempt, **data)

    def close_queued(self) -> None:
        """Cancel every step that nobody runs."""
        for step in self.steps.values():
            if step.status in QUEUED_STEP:
                self.end(step, StepStatus.CANCELLED)

    def conclude(self) -> None:
        """End the execution, which has no open steps."""
        execution = self.execution
        execution.status = execution.outcome or ExecutionStatus.COMPLETED
        result = self.steps.get(OUTPUT_STEP)
        if result is not None and execution.outcome is None:
            execution.output = result.output
        data: dict[str, Any] = {"error": execution.error} if execution.error else {}
        self.tell(f"execution.{execution.status}", **data)
