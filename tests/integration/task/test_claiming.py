"""Claiming tasks: who gets what, in which order, and that nobody gets what another has."""

import asyncio
from time import monotonic
from typing import Any

import asyncpg
import pytest

from support.postgres import DatabaseUrls
from support.service import SECRET, ServiceUnderTest
from support.tasks import Board
from tmws_contracts.scopes import SCOPES
from tmws_contracts.task_claims import Claimed
from tmws_shared.auth import InternalTokens, Principal
from tmws_task import claiming


@pytest.fixture
def board(task: ServiceUnderTest) -> Board:
    return Board(task)


async def titles(board: Board, **wanted) -> list[str]:
    return [one["title"] for one in await board.claim(limit=10, **wanted)]


async def run_sql(database: DatabaseUrls, statement: str, *values) -> None:
    connection = await asyncpg.connect(database.for_service("task"))
    await connection.execute(statement, *values)
    await connection.close()


async def test_claimed_task_is_in_progress_and_somebodys(board: Board):
    created = await board.create()
    (claimed,) = await board.claim("ada")
    assert (claimed["id"], claimed["status"], claimed["claimed_by"]) == (created["id"], "in_progress", "ada")
    assert claimed["claim_token"] > 0
    assert claimed["lease_until"]
    assert await board.claim("bob") == []


async def test_answer_of_a_claim_is_what_the_contract_says(board: Board):
    await board.create(
        labels=["x"], output_schema={"type": "object"}, metadata={"a": [1]}, due_at="2030-01-01T00:00:00Z"
    )
    answer = await board.try_claim("ada")
    Claimed.model_validate_json(answer.content)


async def test_two_hundred_claimers_share_fifty_tasks_and_none_twice(board: Board):
    batch = [{"op": "create", "title": f"Task {number}"} for number in range(50)]
    await board.call("POST", "/batch", json={"operations": batch})
    answers = await asyncio.gather(*(board.claim(f"agent-{number}") for number in range(200)))
    taken = [one["id"] for answer in answers for one in answer]
    assert len(taken) == len(set(taken)) == 50
    tokens = [one["claim_token"] for answer in answers for one in answer]
    assert len(set(tokens)) == 50


async def test_claims_that_come_together_are_served_in_their_order(board: Board):
    batch = [{"op": "create", "title": f"Task {number}"} for number in range(8)]
    await board.call("POST", "/batch", json={"operations": batch})
    limits = [1, 3, 2, 5, 1]
    claims = [board.claim(f"agent-{place}", limit=limit) for place, limit in enumerate(limits)]
    answers = await asyncio.gather(*claims)
    assert [len(answer) for answer in answers] == [1, 3, 2, 2, 0]
    assert [one["title"] for answer in answers for one in answer] == [f"Task {number}" for number in range(8)]
    holders = {one["claimed_by"] for one in answers[1]}
    assert holders == {"agent-1"}


async def test_completions_that_come_together_each_have_their_own_answer(board: Board):
    created = await asyncio.gather(*(board.create(title=f"Task {number}") for number in range(6)))
    assert [one["title"] for one in created] == [f"Task {number}" for number in range(6)]
    claimed = await board.claim(limit=10)
    claimed[2]["claim_token"] += 1_000
    asked = [*enumerate(claimed), (5, claimed[5])]
    answers = await asyncio.gather(*(board.complete(task, result={"n": number}) for number, task in asked))
    assert [answer.status_code for answer in answers] == [200, 200, 409, 200, 200, 200, 200]
    results = [answer.json()["result"]["n"] for answer in answers if answer.status_code == 200]
    assert results == [0, 1, 3, 4, 5, 5]


async def test_tokens_grow(board: Board):
    await board.create()
    (first,) = await board.claim()
    await board.post(first, "release", claim_token=first["claim_token"])
    (second,) = await board.claim()
    assert second["claim_token"] > first["claim_token"]


