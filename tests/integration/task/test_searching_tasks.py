"""Finding tasks by words and by where they stand; the order of urgency."""

from typing import Any

import pytest

from support.service import ServiceUnderTest
from support.tasks import Board
from tmws_contracts.common import Page
from tmws_contracts.task import Task


@pytest.fixture
def board(task: ServiceUnderTest) -> Board:
    return Board(task)


async def found(board: Board, **params: Any) -> list[str]:
    answer = await board.call("GET", params=params)
    assert answer.status_code == 200, answer.text
    return [one["title"] for one in answer.json()["items"]]


@pytest.mark.parametrize(
    ("query", "titles"),
    [
        ("migrate", {"Migrate the database"}),
        ("DATABASE migr", {"Migrate the database"}),
        ("data", {"Migrate the database"}),
        ("invoices", {"Write a page"}),
        ("backend", {"Fix the login"}),
        ("page or login", {"Write a page", "Fix the login"}),
        ("the -login", {"Migrate the database", "Write a page"}),
        ('"the login"', {"Fix the login"}),
        ('"login the"', set()),
        ("zebra", set()),
        ("&|!:*()'", set()),
        ("データ", {"データベースの移行"}),
    ],
)
async def test_words_are_found_in_title_description_and_labels(board: Board, query: str, titles: set[str]):
    await board.create(title="Migrate the database")
    await board.create(title="Write a page", description="about the invoices")
    await board.create(title="Fix the login", labels=["backend"])
    await board.create(title="データベースの移行")
    assert set(await found(board, q=query)) == titles


async def test_changed_task_is_found_by_its_new_words(board: Board):
    created = await board.create(title="Alpha")
    await board.call("PATCH", f"/{created['id']}", json={"title": "Beta"})
    assert (await found(board, q="alpha"), await found(board, q="beta")) == ([], ["Beta"])


async def test_blocked_overdue_and_claimed_tasks_are_listed(board: Board):
    first = await board.create(title="first", due_at="2020-01-01T00:00:00Z")
    await board.create(title="second", depends_on=[first["id"]])
    await board.create(title="third")
    await board.claim("ada")
    assert await found(board, blocked=True) == ["second"]
    assert await found(board, overdue=True) == ["first"]
    assert await found(board, claimed_by="ada") == ["first"]
    assert set(await found(board, blocked=False)) == {"first", "third"}
    assert await found(board, status=["input_required", "in_progress"]) == ["first"]


async def test_ready_tasks_come_in_the_order_of_claims(board: Board):
    for priority in ("medium", "low", "urgent", "high"):
        await board.create(title=priority, priority=priority)
    listed = await found(board, ready=True)
    assert listed == ["urgent", "high", "medium", "low"]
    assert [one["title"] for one in await board.claim(limit=10)] == listed


@pytest.mark.parametrize("sort", ["newest", "oldest", "urgency", "priority", "due", "updated"])
async def test_pages_of_every_order_hold_every_task_once(board: Board, sort: str):
    for number in range(7):
        await board.create(title=str(number), priority=("low", "high")[number % 2])
    whole = await found(board, sort=sort)
    titles, cursor = [], None
    while True:
        params = {"sort": sort, "limit": 2, **({"cursor": cursor} if cursor else {})}
        page = (await board.call("GET", params=params)).json()
        titles += [one["title"] for one in page["items"]]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert titles == whole
    assert sorted(titles) == list("0123456")


async def test_tasks_are_answered_as_the_contract_says(board: Board):
    created = await board.create(metadata={"a": 1.5}, output_schema={"type": "object"}, due_at="2030-01-01T00:00:00Z")
    await board.complete(created, result={"b": [None, True]})
    answer = await board.call("GET")
    (listed,) = Page[Task].model_validate_json(answer.content).items
    read = Task.model_validate_json((await board.call("GET", f"/{created['id']}")).content)
    assert listed == read
    assert read.result == {"b": [None, True]}
