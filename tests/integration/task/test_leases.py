"""The life of a claim: kept, given back, lost, and who may still say something."""

import asyncio

import asyncpg
import pytest

from support.postgres import DatabaseUrls
from support.service import ServiceUnderTest, running, settings_for
from support.tasks import Board
from tmws_task.settings import TaskSettings
from tmws_task.worker import build as build_worker

LOST = "urn:tmws:problem:claim-lost"
CLAIMED = "urn:tmws:problem:task-claimed"


@pytest.fixture
def board(task: ServiceUnderTest) -> Board:
    return Board(task)


async def expire(database: DatabaseUrls, task: dict) -> None:
    connection = await asyncpg.connect(database.for_service("task"))
    await connection.execute("UPDATE tasks SET lease_until = now() - interval '1 second' WHERE id = $1", task["id"])
    await connection.close()


async def until_taken_back(board: Board, task: dict, losses: int) -> dict:
    async with asyncio.timeout(10):
        while (seen := await board.get(task["id"]))["lease_losses"] < losses:
            await asyncio.sleep(0.05)
    return seen


async def claimed(board: Board, agent: str = "ada", **fields) -> dict:
    await board.create(**fields)
    (one,) = await board.claim(agent)
    return one


async def test_heartbeat_lengthens_the_lease_and_changes_no_version(board: Board):
    one = await claimed(board)
    lease = (await board.post(one, "heartbeat", claim_token=one["claim_token"], lease_seconds=3600)).json()
    assert lease["lease_until"] > one["lease_until"]
    assert (lease["lease_seconds"], lease["claim_token"]) == (3600, one["claim_token"])
    assert (await board.get(one["id"]))["version"] == one["version"]


async def test_released_task_goes_to_the_next_with_a_word(board: Board):
    one = await claimed(board, "ada")
    released = (await board.post(one, "release", claim_token=one["claim_token"], note="half done")).json()
    assert (released["status"], released["claimed_by"], released["lease_until"]) == ("pending", None, None)
    (again,) = await board.claim("bob")
    assert (again["id"], again["note"]) == (one["id"], "half done")


async def test_progress_is_shown_with_its_note(board: Board):
    one = await claimed(board)
    shown = (await board.post(one, "progress", claim_token=one["claim_token"], progress=40, note="reading")).json()
    assert (shown["progress"], shown["note"], shown["status"]) == (40, "reading", "in_progress")


@pytest.mark.parametrize(
    ("verb", "body"),
    [("heartbeat", {}), ("release", {}), ("progress", {"progress": 1}), ("input", {"question": "?"}),
     ("complete", {}), ("fail", {})],
)  # fmt: skip
async def test_token_of_a_lost_claim_is_refused_everywhere(board: Board, verb: str, body: dict):
    old = await claimed(board, "ada")
    await board.post(old, "release", claim_token=old["claim_token"])
    (new,) = await board.claim("bob")
    answer = await board.post(old, verb, claim_token=old["claim_token"], **body)
    assert (answer.status_code, answer.json()["type"]) == (409, LOST)
    assert (await board.get(new["id"]))["claimed_by"] == "bob"


@pytest.mark.parametrize(
    ("verb", "body"), [("complete", {}), ("fail", {}), ("progress", {"progress": 1}), ("input", {"question": "?"})]
)
async def test_claimed_task_asks_for_its_token(board: Board, verb: str, body: dict):
    one = await claimed(board)
    answer = await board.post(one, verb, **body)
    assert (answer.status_code, answer.json()["type"]) == (409, CLAIMED)


async def test_status_of_a_claimed_task_is_not_put_by_others_but_to_cancel_it(board: Board):
    one = await claimed(board)
    refused = await board.call("PUT", f"/{one['id']}", json={"status": "completed"})
    assert (refused.status_code, refused.json()["type"]) == (409, CLAIMED)
    assert (await board.call("PUT", f"/{one['id']}", json={"status": "cancelled"})).status_code == 200
    late = await board.complete(one)
    assert (late.status_code, late.json()["type"]) == (409, LOST)


