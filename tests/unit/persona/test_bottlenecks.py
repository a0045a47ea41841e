"""Which tasks hold up most others."""

from typing import Any

from tmws_persona.duties.bottlenecks import waiting_for


def task(name: str, *needs: str) -> dict[str, Any]:
    return {"id": name, "depends_on": list(needs)}


def test_tasks_that_wait_through_others_count() -> None:
    assert waiting_for([task("b", "a"), task("c", "b"), task("d", "c")]) == {"a": 3, "b": 2, "c": 1}


def test_task_that_waits_in_two_ways_counts_once() -> None:
    assert waiting_for([task("b", "a"), task("c", "a"), task("d", "b", "c")])["a"] == 3


def test_nothing_blocked_means_nothing_blocks() -> None:
    assert waiting_for([]) == {}
