"""An agent is given a task and reports on it."""

import httpx2
import pytest
from fastmcp.exceptions import ToolError

from support.scripted_gateway import ScriptedGateway
from tmws_mcp_bridge.tools.claim import ASKED, NOTHING_READY

TASK_ID = "01940000-0000-7000-8000-000000000001"
TASK = {"id": TASK_ID, "title": "Write", "status": "in_progress", "namespace": "default"}
CLAIMED = (200, {"items": [{**TASK, "claim_token": 7, "score": 3.0, "score_breakdown": {"age": 3.0}}]})
NOTHING = (200, {"items": []})
LEASE = (200, {"id": TASK_ID, "claim_token": 7, "lease_until": "2026-05-01T00:00:00Z", "lease_seconds": 300})


async def report(gateway, **arguments):
    async with gateway.client() as client:
        answer = await client.call_tool("report_task", {"task_id": TASK_ID, "claim_token": 7, **arguments})
    return answer.structured_content


async def test_a_claim_gives_a_task_and_its_token():
    gateway = ScriptedGateway(CLAIMED)
    async with gateway.client() as client:
        answer = await client.call_tool("claim_task", {"personas": ["muses"], "agent_id": "ada"})
    shown = {"id": TASK_ID, "title": "Write", "status": "in_progress", "claim_token": 7}
    assert answer.structured_content == {"claimed": True, "task": shown}
    assert (gateway.body()["personas"], gateway.body()["agent_id"]) == (["muses"], "ada")


@pytest.mark.parametrize(
    ("given", "name"),
    [({"personas": ["muses"]}, "muses"), ({"personas": ["muses"], "agent_id": "ada"}, "ada")],
)
async def test_who_claims_as_one_persona_has_its_name(given, name):
    gateway = ScriptedGateway(CLAIMED)
    async with gateway.client() as client:
        await client.call_tool("claim_task", given)
        await client.call_tool("manage_task", {"operation": "claim", "task_data": given})
    assert [gateway.body(0)["agent_id"], gateway.body(1)["agent_id"]] == [name, name]


@pytest.mark.parametrize("given", [{}, {"personas": ["muses", "hera"]}])
async def test_who_claims_for_several_or_nobody_has_a_name_of_its_own(given):
    gateway = ScriptedGateway(CLAIMED)
    async with gateway.client() as client:
        await client.call_tool("claim_task", given)
    assert gateway.body()["agent_id"].startswith("mcp-")


async def test_who_asks_is_told_that_the_claim_has_ended():
    gateway = ScriptedGateway((200, TASK))
    assert (await report(gateway, report="question", text="Which one?"))["next"] == ASKED


async def test_a_claim_without_a_task_says_what_to_do():
    async with ScriptedGateway(NOTHING).client() as client:
        answer = await client.call_tool("claim_task", {})
    assert answer.structured_content == {"claimed": False, "next": NOTHING_READY}


async def test_a_claim_waits_in_pieces_and_tells_so():
    told = []

    async def keep(progress, total, message):
        told.append((total, message))

    gateway = ScriptedGateway(NOTHING, CLAIMED)
    async with gateway.client(progress_handler=keep) as client:
        answer = await client.call_tool("claim_task", {"wait_seconds": 60})
    assert answer.structured_content["claimed"] is True
    assert told == [(60, "no task is ready yet")]
    assert gateway.body(0)["wait_seconds"] == 20
    assert gateway.body(0)["request_id"] == gateway.body(1)["request_id"]


async def test_a_claim_after_an_unknown_outcome_asks_for_the_same_task():
    gateway = ScriptedGateway(httpx2.ReadTimeout("slow"), CLAIMED)
    async with gateway.client() as client:
        await client.call_tool("claim_task", {}, raise_on_error=False)
        await client.call_tool("claim_task", {})
    assert gateway.body(0)["request_id"] == gateway.body(1)["request_id"]


async def test_reported_progress_renews_the_lease():
    gateway = ScriptedGateway((200, TASK), LEASE)
    answer = await report(gateway, report="progress", progress=40, text="Half of it")
    assert gateway.body(0) == {"claim_token": 7, "progress": 40, "note": "Half of it"}
    assert gateway.asked[1].url.path == f"/api/v1/tasks/{TASK_ID}/heartbeat"
    assert answer["lease_until"] == "2026-05-01T00:00:00Z"


@pytest.mark.parametrize(
    ("arguments", "path", "body"),
    [
        ({"report": "result", "result": {"pr": 12}}, "complete", {"claim_token": 7, "result": {"pr": 12}}),
        ({"report": "failure", "text": "No access"}, "fail", {"claim_token": 7, "error": "No access"}),
        ({"report": "question", "text": "Which?"}, "input", {"claim_token": 7, "question": "Which?"}),
        ({"report": "release", "text": "Not mine"}, "release", {"claim_token": 7, "note": "Not mine"}),
    ],
)
async def test_each_report_has_its_step(arguments, path, body):
    gateway = ScriptedGateway((200, TASK))
    await report(gateway, **arguments)
    assert gateway.asked[0].url.path == f"/api/v1/tasks/{TASK_ID}/{path}"
    assert gateway.body() == body
    assert gateway.key()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"report": "progress"}, "progress is required to report progress."),
        ({"report": "question"}, "text is required to report question."),
        ({"report": "result", "text": "Done"}, "text is not used to report result."),
        ({"report": "failure", "text": "x", "result": {}}, "result is not used to report failure."),
        ({"report": "release", "progress": 3}, "progress is not used to report release."),
        ({"report": "nope"}, "report must be 'progress', 'result', 'failure', 'question' or 'release'."),
    ],
)
async def test_a_report_that_makes_no_sense_is_refused(arguments, message):
    gateway = ScriptedGateway((500, {}))
    with pytest.raises(ToolError) as raised:
        await report(gateway, **arguments)
    assert str(raised.value) == message
    assert gateway.asked == []