async def test_completing_twice_with_the_token_is_the_same_as_once(board: Board):
    one = await claimed(board)
    first, second = await board.complete(one, result={"a": 1}), await board.complete(one, result={"a": 1})
    assert first.status_code == second.status_code == 200
    assert first.json() == second.json()
    assert (first.json()["claimed_by"], first.json()["lease_until"], first.json()["progress"]) == ("ada", None, 100)


async def test_failed_task_is_reopened_for_another_try(board: Board):
    one = await claimed(board)
    failed = (await board.post(one, "fail", claim_token=one["claim_token"], error="no network")).json()
    assert (failed["status"], failed["error"]) == ("failed", "no network")
    reopened = (await board.post(one, "reopen")).json()
    assert (reopened["status"], reopened["ready"], reopened["error"]) == ("pending", True, None)
    assert len(await board.claim("bob")) == 1


async def test_task_that_did_not_end_badly_is_not_reopened(board: Board):
    answer = await board.post(await board.create(), "reopen")
    assert answer.status_code == 409
    assert set(answer.json()["legal"]) == {"in_progress", "input_required", "completed", "failed", "cancelled"}


async def test_question_is_answered_and_the_next_claimer_reads_it(board: Board):
    one = await claimed(board)
    asked = (await board.post(one, "input", claim_token=one["claim_token"], question="Which one?")).json()
    assert (asked["status"], asked["question"], asked["claimed_by"]) == ("input_required", "Which one?", None)
    assert await board.claim("bob") == []
    await board.post(one, "answer", answer="The blue one")
    (again,) = await board.claim("bob")
    assert (again["question"], again["answer"]) == ("Which one?", "The blue one")


async def test_what_does_not_ask_is_not_answered(board: Board):
    answer = await board.post(await board.create(), "answer", answer="42")
    assert answer.status_code == 409


async def test_result_that_does_not_fit_is_refused_and_the_task_stays_claimed(board: Board):
    schema = {"type": "object", "required": ["text"], "properties": {"text": {"type": "string"}, "n": {"maximum": 3}}}
    one = await claimed(board, output_schema=schema)
    refused = await board.complete(one, result={"text": 5, "n": 9})
    assert refused.status_code == 422
    assert {error["pointer"] for error in refused.json()["errors"]} == {"/result/text", "/result/n"}
    assert (await board.get(one["id"]))["claimed_by"] == "ada"
    assert (await board.complete(one, result={"text": "good"})).status_code == 200


async def test_bad_output_schema_is_refused_when_the_task_is_made(board: Board):
    answer = await board.call("POST", json={"title": "x", "output_schema": {"type": "objekt"}})
    assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, "/output_schema/type")


async def test_expired_claim_is_taken_back_and_after_the_third_a_person_is_asked(board: Board, database: DatabaseUrls):
    await board.create()
    async with running(build_worker(settings_for(TaskSettings, "task", database)), "task-worker"):
        for losses in (1, 2, 3):
            (one,) = await board.claim(f"agent-{losses}")
            await expire(database, one)
            seen = await until_taken_back(board, one, losses)
            assert seen["status"] == ("pending" if losses < 3 else "input_required")
    assert "agent-3" in seen["question"]
    assert (await board.complete(one)).json()["type"] == LOST
    answered = (await board.post(one, "answer", answer="Try once more")).json()
    assert (answered["status"], answered["lease_losses"]) == ("pending", 0)


async def test_late_heartbeat_saves_a_claim_that_nobody_took_back(board: Board, database: DatabaseUrls):
    one = await claimed(board)
    await expire(database, one)
    lease = await board.post(one, "heartbeat", claim_token=one["claim_token"])
    assert lease.status_code == 200
    assert (await board.get(one["id"]))["lease_until"] == lease.json()["lease_until"]


@pytest.mark.parametrize(
    "verb", ["heartbeat", "release", "progress", "input", "answer", "complete", "fail", "cancel", "reopen"]
)
async def test_task_of_another_namespace_does_not_exist(board: Board, task: ServiceUnderTest, verb: str):
    one = await claimed(board)
    bodies = {"progress": {"progress": 1}, "input": {"question": "?"}, "answer": {"answer": "!"}}
    token = {} if verb in ("answer", "cancel", "reopen") else {"claim_token": one["claim_token"]}
    answer = await Board(task).post(one, verb, **token, **bodies.get(verb, {}))
    assert answer.status_code == 404
