"""What happens next: pure functions from the state of an execution and what was reported to its next state.

Nothing here does I/O or looks at a clock; times are seconds from now and become moments in the database.

    step       pending → ready → running → completed | failed | timed_out | cancelled | skipped
               running → waiting → completed | failed | timed_out | cancelled;  running → ready (retry, lost lease)
    execution  pending → running → completed | failed | timed_out;  → cancelling → cancelled
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, TypeAlias
from uuid import UUID

from tmws_contracts.common import Priority
from tmws_contracts.workflow import ExecutionStatus, StepStatus

MAX_LEASE_LOSSES = 3
OUTPUT_STEP = "$output"
# A bounded head start in the queue: an urgent step overtakes what became ready up to a minute before it.
BOOST_S = {Priority.LOW: 0.0, Priority.MEDIUM: 5.0, Priority.HIGH: 15.0, Priority.URGENT: 60.0}
_FINAL_EXECUTION = frozenset(
    {ExecutionStatus.COMPLETED, ExecutionStatus.FAILED, ExecutionStatus.CANCELLED, ExecutionStatus.TIMED_OUT}
)
_FINAL_STEP = frozenset(
    {StepStatus.COMPLETED, StepStatus.FAILED, StepStatus.TIMED_OUT, StepStatus.CANCELLED, StepStatus.SKIPPED}
)
_QUEUED = frozenset({StepStatus.PENDING, StepStatus.READY, StepStatus.WAITING})

Error: TypeAlias = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Completed:
    """The step did what it should."""

    output: Any


@dataclass(frozen=True, slots=True)
class Skipped:
    """The step was not to run."""

    reason: str


@dataclass(frozen=True, slots=True)
class Failed:
    """The step did not succeed; it is tried again in `retry_in_s` seconds, or not when that is None."""

    error: Error
    retry_in_s: float | None = None


@dataclass(frozen=True, slots=True)
class TimedOut:
    """The step took longer than its timeout."""

    error: Error


@dataclass(frozen=True, slots=True)
class Waits:
    """The step waits for `key` and is looked at again in `look_in_s` seconds."""

    key: str
    look_in_s: float


@dataclass(frozen=True, slots=True)
class Aborted:
    """The step was stopped because its execution is being cancelled."""


@dataclass(frozen=True, slots=True)
class Released:
    """The worker goes away and hands the step back; the attempt does not count."""


@dataclass(frozen=True, slots=True)
class LeaseLost:
    """The worker did not renew its lease."""


Outcome: TypeAlias = Completed | Skipped | Failed | TimedOut | Waits | Aborted | Released | LeaseLost


@dataclass(frozen=True, slots=True)
class Report:
    """What became of a step: who held it under which fence; `owner` None speaks for a step nobody holds."""

    execution_id: UUID
    path: str
    fence: int
    owner: UUID | None
    outcome: Outcome

    @property
    def is_result(self) -> bool:
        """Whether a worker says it of a step it ran; the others only found the step lying there."""
        return self.owner is not None and not isinstance(self.outcome, LeaseLost)


class Verdict(Enum):
    """What the engine made of a report."""

    APPLIED = "applied"
    REPEATED = "repeated"
    STALE = "stale"


@dataclass(slots=True)
class StepState:
    """A step of an execution, as its row says; `was` and `was_fence` are what the row said when it was read."""

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

    @property
    def is_final(self) -> bool:
        """Whether it has ended."""
        return self.status in _FINAL_EXECUTION


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


class Advance:
    """One execution on its way to its next state.

    `steps` must hold every step a report names, the steps that need it, and all open steps when `closes` says so.
    """

    def __init__(
        self,
        execution: ExecutionState,
        steps: Mapping[str, StepState],
        successors: Mapping[str, Sequence[str]],
        adoption: Adoption | None = None,
    ) -> None:
        self.execution = execution
        self.steps = steps
        self.events: list[Event] = []
        self.adopted: list[StepState] = []
        self.left_ready = 0
        self._successors = successors
        self._adoption = adoption

    def report(self, report: Report) -> Verdict:
        """Take a report into account, unless it is stale or was taken before."""
        step = self.steps.get(report.path)
        verdict = _judge(step, report)
        if step is not None and verdict is Verdict.APPLIED:
            step.is_changed = True
            self._take(step, report.outcome)
            self._finish_if_done()
        elif verdict is Verdict.STALE and report.is_result:
            self._tell("step.result_refused", report.path, None, fence=report.fence)
        return verdict

    def cancel(self) -> bool:
        """Cancel what is queued and ask for what runs to be stopped; return whether anything changed."""
        if self.execution.is_final or self.execution.status is ExecutionStatus.CANCELLING:
            return False
        self.execution.status = ExecutionStatus.CANCELLING
        self.execution.outcome = ExecutionStatus.CANCELLED
        self._tell("execution.cancel_requested")
        self._close_queued()
        self._finish_if_done()
        return True

    def _take(self, step: StepState, outcome: Outcome) -> None:
        match outcome:
            case Completed(output):
                step.output = output
                self._end(step, StepStatus.COMPLETED)
                self._release_successors(step)
            case Skipped(reason):
                self._end(step, StepStatus.SKIPPED, reason=reason)
                self._release_successors(step)
            case TimedOut(error):
                self._fail(step, StepStatus.TIMED_OUT, error, ExecutionStatus.TIMED_OUT)
            case Failed(error, None):
                self._fail(step, StepStatus.FAILED, error, ExecutionStatus.FAILED)
            case LeaseLost() if step.lease_losses + 1 >= MAX_LEASE_LOSSES:
                step.lease_losses += 1
                self._fail(step, StepStatus.FAILED, _DEAD_LETTER, ExecutionStatus.FAILED)
            case Aborted():
                self._end(step, StepStatus.CANCELLED)
            case _:
                self._continue_later(step, outcome)

    def _continue_later(self, step: StepState, outcome: Outcome) -> None:
        """The step has not ended; in an execution that is to end, it ends here."""
        if isinstance(outcome, Waits):
            step.wait_key = outcome.key
        if self.execution.outcome is not None:
            self._end(step, StepStatus.CANCELLED)
            return
        match outcome:
            case Waits(key, look_in_s):
                step.status, step.look_in_s, step.owner = StepStatus.WAITING, look_in_s, None
                self._tell("step.waiting", step.path, step.attempt, key=key)
            case Failed(error, float(delay_s)):
                self._requeue(step, delay_s)
                step.error = error
                self._tell("step.retrying", step.path, step.attempt, error=error, in_s=round(delay_s, 3))
            case LeaseLost():
                step.lease_losses += 1
                self._tell("step.lease_lost", step.path, step.attempt, losses=step.lease_losses)
                self._requeue(step, 0)
            case Released():
                self._tell("step.released", step.path, step.attempt)
                step.attempt -= 1
                self._requeue(step, 0)
            case _:
                raise AssertionError(f"{type(outcome).__name__} ends a step")

    def _requeue(self, step: StepState, delay_s: float) -> None:
        step.status, step.delay_s, step.owner = StepStatus.READY, delay_s, None
        self.left_ready += 1

    def _fail(self, step: StepState, status: StepStatus, error: Error, outcome: ExecutionStatus) -> None:
        step.error = error
        self._end(step, status, error=error)
        if self.execution.outcome is None:
            self.execution.outcome = outcome
            self.execution.error = {"step": None if step.path == OUTPUT_STEP else step.path, **error}
            self._close_queued()

    def _end(self, step: StepState, status: StepStatus, **data: Any) -> None:
        step.status = status
        step.is_changed = True
        if step.wait_key is not None:
            # What it asked for and nobody wants any more is withdrawn now, not when it was to be looked at next.
            step.look_in_s = 0
        self.execution.open_steps -= 1
        self._tell(f"step.{status}", step.path, step.attempt, **data)

    def _close_queued(self) -> None:
        for step in self.steps.values():
            if step.status in _QUEUED:
                self._end(step, StepStatus.CANCELLED)

    def _release_successors(self, step: StepState) -> None:
        for name in self._successors.get(step.path, ()):
            follower = self.steps[name]
            if follower.status is not StepStatus.PENDING:
                continue
            follower.unmet -= 1
            follower.is_changed = True
            if follower.unmet == 0 and self.execution.outcome is None:
                self._start(follower)

    def _start(self, step: StepState) -> None:
        """Let a step that has all it needs run: here if there is room, otherwise by whoever claims it."""
        if self._adoption is None or self._adoption.free <= 0:
            step.status, step.delay_s = StepStatus.READY, -BOOST_S[self.execution.priority]
            self.left_ready += 1
            self._tell("step.ready", step.path)
            return
        self._adoption.free -= 1
        step.status, step.owner = StepStatus.RUNNING, self._adoption.owner
        step.fence += 1
        step.attempt += 1
        self.adopted.append(step)
        self._tell("step.started", step.path, step.attempt)

    def _finish_if_done(self) -> None:
        execution = self.execution
        if execution.is_final or execution.open_steps:
            return
        execution.status = execution.outcome or ExecutionStatus.COMPLETED
        result = self.steps.get(OUTPUT_STEP)
        if result is not None and execution.outcome is None:
            execution.output = result.output
        data: dict[str, Any] = {"error": execution.error} if execution.error else {}
        self._tell(f"execution.{execution.status}", **data)

    def _tell(self, kind: str, path: str | None = None, attempt: int | None = None, **data: Any) -> None:
        self.execution.last_seq += 1
        self.events.append(Event(self.execution.last_seq, kind, path, attempt, data))


_DEAD_LETTER: Error = {
    "code": "lease_lost",
    "message": f"The step's worker was lost {MAX_LEASE_LOSSES} times; it is not tried again.",
}


def _judge(step: StepState | None, report: Report) -> Verdict:
    if step is None or step.fence != report.fence:
        return Verdict.STALE
    if report.owner is None:
        return Verdict.APPLIED if step.status in (StepStatus.WAITING, StepStatus.READY) else Verdict.STALE
    if step.status is StepStatus.RUNNING and step.owner == report.owner:
        return Verdict.APPLIED
    # The answer to our own commit was lost and we ask again: the row says that it was applied.
    is_repeat = step.owner == report.owner and step.status in _FINAL_STEP
    is_repeat |= isinstance(report.outcome, Waits) and step.wait_key == report.outcome.key
    return Verdict.REPEATED if is_repeat else Verdict.STALE


def closes(reports: Iterable[Report]) -> bool:
    """Whether the reports may end an execution early, so that all its open steps are needed."""
    return any(
        isinstance(report.outcome, TimedOut | LeaseLost)
        or (isinstance(report.outcome, Failed) and report.outcome.retry_in_s is None)
        for report in reports
    )
