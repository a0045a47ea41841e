"""Where a task may go from where it stands."""

import pytest

from tmws_contracts.task import TaskStatus
from tmws_contracts.task_history import TaskAction
from tmws_task.merging import merge_patch
from tmws_task.states import FINISHED, LEGAL, action_of, consequences


def test_every_status_says_where_it_leads():
    assert set(LEGAL) == set(TaskStatus)
    assert all(status not in after for status, after in LEGAL.items())


def test_completed_is_final():
    assert LEGAL[TaskStatus.COMPLETED] == ()


@pytest.mark.parametrize(("before", "after"), [(before, after) for before in LEGAL for after in LEGAL[before]])
def test_every_transition_ends_the_lease(before: TaskStatus, after: TaskStatus):
    assert consequences(before, after)["lease_until"] is None


@pytest.mark.parametrize("before", sorted(FINISHED - {TaskStatus.COMPLETED}))
def test_reopened_task_begins_anew(before: TaskStatus):
    assert action_of(before, TaskStatus.PENDING) is TaskAction.REOPENED
    assert consequences(before, TaskStatus.PENDING)["lease_losses"] == 0


def test_merge_patch_is_that_of_the_rfc():
    target = {"a": "b", "c": {"d": "e", "f": "g"}, "h": [1]}
    assert merge_patch(target, {"a": "z", "c": {"f": None}, "h": [2, 3]}) == {"a": "z", "c": {"d": "e"}, "h": [2, 3]}
