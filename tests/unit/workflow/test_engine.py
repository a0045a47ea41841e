"""What happens next in an execution."""

from uuid import UUID

import pytest

from tmws_contracts.common import Priority
from tmws_contracts.workflow import ExecutionStatus, StepStatus
from tmws_workflow.definition import Plan
from tmws_workflow.engine import (
    OUTPUT_STEP,
    Aborted,
    Adoption,
    Advance,
    Completed,
    ExecutionState,
    Failed,
    LeaseLost,
    Released,
    Report,
    Skipped,
    StepState,
    TimedOut,
    Verdict,
    Waits,
    closes,
)
from tmws_workflow.engine.control import cancel

EXECUTION = UUID(int=1)
WORKER, OTHER = UUID(int=7), UUID(int=8)
ERROR = {"code": "x", "message": "no"}


def running(path, **fields):
    return StepState(path, StepStatus.RUNNING, attempt=1, fence=1, owner=WORKER, **fields)


def pending(path, unmet=1):
    return StepState(path, StepStatus.PENDING, unmet=unmet)


def advance(*steps, successors=None, adoption=None, **execution):
    fields = {"status": ExecutionStatus.RUNNING, "priority": Priority.MEDIUM, "open_steps": len(steps), "last_seq": 3}
    state = ExecutionState(EXECUTION, **(fields | execution))
    return Advance(state, {step.path: step for step in steps}, Plan({}, successors or {}, None), adoption)


def report(path, outcome, fence=1, owner=WORKER):
    return Report(EXECUTION, path, fence, owner, outcome)


def types(result):
    return [event.type for event in result.events]


def test_completed_step_keeps_its_output():
    result = advance(running("a"), running("b"))
    assert result.report(report("a", Completed({"x": 1}))) is Verdict.APPLIED
    assert result.steps["a"].status is StepStatus.COMPLETED
    assert result.steps["a"].output == {"x": 1}
    assert result.execution.status is ExecutionStatus.RUNNING


def test_last_completion_completes_the_execution():
    result = advance(running("a"))
    result.report(report("a", Completed(1)))
    assert result.execution.status is ExecutionStatus.COMPLETED
    assert types(result) == ["step.completed", "execution.completed"]


def test_execution_gets_the_output_step_s_value():
    result = advance(running(OUTPUT_STEP))
    result.report(report(OUTPUT_STEP, Completed({"text": "hi"})))
    assert result.execution.output == {"text": "hi"}


def test_seq_continues_without_gaps():
    result = advance(running("a"), pending("b"), successors={"a": ["b"]})
    result.report(report("a", Completed(1)))
    assert [event.seq for event in result.events] == [4, 5]
    assert result.execution.last_seq == 5


def test_successor_with_all_it_needs_becomes_ready():
    result = advance(running("a"), pending("b"), successors={"a": ["b"]})
    result.report(report("a", Completed(1)))
    assert result.steps["b"].status is StepStatus.READY
    assert result.left_ready == 1


def test_successor_with_other_needs_stays_pending():
    result = advance(running("a"), pending("b", unmet=2), successors={"a": ["b"]})
    result.report(report("a", Completed(1)))
    assert (result.steps["b"].status, result.steps["b"].unmet) == (StepStatus.PENDING, 1)


def test_join_is_ready_after_its_last_need():
    result = advance(running("a"), running("b"), pending("c", 2), successors={"a": ["c"], "b": ["c"]})
    result.report(report("a", Completed(1)))
    result.report(report("b", Completed(1)))
    assert result.steps["c"].status is StepStatus.READY


def test_worker_with_room_takes_the_successor_at_once():
    result = advance(running("a"), pending("b"), successors={"a": ["b"]}, adoption=Adoption(WORKER, 1))
    result.report(report("a", Completed(1)))
    taken = result.steps["b"]
    assert (taken.status, taken.owner, taken.fence, taken.attempt) == (StepStatus.RUNNING, WORKER, 1, 1)
    assert result.adopted == [taken]
    assert types(result) == ["step.completed", "step.started"]


