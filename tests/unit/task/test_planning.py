"""Circles in a batch, and what hangs on what fails."""

from hypothesis import given
from hypothesis import strategies as st

from tmws_task.errors import DependencyCycle, ParentCycle
from tmws_task.planning import Planned, check_circles, in_circles, skip_dependents

GRAPHS = st.dictionaries(st.integers(0, 7), st.lists(st.integers(0, 9), max_size=3, unique=True), max_size=8)


def reaches(edges: dict[int, list[int]], start: int, goal: int) -> bool:
    seen: set[int] = set()
    todo = list(edges.get(start, []))
    while todo:
        here = todo.pop()
        if here == goal:
            return True
        if here not in seen:
            seen.add(here)
            todo.extend(edges.get(here, []))
    return False


@given(GRAPHS)
def test_every_node_of_a_circle_is_found_and_no_others_but_between_two(edges):
    found = in_circles(edges)
    circular = {node for node in edges if reaches(edges, node, node)}
    assert circular <= found
    assert all(
        any(reaches(edges, node, one) for one in circular) and any(reaches(edges, one, node) for one in circular)
        for node in found
    )


@given(GRAPHS)
def test_without_circles_nothing_is_found(edges):
    assert (
        in_circles({node: [target for target in targets if target < node] for node, targets in edges.items()}) == set()
    )


def test_circle_is_named_by_the_pointer_that_closes_it():
    problems = check_circles({0: Planned({1: "/depends_on/1"}, None), 1: Planned({0: "/depends_on/0"}, None)})
    assert isinstance(problems[0], DependencyCycle)
    assert problems[0].errors[0].pointer == "/depends_on/1"


def test_tasks_under_each_other_are_found():
    problems = check_circles({0: Planned({}, 1), 1: Planned({}, 0), 2: Planned({}, 0)})
    assert {place: type(problem) for place, problem in problems.items()} == {0: ParentCycle, 1: ParentCycle}


def test_what_hangs_on_a_failed_one_is_skipped_however_far():
    planned = {1: Planned({0: "/depends_on/0"}, None), 2: Planned({}, 1), 3: Planned({}, None)}
    skipped = skip_dependents(planned, {0})
    assert {place: problem.errors[0].pointer for place, problem in skipped.items()} == {
        1: "/depends_on/0",
        2: "/parent_id",
    }
