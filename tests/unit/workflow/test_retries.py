"""When a failed step is tried again."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tmws_workflow.retries import RetryPolicy

POLICY = RetryPolicy(max_attempts=4, initial_s=1, factor=2, max_s=3, jitter=0.5)


@pytest.mark.parametrize(("attempt", "delay_s"), [(1, 1), (2, 2), (3, 3)])
def test_delay_grows_by_its_factor_up_to_its_maximum(attempt, delay_s):
    assert POLICY.delay_s(attempt, None, 0) == delay_s


def test_last_attempt_is_not_tried_again():
    assert POLICY.delay_s(4, None, 0) is None


def test_jitter_takes_at_most_its_share():
    assert POLICY.delay_s(1, None, 0.999) == pytest.approx(0.5, abs=0.01)


def test_retry_after_is_the_least_delay():
    assert POLICY.delay_s(1, 30, 0.9) == 30


@given(st.integers(1, 99), st.floats(1, 10), st.floats(0, 0.999))
def test_delay_never_exceeds_the_maximum(attempt, factor, chance):
    policy = RetryPolicy(max_attempts=100, initial_s=1, factor=factor, max_s=60)
    assert 0 < policy.delay_s(attempt, None, chance) <= 60