def test_worker_without_room_leaves_the_rest_ready():
    steps = [running("a"), pending("b"), pending("c")]
    result = advance(*steps, successors={"a": ["b", "c"]}, adoption=Adoption(WORKER, 1))
    result.report(report("a", Completed(1)))
    assert [result.steps[name].status for name in "bc"] == [StepStatus.RUNNING, StepStatus.READY]


def test_skipped_step_lets_its_successors_decide():
    result = advance(running("a"), pending("b"), successors={"a": ["b"]})
    result.report(report("a", Skipped("its condition is false")))
    assert result.steps["a"].status is StepStatus.SKIPPED
    assert result.steps["b"].status is StepStatus.READY


def test_priority_is_a_head_start_in_the_queue():
    result = advance(running("a"), pending("b"), successors={"a": ["b"]}, priority=Priority.URGENT)
    result.report(report("a", Completed(1)))
    assert result.steps["b"].delay_s == -60


def test_failure_that_can_be_repeated_returns_the_step_to_the_queue():
    result = advance(running("a"))
    result.report(report("a", Failed(ERROR, 2.5)))
    step = result.steps["a"]
    assert (step.status, step.delay_s, step.owner, step.attempt) == (StepStatus.READY, 2.5, None, 1)
    assert types(result) == ["step.retrying"]


def test_final_failure_fails_the_execution():
    result = advance(running("a"))
    result.report(report("a", Failed(ERROR)))
    assert result.execution.status is ExecutionStatus.FAILED
    assert result.execution.error == {"step": "a", **ERROR}


def test_final_failure_cancels_what_is_queued():
    waiting = StepState("c", StepStatus.WAITING, fence=1, wait_key="task:1")
    result = advance(running("a"), pending("b"), waiting, StepState("d", StepStatus.READY))
    result.report(report("a", Failed(ERROR)))
    assert {result.steps[name].status for name in "bcd"} == {StepStatus.CANCELLED}
    assert result.execution.open_steps == 0


def test_execution_ends_after_the_steps_that_still_run():
    result = advance(running("a"), running("b"))
    result.report(report("a", Failed(ERROR)))
    assert result.execution.status is ExecutionStatus.RUNNING
    result.report(report("b", Completed(1)))
    assert result.execution.status is ExecutionStatus.FAILED


def test_nothing_follows_in_an_execution_that_has_failed():
    cancelled = StepState("c", StepStatus.CANCELLED, unmet=1)
    result = advance(running("b"), cancelled, successors={"b": ["c"]}, outcome=ExecutionStatus.FAILED, open_steps=1)
    result.report(report("b", Completed(1)))
    assert result.steps["c"].status is StepStatus.CANCELLED


def test_step_that_would_be_repeated_is_cancelled_in_an_execution_that_has_failed():
    result = advance(running("b"), outcome=ExecutionStatus.FAILED)
    result.report(report("b", Failed(ERROR, 1.0)))
    assert result.steps["b"].status is StepStatus.CANCELLED
    assert result.execution.status is ExecutionStatus.FAILED


def test_timeout_ends_the_execution_as_timed_out():
    result = advance(running("a"))
    result.report(report("a", TimedOut(ERROR)))
    assert result.steps["a"].status is StepStatus.TIMED_OUT
    assert result.execution.status is ExecutionStatus.TIMED_OUT


def test_waiting_step_holds_no_worker():
    result = advance(running("a"))
    result.report(report("a", Waits("task:1", 60)))
    step = result.steps["a"]
    assert (step.status, step.owner, step.wait_key, step.look_in_s) == (StepStatus.WAITING, None, "task:1", 60)


def test_waiting_step_is_completed_by_whoever_looked():
    result = advance(StepState("a", StepStatus.WAITING, fence=1, wait_key="task:1"))
    assert result.report(report("a", Completed(1), owner=None)) is Verdict.APPLIED


def test_wait_that_began_during_cancellation_keeps_what_is_to_be_withdrawn():
    result = advance(running("a"), status=ExecutionStatus.CANCELLING, outcome=ExecutionStatus.CANCELLED)
    result.report(report("a", Waits("task:1", 60)))
    assert (result.steps["a"].status, result.steps["a"].wait_key) == (StepStatus.CANCELLED, "task:1")


