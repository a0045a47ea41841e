"""The items of a map."""

from uuid import UUID

from tmws_contracts.common import Priority
from tmws_contracts.workflow import ExecutionStatus, StepStatus
from tmws_workflow.definition import Plan, PlannedStep
from tmws_workflow.engine import (
    Aborted,
    Advance,
    Completed,
    ExecutionState,
    Failed,
    LeaseLost,
    Maps,
    Report,
    StepState,
    TimedOut,
)
from tmws_workflow.engine.control import cancel, retry

EXECUTION, WORKER = UUID(int=1), UUID(int=7)
ERROR = {"code": "x", "message": "no"}


def advance(*steps, is_tolerant=False, **fields):
    inner = PlannedStep("each", "transform", (), {}, is_tolerant=is_tolerant)
    plan = Plan({"each": PlannedStep("each", "map", (), {}, inner=inner)}, {}, None)
    status = fields.pop("status", ExecutionStatus.RUNNING)
    state = ExecutionState(EXECUTION, status, Priority.MEDIUM, fields.pop("open_steps", len(steps)), **fields)
    return Advance(state, {step.path: step for step in steps}, plan)


def the_map(unmet, **fields):
    return StepState("each", StepStatus.WAITING, unmet=unmet, fence=1, attempt=1, wait_key="items", **fields)


def item(number, status=StepStatus.RUNNING):
    fields = {"fence": 1, "attempt": 1, "owner": WORKER} if status is StepStatus.RUNNING else {}
    unmet = 1 if status is StepStatus.PENDING else 0
    return StepState(f"each[{number}]", status, unmet=unmet, map_path="each", item_no=number, **fields)


def report(path, outcome, owner=WORKER):
    return Report(EXECUTION, path, 1, owner, outcome)


def statuses(result):
    return {path: str(step.status) for path, step in result.steps.items()}


def test_map_adds_its_items_and_starts_as_many_as_it_may():
    running = StepState("each", StepStatus.RUNNING, fence=1, attempt=1, owner=WORKER)
    result = advance(running)
    result.report(report("each", Maps(["x", "y", "z"], 2)))
    assert statuses(result) == {"each": "waiting", "each[0]": "ready", "each[1]": "ready", "each[2]": "pending"}
    assert (result.steps["each"].unmet, result.execution.open_steps) == (3, 4)
    assert [result.steps[f"each[{number}]"].input for number in range(3)] == ["x", "y", "z"]


def test_item_that_ends_makes_room_for_the_next():
    result = advance(the_map(3), item(0), item(1, StepStatus.PENDING), item(2, StepStatus.PENDING))
    result.report(report("each[0]", Completed(1)))
    assert statuses(result)["each[1]"] == "ready"
    assert statuses(result)["each[2]"] == "pending"


def test_map_is_looked_at_when_its_last_item_has_ended():
    result = advance(the_map(1), item(4))
    result.report(report("each[4]", Completed(1)))
    assert (result.steps["each"].unmet, result.steps["each"].look_in_s) == (0, 0)
    assert statuses(result)["each"] == "waiting"


def test_failed_item_cancels_those_nobody_runs_and_the_map_waits_for_the_others():
    result = advance(the_map(3), item(0), item(1), item(2, StepStatus.PENDING))
    result.report(report("each[0]", Failed(ERROR)))
    assert statuses(result) == {"each": "waiting", "each[0]": "failed", "each[1]": "running", "each[2]": "cancelled"}
    result.report(report("each[1]", Aborted()))
    assert (statuses(result)["each"], result.execution.status) == ("failed", ExecutionStatus.FAILED)
    assert result.execution.error["item"] == 0


def test_item_of_a_failed_map_is_not_tried_again():
    result = advance(the_map(1, error=ERROR), item(0))
    result.report(report("each[0]", LeaseLost()))
    assert statuses(result) == {"each": "failed", "each[0]": "cancelled"}


def test_tolerated_failure_of_an_item_lets_the_next_start():
    result = advance(the_map(2), item(0), item(1, StepStatus.PENDING), is_tolerant=True)
    result.report(report("each[0]", Failed(ERROR)))
    assert statuses(result) == {"each": "waiting", "each[0]": "failed", "each[1]": "ready"}


def test_timeout_of_a_map_cancels_its_items():
    result = advance(the_map(2), item(0, StepStatus.READY), item(1, StepStatus.PENDING))
    result.report(report("each", TimedOut(ERROR), owner=None))
    assert statuses(result) == {"each": "timed_out", "each[0]": "cancelled", "each[1]": "cancelled"}
    assert result.execution.status is ExecutionStatus.TIMED_OUT


def test_cancel_closes_the_map_and_what_runs_ends_by_itself():
    result = advance(the_map(2), item(0), item(1, StepStatus.PENDING))
    cancel(result)
    assert statuses(result) == {"each": "cancelled", "each[0]": "running", "each[1]": "cancelled"}
    result.report(report("each[0]", Completed(1)))
    assert result.execution.status is ExecutionStatus.CANCELLED


def test_retry_keeps_completed_items_and_the_map_adds_only_the_others():
    steps = [StepState("each", StepStatus.FAILED, fence=1), item(0, StepStatus.COMPLETED), item(1, StepStatus.FAILED)]
    result = advance(*steps, open_steps=0, status=ExecutionStatus.FAILED, outcome=ExecutionStatus.FAILED)
    retry(result, None)
    assert result.removed == ["each[1]"]
    each = result.steps["each"]
    each.status, each.owner = StepStatus.RUNNING, WORKER
    result.report(report("each", Maps(["x", "y"], 5)))
    assert statuses(result) == {"each": "waiting", "each[0]": "completed", "each[1]": "ready"}
    assert (each.unmet, result.steps["each[1]"].run) == (1, 1)
