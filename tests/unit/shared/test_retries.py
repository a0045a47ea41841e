"""How many requests may be sent again."""

import pytest

from tmws_shared import retries
from tmws_shared.retries import RetryBudget


class Clock:
    def __init__(self) -> None:
        self.time = 1000.0

    def __call__(self) -> float:
        return self.time


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(retries, "monotonic", clock)
    return clock


def taken(budget: RetryBudget, times: int = 1_000) -> int:
    return sum(budget.take() for _ in range(times))


def test_a_tenth_of_all_requests_may_be_sent_again(clock: Clock) -> None:
    budget = RetryBudget()
    taken(budget)
    for _ in range(500):
        budget.note_request()
    assert 49 <= taken(budget) <= 50


def test_some_may_be_sent_again_at_the_start(clock: Clock) -> None:
    assert taken(RetryBudget()) == 10


def test_one_a_second_may_be_sent_again_without_any_traffic(clock: Clock) -> None:
    budget = RetryBudget()
    taken(budget)
    clock.time += 5
    assert taken(budget) == 5


def test_calm_times_do_not_save_up_for_ever(clock: Clock) -> None:
    budget = RetryBudget()
    clock.time += 100_000
    for _ in range(100_000):
        budget.note_request()
    assert taken(budget) == 100
