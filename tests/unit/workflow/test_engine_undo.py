"""What completed is undone, one after the other, before an execution ends badly."""

from uuid import UUID

from tmws_contracts.common import Priority
from tmws_contracts.workflow import ExecutionStatus, StepStatus
from tmws_workflow.definition import Plan, PlannedStep
from tmws_workflow.engine import Advance, Completed, ExecutionState, Failed, LeaseLost, Report, StepState
from tmws_workflow.engine.control import cancel, pause, resume, retry

EXECUTION, WORKER = UUID(int=1), UUID(int=7)
ERROR = {"code": "x", "message": "no"}


def planned(name):
    undo = PlannedStep(f"{name}~undo", "transform", (), {})
    return PlannedStep(name, "transform", (), {}, undo=undo)


PLAN = Plan({name: planned(name) for name in "abc"} | {"x": PlannedStep("x", "transform", (), {})}, {}, None)


def running(path, **fields):
    return StepState(path, StepStatus.RUNNING, attempt=1, fence=1, owner=WORKER, **fields)


def advance(*steps, completed=(), **fields):
    given = {"status": ExecutionStatus.RUNNING, "priority": Priority.MEDIUM, "open_steps": len(steps)}
    state = ExecutionState(EXECUTION, **(given | fields))
    return Advance(state, {step.path: step for step in steps}, PLAN, completed=completed)


def report(path, outcome):
    return Report(EXECUTION, path, 1, WORKER, outcome)


def undo(path, status, place):
    return StepState(path, status, unmet=status is StepStatus.PENDING, place=place, fence=1, attempt=1, owner=WORKER)


def test_last_completed_step_is_undone_first():
    result = advance(running("x"), completed=["a", "b"])
    result.report(report("x", Failed(ERROR)))
    assert (result.steps["b~undo"].status, result.steps["a~undo"].status) == (StepStatus.READY, StepStatus.PENDING)
    assert (result.execution.status, result.execution.outcome) == (ExecutionStatus.RUNNING, ExecutionStatus.FAILED)
    assert result.execution.open_steps == 2


def test_undoing_waits_for_what_still_runs_and_undoes_it_too():
    result = advance(running("x"), running("c"), completed=["a"])
    result.report(report("x", Failed(ERROR)))
    assert "a~undo" not in result.steps
    result.report(report("c", Completed(1)))
    assert result.steps["c~undo"].status is StepStatus.READY


def test_execution_ends_after_the_last_compensation():
    steps = [undo("b~undo", StepStatus.RUNNING, 10_000), undo("a~undo", StepStatus.PENDING, 10_001)]
    result = advance(*steps, outcome=ExecutionStatus.FAILED, completed=["a", "b"])
    result.report(report("b~undo", Completed(1)))
    assert result.steps["a~undo"].status is StepStatus.READY
    assert result.execution.status is ExecutionStatus.RUNNING
    result.steps["a~undo"].status = StepStatus.RUNNING
    result.report(report("a~undo", Completed(1)))
    assert result.execution.status is ExecutionStatus.FAILED


def test_failed_compensation_does_not_stop_the_next_nor_change_the_outcome():
    steps = [undo("b~undo", StepStatus.RUNNING, 10_000), undo("a~undo", StepStatus.PENDING, 10_001)]
    result = advance(*steps, outcome=ExecutionStatus.CANCELLED, status=ExecutionStatus.CANCELLING)
    result.report(report("b~undo", Failed(ERROR)))
    assert result.steps["a~undo"].status is StepStatus.READY
    assert result.execution.outcome is ExecutionStatus.CANCELLED


def test_compensation_is_tried_again_although_the_execution_is_to_end():
    result = advance(undo("a~undo", StepStatus.RUNNING, 10_000), outcome=ExecutionStatus.FAILED)
    result.report(report("a~undo", LeaseLost()))
    assert result.steps["a~undo"].status is StepStatus.READY


def test_cancel_does_not_touch_what_is_being_undone():
    result = advance(undo("a~undo", StepStatus.RUNNING, 10_000), outcome=ExecutionStatus.FAILED)
    assert not cancel(result)
    assert result.events == []


def test_cancel_of_what_is_queued_undoes_what_completed():
    result = advance(StepState("c", StepStatus.READY), completed=["a"])
    cancel(result)
    assert (result.execution.status, result.steps["a~undo"].status) == (ExecutionStatus.CANCELLING, StepStatus.READY)


def test_paused_execution_undoes_nothing_until_it_is_resumed():
    result = advance(running("x"), completed=["a"])
    pause(result)
    result.report(report("x", Failed(ERROR)))
    assert result.steps["a~undo"].status is StepStatus.PENDING
    resume(result)
    assert result.steps["a~undo"].status is StepStatus.READY


def test_retry_forgets_compensations_and_runs_what_was_undone_again():
    steps = [
        StepState("a", StepStatus.COMPLETED),
        StepState("b", StepStatus.COMPLETED),
        StepState("c", StepStatus.COMPLETED),
        StepState("x", StepStatus.FAILED),
        StepState("b~undo", StepStatus.FAILED),
        StepState("a~undo", StepStatus.COMPLETED),
    ]
    result = advance(*steps, open_steps=0, status=ExecutionStatus.FAILED, outcome=ExecutionStatus.FAILED)
    retry(result, None)
    assert sorted(result.removed) == ["a~undo", "b~undo"]
    assert {name: step.run for name, step in result.steps.items() if step.status is StepStatus.READY} == {
        "a": 1,
        "x": 0,
    }


def test_second_compensation_of_a_step_has_another_key():
    result = advance(running("x"), completed=["a"], retries=1)
    result.report(report("x", Failed(ERROR)))
    assert result.steps["a~undo"].run == 1
