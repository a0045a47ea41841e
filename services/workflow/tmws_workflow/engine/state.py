"""Executions and steps as their rows say."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from tmws_contracts.common import Priority
from tmws_contracts.workflow import ExecutionStatus, StepStatus
from tmws_workflow.engine.outcomes import Error

OUTPUT_STEP = "$output"
# A bounded head start in the queue: an urgent step overtakes what became ready up to a minute before it.
BOOST_S = {Priority.LOW: 0.0, Priority.MEDIUM: 5.0, Priority.HIGH: 15.0, Priority.URGENT: 60.0}
FINAL_EXECUTION = frozenset(
    {ExecutionStatus.COMPLETED, ExecutionStatus.FAILED, ExecutionStatus.CANCELLED, ExecutionStatus.TIMED_OUT}
)
UNSUCCESSFUL_STEP = frozenset({StepStatus.FAILED, StepStatus.TIMED_OUT, StepStatus.OUTCOME_UNKNOWN})
FINAL_STEP = UNSUCCESSFUL_STEP | {StepStatus.COMPLETED, StepStatus.CANCELLED, StepStatus.SKIPPED}
QUEUED_STEP = frozenset({StepStatus.PENDING, StepStatus.READY, StepStatus.WAITING})
# Keys that nobody outside knows of, so that there is nothing to withdraw.
TIME_KEY, ITEMS_KEY = "time", "items"


@dataclass(slots=True)
class StepState:
    """A step of an execution, as its row says; `was` and `was_fence` are what the row said when it was read.

    A step with `unmet` 0 that is pending is held back by a pause. The fields after `place` are known of new rows
    only, and `input` of items that are next.
    """

    path: str
    status: StepStatus
    unmet: int = 0
    attempt: int = 0
    fence: int = 0
    lease_losses: int = 0
    owner: UUID | None = None
    wait_key: str | None = None
    output: Any = None
    error: Error | None = None
    delay_s: float | None = None
    look_in_s: float | None = None
    run: int = 0
    map_path: str | None = None
    item_no: int | None = None
    is_new: bool = False
    is_reset: bool = False
    place: int = 0
    kind: str = ""
    timeout_s: float | None = None
    input: Any = None
    was: StepStatus = field(init=False)
    was_fence: int = field(init=False)
    is_changed: bool = field(init=False, default=False)

    def __post_init__(self) -> None:
        """Remember what the row said."""
        self.was, self.was_fence = self.status, self.fence


@dataclass(slots=True)
class ExecutionState:
    """An execution, as its row says. `outcome` is set once it cannot end well any more."""

    id: UUID
    status: ExecutionStatus
    priority: Priority
    open_steps: int
    last_seq: int = 0
    outcome: ExecutionStatus | None = None
    output: Any = None
    error: Error | None = None
    retries: int = 0
    has_started: bool = True
    has_parent: bool = False

    @property
    def is_final(self) -> bool:
        """Whether it has ended."""
        return self.status in FINAL_EXECUTION


@dataclass(frozen=True, slots=True)
class Event:
    """One line of the journal."""

    seq: int
    type: str
    path: str | None = None
    attempt: int | None = None
    data: dict[str, Any] = field(default_factory=dict[str, Any])


@dataclass(slots=True)
class Adoption:
    """How many steps that become ready the reporting worker takes at once."""

    owner: UUID
    free: int
