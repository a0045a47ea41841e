"""Which step comes after which."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from tmws_workflow import graph

SIZES = st.integers(1, 30)


@st.composite
def acyclic(draw: st.DrawFn) -> dict[str, list[str]]:
    """Needs in which each step may need any of the steps made before it, written down in any order."""
    names = [f"s{number}" for number in range(draw(SIZES))]
    needs = {
        name: draw(st.lists(st.sampled_from(names[:place]), unique=True, max_size=4)) if place else []
        for place, name in enumerate(names)
    }
    return {name: needs[name] for name in draw(st.permutations(names))}


@given(acyclic())
def test_every_step_comes_after_its_needs(needs):
    places = {name: place for place, name in enumerate(graph.order(needs))}
    assert all(places[need] < places[name] for name, of in needs.items() for need in of)


@given(acyclic())
def test_order_has_every_step_once(needs):
    assert sorted(graph.order(needs)) == sorted(needs)


@given(acyclic())
def test_acyclic_needs_have_no_circle(needs):
    assert graph.find_circles(needs) == []


@given(acyclic(), st.data())
def test_need_from_above_to_below_closes_a_circle(needs, data):
    order = graph.order(needs)
    last = data.draw(st.sampled_from(order))
    first = data.draw(st.sampled_from(sorted(graph.upstream(needs)[last] | {last})))
    closed = {**needs, first: [*needs[first], last]}
    circle = graph.find_circles(closed)[0]
    assert circle[0] == circle[-1]
    assert all(below in closed[above] for above, below in pairwise(circle))


def test_steps_without_needs_keep_their_order():
    assert graph.order({"b": [], "a": [], "c": []}) == ["b", "a", "c"]


def test_circle_is_named_in_full():
    assert graph.find_circles({"a": ["b"], "b": ["c"], "c": ["a"]}) == [["a", "b", "c", "a"]]


def test_step_that_needs_itself_is_a_circle():
    assert graph.find_circles({"a": ["a"]}) == [["a", "a"]]


def test_two_circles_are_both_named():
    assert len(graph.find_circles({"a": ["b"], "b": ["a"], "c": ["d"], "d": ["c"]})) == 2


def test_five_hundred_steps_in_a_row_are_ordered():
    needs = {f"s{number}": [f"s{number - 1}"] if number else [] for number in range(500)}
    assert graph.find_circles(needs) == []
    assert graph.order(needs)[-1] == "s499"


def test_upstream_reaches_through_other_steps():
    assert graph.upstream({"a": [], "b": ["a"], "c": ["b"]})["c"] == {"a", "b"}


def test_successors_are_the_steps_that_need_it():
    assert graph.successors({"a": [], "b": ["a"], "c": ["a"]}) == {"a": ["b", "c"], "b": [], "c": []}
