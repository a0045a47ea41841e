"""What people do to an execution: pause, resume, retry; and steps whose failure is not the end."""

from uuid import UUID

import pytest

from tmws_contracts.common import Priority
from tmws_contracts.workflow import ExecutionStatus, StepStatus
from tmws_workflow.definition import Plan, PlannedStep
from tmws_workflow.engine import (
    Adoption,
    Advance,
    Completed,
    ExecutionState,
    Failed,
    LeaseLost,
    OutcomeUnknown,
    Released,
    Report,
    StepState,
    TimedOut,
)
from tmws_workflow.engine.control import cancel, pause, resume, retry
from tmws_workflow.graph import successors

EXECUTION, WORKER = UUID(int=1), UUID(int=7)
ERROR = {"code": "x", "message": "no"}


def planned(name, *needs, **fields):
    return PlannedStep(name, "transform", needs, {}, **fields)


def advance(steps, *plan, status=ExecutionStatus.RUNNING, adoption=None, **fields):
    is_open = {StepStatus.PENDING, StepStatus.READY, StepStatus.RUNNING, StepStatus.WAITING}
    open_steps = sum(step.status in is_open for step in steps)
    state = ExecutionState(EXECUTION, status, Priority.MEDIUM, open_steps, **fields)
    needs = {step.id: step.needs for step in plan}
    whole = Plan({step.id: step for step in plan}, {k: tuple(v) for k, v in successors(needs).items()}, None)
    return Advance(state, {step.path: step for step in steps}, whole, adoption)


def running(path, **fields):
    return StepState(path, StepStatus.RUNNING, attempt=1, fence=1, owner=WORKER, **fields)


def report(path, outcome, owner=WORKER):
    return Report(EXECUTION, path, 1, owner, outcome)


def types(result):
    return [event.type for event in result.events]


def test_pause_takes_ready_steps_out_of_the_queue():
    result = advance([StepState("a", StepStatus.READY), running("b"), StepState("c", StepStatus.WAITING)])
    assert pause(result)
    statuses = [result.steps[name].status for name in "abc"]
    assert statuses == [StepStatus.PENDING, StepStatus.RUNNING, StepStatus.WAITING]
    assert result.execution.status is ExecutionStatus.PAUSED


def test_nothing_starts_while_paused_even_where_there_is_room():
    steps = [running("a"), StepState("b", StepStatus.PENDING, unmet=1)]
    plan = [planned("a"), planned("b", "a")]
    result = advance(steps, *plan, status=ExecutionStatus.PAUSED, adoption=Adoption(WORKER, 5))
    result.report(report("a", Completed(1)))
    assert (result.steps["b"].status, result.steps["b"].unmet) == (StepStatus.PENDING, 0)
    assert (result.adopted, result.left_ready) == ([], 0)


@pytest.mark.parametrize("outcome", [Failed(ERROR, 1.0), LeaseLost(), Released()])
def test_step_that_would_be_queued_again_is_held_back_while_paused(outcome):
    result = advance([running("a")], planned("a"), status=ExecutionStatus.PAUSED)
    result.report(report("a", outcome))
    assert (result.steps["a"].status, result.left_ready) == (StepStatus.PENDING, 0)


def test_step_held_back_can_time_out():
    result = advance([StepState("a", StepStatus.PENDING, fence=1)], planned("a"), status=ExecutionStatus.PAUSED)
    result.report(report("a", TimedOut(ERROR), owner=None))
    assert result.execution.status is ExecutionStatus.TIMED_OUT


def test_resume_queues_what_was_held_back_and_nothing_else():
    held, later = StepState("a", StepStatus.PENDING), StepState("b", StepStatus.PENDING, unmet=1)
    result = advance([held, later], status=ExecutionStatus.PAUSED)
    assert resume(result)
    assert [result.steps[name].status for name in "ab"] == [StepStatus.READY, StepStatus.PENDING]
    assert (result.execution.status, result.left_ready) == (ExecutionStatus.RUNNING, 1)


def test_resumed_execution_that_never_started_is_pending():
    result = advance([], status=ExecutionStatus.PAUSED, has_started=False)
    resume(result)
    assert result.execution.status is ExecutionStatus.PENDING


@pytest.mark.parametrize("status", [ExecutionStatus.CANCELLING, ExecutionStatus.COMPLETED, ExecutionStatus.PAUSED])
def test_pause_of_what_does_not_run_changes_nothing(status):
    result = advance([], status=status)
    assert not pause(result)
    assert result.events == []


def test_tolerated_failure_lets_successors_run():
    steps = [running("a"), StepState("b", StepStatus.PENDING, unmet=1)]
    result = advance(steps, planned("a", is_tolerant=True), planned("b", "a"))
    result.report(report("a", Failed(ERROR)))
    assert (result.steps["a"].status, result.steps["a"].error) == (StepStatus.FAILED, ERROR)
    assert result.steps["b"].status is StepStatus.READY
    assert result.execution.outcome is None


