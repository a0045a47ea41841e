"""What can become of an attempt, and how it is reported."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from typing import Any, TypeAlias
from uuid import UUID

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
class OutcomeUnknown:
    """Nobody can tell whether the step had its effect, and it must not have it twice."""

    error: Error


@dataclass(frozen=True, slots=True)
class Waits:
    """The step waits for `key` and is looked at again in `look_in_s` seconds."""

    key: str
    look_in_s: float


@dataclass(frozen=True, slots=True)
class Maps:
    """The step is done for each item, `concurrency` at once, and waits for them."""

    items: list[Any]
    concurrency: int


@dataclass(frozen=True, slots=True)
class Aborted:
    """The step was stopped because nobody wants it any more."""


@dataclass(frozen=True, slots=True)
class Released:
    """The worker goes away and hands the step back; the attempt does not count."""


@dataclass(frozen=True, slots=True)
class LeaseLost:
    """The worker did not renew its lease."""


Outcome: TypeAlias = (
    Completed | Skipped | Failed | TimedOut | OutcomeUnknown | Waits | Maps | Aborted | Released | LeaseLost
)


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


def closes(reports: Iterable[Report]) -> bool:
    """Whether the reports may end an execution early, so that all its open steps are needed."""
    return any(
        isinstance(report.outcome, TimedOut | LeaseLost | OutcomeUnknown)
        or (isinstance(report.outcome, Failed) and report.outcome.retry_in_s is None)
        for report in reports
    )
