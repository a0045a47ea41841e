"""How urgent a task is for the sake of those that wait for it."""

from itertools import pairwise
from uuid import UUID, uuid4

from hypothesis import given
from hypothesis import strategies as st

from tmws_contracts.common import Priority
from tmws_task.inheritance import Inherited, Node, inherit

PRIORITIES = list(Priority)


@st.composite
def graphs(draw):
    """Tasks in an order in which each waits only for those before it, as (priorities, edges waiting -> awaited)."""
    priorities = draw(st.lists(st.sampled_from(PRIORITIES), min_size=1, max_size=12))
    pairs = [(later, earlier) for later in range(len(priorities)) for earlier in range(later)]
    return priorities, draw(st.sets(st.sampled_from(pairs)) if pairs else st.just(set()))


def nodes_of(priorities: list[Priority], edges: set[tuple[int, int]]) -> tuple[list[UUID], dict[UUID, Node]]:
    ids = [uuid4() for _ in priorities]
    # What is known of a node that waits is wrong on purpose: it is to be worked out.
    waiting = {
        place: {ids[later]: Priority.LOW for later, earlier in edges if earlier == place} for place in range(len(ids))
    }
    return ids, {ids[place]: Node(priority, waiting[place]) for place, priority in enumerate(priorities)}


@given(graphs())
def test_task_is_as_urgent_as_the_most_urgent_that_waits_for_it_directly_or_not(graph):
    priorities, edges = graph
    ids, nodes = nodes_of(priorities, edges)
    found = inherit(nodes)
    for place in range(len(priorities)):
        above, todo = {place}, [place]
        while todo:
            here = todo.pop()
            fresh = {later for later, earlier in edges if earlier == here} - above
            above |= fresh
            todo.extend(fresh)
        expected = max((priorities[one] for one in above), key=PRIORITIES.index)
        assert found[ids[place]] == Inherited(expected, sum(earlier == place for _, earlier in edges))


def test_what_is_no_node_counts_as_it_is_known():
    task, outside = uuid4(), uuid4()
    found = inherit({task: Node(Priority.LOW, {outside: Priority.HIGH})})
    assert found == {task: Inherited(Priority.HIGH, 1)}


def test_a_chain_of_ten_thousand_is_no_matter():
    ids = [uuid4() for _ in range(10_000)]
    nodes = {one: Node(Priority.LOW, {after: Priority.LOW}) for one, after in pairwise(ids)}
    nodes[ids[-1]] = Node(Priority.URGENT)
    assert {one.priority for one in inherit(nodes).values()} == {Priority.URGENT}