async def test_task_of_a_persona_is_only_for_it(board: Board):
    await board.create(title="artemis", assigned_persona="artemis")
    await board.create(title="anybody")
    assert await titles(board, personas=["hera"]) == ["anybody"]
    assert await titles(board, persona="artemis") == ["artemis"]


async def test_claimer_has_all_capabilities_that_a_task_asks_for(board: Board):
    await board.create(title="hard", capabilities=["python", "sql"])
    assert await titles(board, capabilities=["python"]) == []
    assert await titles(board, capabilities=["sql", "python", "go"]) == ["hard"]


async def test_task_has_all_labels_that_a_claimer_asks_for(board: Board):
    await board.create(title="one", labels=["a"])
    await board.create(title="two", labels=["a", "b", "c"])
    assert await titles(board, labels=["a", "b"]) == ["two"]


async def test_blocked_task_is_not_given_before_what_it_waits_for_is_completed(board: Board):
    first = await board.create(title="first")
    await board.create(title="second", depends_on=[first["id"]])
    (claimed,) = await board.claim(limit=10)
    await board.complete(claimed)
    assert await titles(board) == ["second"]


async def test_urgent_comes_first_and_low_last(board: Board):
    for priority in ("low", "urgent", "medium", "high"):
        await board.create(title=priority, priority=priority)
    assert await titles(board) == ["urgent", "high", "medium", "low"]


async def test_among_equals_the_sooner_due_then_what_unblocks_more_then_the_older(board: Board):
    _, _, blocking = [await board.create(title=name) for name in ("older", "newer", "blocking")]
    await board.create(title="waits", priority="low", depends_on=[blocking["id"]])
    await board.create(title="due later", due_at="2031-01-01T00:00:00Z")
    await board.create(title="due now", due_at="2020-01-01T00:00:00Z")
    claimed = await titles(board)
    assert claimed == ["due now", "blocking", "due later", "older", "newer"]


async def test_tasks_of_the_claimers_persona_come_before_those_of_nobody(board: Board):
    await board.create(title="anybody")
    await board.create(title="hera", assigned_persona="hera")
    assert await titles(board, personas=["hera"]) == ["hera", "anybody"]


async def test_what_an_urgent_task_waits_for_is_urgent(board: Board):
    first = await board.create(title="first", priority="low")
    second = await board.create(title="second", priority="low", depends_on=[first["id"]])
    await board.create(title="third", priority="urgent", depends_on=[second["id"]])
    await board.create(title="high", priority="high")
    assert (await board.get(first["id"]))["effective_priority"] == "urgent"
    assert await titles(board) == ["first", "high"]


async def test_old_low_task_passes_a_fresh_high_one_and_never_an_urgent_one(board: Board, database: DatabaseUrls):
    old = await board.create(title="old", priority="low")
    aged = "UPDATE tasks SET created_at = now() - interval '73 hours' WHERE id = $1"
    await run_sql(database, aged, old["id"])
    await board.create(title="high", priority="high")
    await board.create(title="urgent", priority="urgent")
    assert await titles(board) == ["urgent", "old", "high"]


async def test_shares_add_up_to_the_score_and_scores_fall(board: Board):
    await board.create(priority="high", due_at="2020-01-01T00:00:00Z")
    await board.create(assigned_persona="hera")
    await board.create()
    claimed = await board.claim(limit=10, personas=["hera"])
    for one in claimed:
        assert sum(one["score_breakdown"].values()) == pytest.approx(one["score"], abs=0.001)
    scores = [one["score"] for one in claimed]
    assert scores == sorted(scores, reverse=True)
    assert claimed[0]["score_breakdown"]["priority"] == 72
    assert claimed[1]["score_breakdown"]["persona"] == 1