def test_what_a_cancelled_step_asked_for_is_withdrawn_without_waiting():
    result = advance(running("a"), status=ExecutionStatus.CANCELLING, outcome=ExecutionStatus.CANCELLED)
    result.report(report("a", Waits("task:1", 60)))
    assert result.steps["a"].look_in_s == 0


@pytest.mark.parametrize(("fence", "owner"), [(0, WORKER), (2, WORKER), (1, OTHER)])
def test_stale_report_changes_nothing(fence, owner):
    result = advance(running("a"))
    assert result.report(report("a", Completed(1), fence, owner)) is Verdict.STALE
    assert result.steps["a"].status is StepStatus.RUNNING
    assert types(result) == ["step.result_refused"]


def test_report_on_an_unknown_step_is_stale():
    assert advance(running("a")).report(report("b", Completed(1))) is Verdict.STALE


def test_report_of_a_waiting_step_that_has_ended_is_not_recorded():
    result = advance(StepState("a", StepStatus.COMPLETED, fence=1), open_steps=0, status=ExecutionStatus.COMPLETED)
    assert result.report(report("a", Completed(1), owner=None)) is Verdict.STALE
    assert result.events == []


def test_report_whose_answer_was_lost_is_known_again():
    done = StepState("a", StepStatus.COMPLETED, fence=1, owner=WORKER)
    result = advance(done, open_steps=0, status=ExecutionStatus.COMPLETED)
    assert result.report(report("a", Completed(1))) is Verdict.REPEATED
    assert result.events == []


def test_lost_lease_returns_the_step_to_the_queue():
    result = advance(running("a"))
    result.report(report("a", LeaseLost()))
    assert (result.steps["a"].status, result.steps["a"].lease_losses) == (StepStatus.READY, 1)


def test_third_lost_lease_fails_the_step():
    result = advance(running("a", lease_losses=2))
    result.report(report("a", LeaseLost()))
    assert result.steps["a"].status is StepStatus.FAILED
    assert result.execution.error["code"] == "lease_lost"


def test_released_attempt_does_not_count():
    result = advance(running("a"))
    result.report(report("a", Released()))
    assert (result.steps["a"].status, result.steps["a"].attempt) == (StepStatus.READY, 0)


def test_cancel_closes_what_is_queued_at_once():
    result = advance(pending("a"), StepState("b", StepStatus.READY), status=ExecutionStatus.PENDING)
    assert cancel(result)
    assert result.execution.status is ExecutionStatus.CANCELLED
    assert types(result) == ["execution.cancel_requested", "step.cancelled", "step.cancelled", "execution.cancelled"]


def test_cancel_waits_for_what_runs():
    result = advance(running("a"), pending("b"))
    cancel(result)
    assert result.execution.status is ExecutionStatus.CANCELLING
    result.report(report("a", Aborted()))
    assert result.execution.status is ExecutionStatus.CANCELLED


def test_result_that_comes_during_cancellation_is_kept():
    result = advance(running("a"))
    cancel(result)
    result.report(report("a", Completed(1)))
    assert result.steps["a"].status is StepStatus.COMPLETED
    assert result.execution.status is ExecutionStatus.CANCELLED


@pytest.mark.parametrize("status", [ExecutionStatus.COMPLETED, ExecutionStatus.FAILED, ExecutionStatus.CANCELLING])
def test_cancel_of_what_ends_or_has_ended_changes_nothing(status):
    result = advance(status=status)
    assert not cancel(result)
    assert result.events == []


@pytest.mark.parametrize(
    ("outcome", "expected"),
    [
        (Completed(1), False),
        (Failed(ERROR, 1.0), False),
        (Failed(ERROR), True),
        (TimedOut(ERROR), True),
        (LeaseLost(), True),
    ],
)
def test_reports_that_may_end_an_execution_need_all_its_steps(outcome, expected):
    assert closes([report("a", outcome)]) is expected
