"""A call is carried out once, however often it is sent."""

import asyncio

import httpx2
import pytest

from support.scripted_gateway import ScriptedGateway
from tmws_mcp_bridge.client import INTENT_S, MAX_INTENTS, Intents
from tmws_mcp_bridge.errors import InvalidArguments, NoAnswer

TASK_ID = "01940000-0000-7000-8000-000000000001"
TASK = (201, {"id": TASK_ID, "title": "x", "status": "pending"})
BUSY = (503, {"title": "Down", "status": 503, "retryable": True}, {"retry-after": "1"})
CREATE = ("manage_task", {"operation": "create", "task_data": {"title": "x"}})


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch):
    monkeypatch.setattr("tmws_mcp_bridge.client.PAUSES_S", (0.001, 0.001))
    monkeypatch.setattr("tmws_mcp_bridge.client.MAX_PAUSE_S", 0.002)


@pytest.mark.parametrize(
    "failure", [httpx2.RemoteProtocolError("closed"), httpx2.ReadError("reset"), httpx2.ConnectError("refused"), BUSY]
)
async def test_a_retry_carries_the_same_key(failure):
    gateway = ScriptedGateway(failure, TASK)
    async with gateway.client() as client:
        await client.call_tool(*CREATE)
    assert gateway.key(0) == gateway.key(1)


async def test_a_timeout_is_not_waited_for_twice():
    gateway = ScriptedGateway(httpx2.ReadTimeout("slow"))
    async with gateway.client() as client:
        answer = await client.call_tool(*CREATE, raise_on_error=False)
    assert len(gateway.asked) == 1
    assert "never carried out twice" in answer.content[0].text


async def test_the_same_call_after_an_unknown_outcome_has_the_same_key():
    gateway = ScriptedGateway(httpx2.ReadTimeout("slow"), TASK)
    async with gateway.client() as client:
        await client.call_tool(*CREATE, raise_on_error=False)
        await client.call_tool(*CREATE)
    assert gateway.key(0) == gateway.key(1)


async def test_the_same_call_after_an_answer_means_another_task():
    gateway = ScriptedGateway(TASK)
    async with gateway.client() as client:
        await client.call_tool(*CREATE)
        await client.call_tool(*CREATE)
    assert gateway.key(0) != gateway.key(1)


async def test_the_same_call_after_a_refusal_has_another_key():
    gateway = ScriptedGateway((422, {"title": "Invalid", "status": 422}), TASK)
    async with gateway.client() as client:
        await client.call_tool(*CREATE, raise_on_error=False)
        await client.call_tool(*CREATE)
    assert gateway.key(0) != gateway.key(1)


async def test_another_callers_same_call_has_another_key():
    gateway = ScriptedGateway(httpx2.ReadTimeout("slow"), TASK)
    async with gateway.client() as client:
        gateway.authorization = "Bearer one"
        await client.call_tool(*CREATE, raise_on_error=False)
        gateway.authorization = "Bearer two"
        await client.call_tool(*CREATE)
    assert gateway.key(0) != gateway.key(1)


async def test_an_attempt_is_given_up_after_the_third():
    gateway = ScriptedGateway(BUSY)
    async with gateway.client() as client:
        answer = await client.call_tool("semantic_search", {"query": "x"}, raise_on_error=False)
    assert len(gateway.asked) == 3
    assert answer.is_error


async def test_a_refusal_is_not_repeated():
    gateway = ScriptedGateway((404, {"title": "There is no such task here", "status": 404}))
    async with gateway.client() as client:
        await client.call_tool("manage_task", {"operation": "get", "task_data": {"id": TASK_ID}}, raise_on_error=False)
    assert len(gateway.asked) == 1


async def test_a_repeated_delete_that_finds_nothing_has_succeeded():
    gateway = ScriptedGateway(httpx2.ReadError("reset"), (404, {"title": "There is no such task here", "status": 404}))
    async with gateway.client() as client:
        answer = await client.call_tool("manage_task", {"operation": "delete", "task_data": {"id": TASK_ID}})
    assert answer.structured_content == {"deleted": TASK_ID}


async def test_the_credential_is_shown_to_the_gateway():
    gateway = ScriptedGateway((200, {"results": []}))
    gateway.authorization = "Bearer key"
    async with gateway.client() as client:
        await client.call_tool("semantic_search", {"query": "x"})
    assert gateway.asked[0].headers["authorization"] == "Bearer key"


async def test_no_credential_sends_no_header():
    gateway = ScriptedGateway((200, {"results": []}))
    async with gateway.client() as client:
        await client.call_tool("semantic_search", {"query": "x"})
    assert "authorization" not in gateway.asked[0].headers


async def test_a_client_that_gives_up_waiting_joins_the_same_execution():
    accepted = (202, {"execution_id": "e1", "status": "pending"})
    running = (200, {"id": "e1", "status": "running", "steps": [], "output": None, "error": None})
    gateway = ScriptedGateway(accepted, running, running, running)
    execute = ("execute_workflow", {"workflow_id": TASK_ID, "wait_seconds": 0.05})
    async with gateway.client() as client:
        waiting = asyncio.create_task(client.call_tool("execute_workflow", execute[1] | {"wait_seconds": 60}))
        await asyncio.sleep(0.05)
        waiting.cancel()
        await asyncio.wait([waiting])
        gateway.answer_next(accepted)
        await client.call_tool(*execute)
    posts = [request for request in gateway.asked if request.method == "POST"]
    assert len({request.headers["idempotency-key"] for request in posts}) == 1


def test_an_old_intent_is_forgotten():
    now = [0.0]
    intents = Intents(lambda: now[0])
    first = unknown_outcome(intents)
    now[0] = INTENT_S + 1
    assert unknown_outcome(intents) != first


def test_intents_are_bounded():
    intents = Intents()
    first = unknown_outcome(intents, "first")
    for place in range(MAX_INTENTS):
        unknown_outcome(intents, place)
    assert unknown_outcome(intents, "first") != first


def test_a_known_failure_ends_an_intent():
    intents = Intents()
    with pytest.raises(InvalidArguments), intents.once("same") as first:
        raise InvalidArguments("wrong")
    assert unknown_outcome(intents, "same") != first


def unknown_outcome(intents, part="same"):
    with pytest.raises(NoAnswer), intents.once(part) as key:
        raise NoAnswer("http://gateway")
    return key