async def test_same_request_gives_the_same_tasks_with_the_same_tokens(board: Board):
    for _ in range(5):
        await board.create()
    answers = await asyncio.gather(*(board.claim("ada", request_id="r1", limit=2) for _ in range(8)))
    given = {tuple((one["id"], one["claim_token"]) for one in answer) for answer in answers}
    assert len(given) == 1
    other = await board.claim("ada", request_id="r2", limit=2)
    assert not {one["id"] for one in other} & {task_id for task_id, _ in next(iter(given))}


async def test_same_request_of_another_agent_is_another_one(board: Board):
    await board.create()
    await board.create()
    (first,), (second,) = await board.claim("ada", request_id="r"), await board.claim("bob", request_id="r")
    assert first["id"] != second["id"]


async def test_claim_sees_nothing_of_another_namespace(board: Board, task: ServiceUnderTest):
    await board.create()
    assert await Board(task).claim() == []


async def test_waiting_claim_is_woken_by_a_new_task(board: Board, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(claiming, "POLL_S", 3600.0)
    waiting = asyncio.create_task(board.claim(wait_seconds=20))
    await asyncio.sleep(0.2)
    created = await board.create()
    (claimed,) = await waiting
    assert claimed["id"] == created["id"]


async def test_waiting_claim_gets_what_a_completion_has_made_ready(board: Board):
    first = await board.create()
    second = await board.create(depends_on=[first["id"]])
    (claimed,) = await board.claim("ada")
    waiting = asyncio.create_task(board.claim("bob", wait_seconds=10))
    await asyncio.sleep(0.2)
    await board.complete(claimed)
    assert [one["id"] for one in await waiting] == [second["id"]]


async def test_claim_that_waits_in_vain_is_answered_empty_in_time(board: Board):
    began = monotonic()
    assert await board.claim(wait_seconds=1) == []
    assert monotonic() - began > 0.9


async def test_fifty_waiting_claims_hold_no_connection(board: Board):
    waiting = [asyncio.create_task(board.claim(f"agent-{number}", wait_seconds=2)) for number in range(50)]
    await asyncio.sleep(0.3)
    assert (await board.call("GET")).status_code == 200
    await board.create()
    taken = [one for answer in await asyncio.gather(*waiting) for one in answer]
    assert len(taken) == 1


@pytest.mark.parametrize(
    ("field", "value"),
    [("limit", 0), ("limit", 11), ("lease_seconds", 29), ("lease_seconds", 3601), ("wait_seconds", 31),
     ("wait_seconds", -1), ("agent_id", ""), ("personas", ["Not a slug"]), ("labels", [""]), ("unknown", 1)],
)  # fmt: skip
async def test_bad_claim_is_refused_by_the_name_of_its_field(board: Board, field: str, value: object):
    answer = (
        await board.try_claim("ada", **{"agent_id": "ada", field: value})
        if field != "agent_id"
        else (await board.call("POST", "/claim", json={"agent_id": value}))
    )
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["pointer"].startswith(f"/{field}")


async def test_claimer_that_has_left_is_given_nothing(board: Board, task: ServiceUnderTest):
    """Over ASGI as a server speaks it: the body, and after a while that the client is gone."""
    token = InternalTokens(SECRET).mint(Principal("tester", board.namespace, SCOPES), "task", "POST")
    messages = [{"type": "http.request", "body": b'{"agent_id": "ada", "wait_seconds": 10}', "more_body": False}]
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return messages.pop() if messages else {"type": "http.disconnect"}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    path = "/api/v1/tasks/claim"
    headers = [(b"authorization", f"Bearer {token}".encode()), (b"content-type", b"application/json")]
    scope = {"type": "http", "method": "POST", "path": path, "raw_path": path.encode(), "query_string": b"",
             "headers": headers, "http_version": "1.1", "scheme": "http", "root_path": ""}  # fmt: skip
    left = asyncio.create_task(task.app(scope, receive, send))
    await asyncio.sleep(0.2)
    created = await board.create()
    await left
    assert (await board.get(created["id"]))["status"] == "pending"
    assert sent[-1]["body"] == b'{"items":[]}'