def test_execution_completes_after_a_tolerated_failure():
    result = advance([running("a")], planned("a", is_tolerant=True))
    result.report(report("a", TimedOut(ERROR)))
    assert (result.execution.status, result.execution.error) == (ExecutionStatus.COMPLETED, None)


def test_lost_lease_of_a_step_that_runs_at_most_once_is_final():
    result = advance([running("a")], planned("a", is_at_most_once=True))
    result.report(report("a", LeaseLost()))
    assert result.steps["a"].status is StepStatus.OUTCOME_UNKNOWN
    assert result.execution.status is ExecutionStatus.FAILED


def test_unknown_outcome_may_be_tolerated():
    result = advance([running("a")], planned("a", is_at_most_once=True, is_tolerant=True))
    result.report(report("a", OutcomeUnknown(ERROR)))
    assert result.steps["a"].status is StepStatus.OUTCOME_UNKNOWN
    assert result.execution.status is ExecutionStatus.COMPLETED


CHAIN = [planned("a"), planned("b", "a"), planned("c", "b")]


def chain(**statuses):
    return [StepState(path, status, fence=1, attempt=1) for path, status in statuses.items()]


def failed_chain():
    return chain(a=StepStatus.COMPLETED, b=StepStatus.FAILED, c=StepStatus.CANCELLED)


def ended(steps, **fields):
    return advance(steps, *CHAIN, status=ExecutionStatus.FAILED, outcome=ExecutionStatus.FAILED, error=ERROR, **fields)


def test_retry_runs_what_failed_and_what_was_cancelled():
    result = ended(failed_chain())
    assert retry(result, None)
    statuses = [result.steps[name].status for name in "abc"]
    assert statuses == [StepStatus.COMPLETED, StepStatus.READY, StepStatus.PENDING]
    assert [result.steps[name].unmet for name in "bc"] == [0, 1]
    assert (result.execution.status, result.execution.open_steps) == (ExecutionStatus.RUNNING, 2)
    assert (result.execution.outcome, result.execution.error) == (None, None)


def test_retried_step_keeps_its_key_and_its_fence_and_forgets_its_attempts():
    result = ended(failed_chain())
    retry(result, None)
    step = result.steps["b"]
    assert (step.run, step.fence, step.attempt, step.error) == (0, 1, 0, None)


def test_step_that_waited_gets_a_new_key():
    steps = failed_chain()
    steps[1].wait_key = "task:1"
    result = ended(steps)
    retry(result, None)
    assert (result.steps["b"].run, result.steps["b"].wait_key) == (1, None)


def test_retry_from_a_finished_step_runs_all_after_it_anew():
    result = ended(failed_chain())
    retry(result, "a")
    assert [result.steps[name].run for name in "abc"] == [1, 1, 1]
    assert result.steps["a"].status is StepStatus.READY


def test_retry_from_the_failed_step_keeps_its_key():
    result = ended(failed_chain())
    retry(result, "b")
    assert [result.steps[name].run for name in "abc"] == [0, 0, 1]


def test_tolerated_failure_is_not_run_again():
    plan = [planned("a", is_tolerant=True), planned("b")]
    steps = chain(a=StepStatus.FAILED, b=StepStatus.FAILED)
    result = advance(steps, *plan, status=ExecutionStatus.FAILED, outcome=ExecutionStatus.FAILED)
    retry(result, None)
    assert [result.steps[name].status for name in "ab"] == [StepStatus.FAILED, StepStatus.READY]


def test_retry_counts():
    result = ended(failed_chain(), retries=2)
    retry(result, None)
    assert result.execution.retries == 3
    assert types(result)[0] == "execution.retried"


@pytest.mark.parametrize("status", [ExecutionStatus.RUNNING, ExecutionStatus.COMPLETED, ExecutionStatus.CANCELLING])
def test_retry_of_what_did_not_fail_changes_nothing(status):
    result = advance([], status=status)
    assert not retry(result, None)
    assert result.events == []


def test_cancelled_execution_whose_steps_all_completed_completes_when_retried():
    result = advance(
        chain(a=StepStatus.COMPLETED), planned("a"), status=ExecutionStatus.CANCELLED, outcome=ExecutionStatus.CANCELLED
    )
    retry(result, None)
    assert result.execution.status is ExecutionStatus.COMPLETED


def test_cancel_of_a_paused_execution_ends_what_was_held_back():
    result = advance([StepState("a", StepStatus.PENDING)], planned("a"), status=ExecutionStatus.PAUSED)
    assert cancel(result)
    assert result.execution.status is ExecutionStatus.CANCELLED
