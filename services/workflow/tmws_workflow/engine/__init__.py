"""What happens next: pure functions from the state of an execution and what was reported to its next state.

Nothing here does I/O or looks at a clock; times are seconds from now and become moments in the database.

    step       pending → ready → running → completed | failed | timed_out | cancelled | skipped | outcome_unknown
               running → waiting → completed | failed | timed_out | cancelled;  running → ready (retry, lost lease)
               ready → pending (the execution is paused);  pending → ready (it goes on)
    execution  pending → running → completed | failed | timed_out;  running ⇄ paused;  → cancelling → cancelled
               failed | timed_out | cancelled → running (retry)

`outcomes` is what is reported, `state` what is known, `moves` what changes are made of; `advance` takes reports,
`control` what people ask for; `items` are those of a map, `undo` is compensation.
"""

from tmws_workflow.engine.advance import MAX_LEASE_LOSSES, Advance
from tmws_workflow.engine.outcomes import (
    Aborted,
    Completed,
    Error,
    Failed,
    LeaseLost,
    Maps,
    Outcome,
    OutcomeUnknown,
    Released,
    Report,
    Skipped,
    TimedOut,
    Verdict,
    Waits,
    closes,
)
from tmws_workflow.engine.state import (
    BOOST_S,
    FINAL_EXECUTION,
    ITEMS_KEY,
    OUTPUT_STEP,
    TIME_KEY,
    Adoption,
    Event,
    ExecutionState,
    StepState,
)
from tmws_workflow.engine.undo import is_undo

__all__ = [
    "BOOST_S",
    "FINAL_EXECUTION",
    "ITEMS_KEY",
    "MAX_LEASE_LOSSES",
    "OUTPUT_STEP",
    "TIME_KEY",
    "Aborted",
    "Adoption",
    "Advance",
    "Completed",
    "Error",
    "Event",
    "ExecutionState",
    "Failed",
    "LeaseLost",
    "Maps",
    "Outcome",
    "OutcomeUnknown",
    "Released",
    "Report",
    "Skipped",
    "StepState",
    "TimedOut",
    "Verdict",
    "Waits",
    "closes",
    "is_undo",
]
