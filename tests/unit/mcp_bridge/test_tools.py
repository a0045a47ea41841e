"""What the tools ask of the gateway and what they show of its answer."""

import pytest

from support.scripted_gateway import ScriptedGateway

TASK_ID = "01940000-0000-7000-8000-000000000001"
TASK = {
    "id": TASK_ID, "namespace": "default", "title": "Write", "description": None, "status": "pending",
    "priority": "medium", "metadata": {}, "labels": [], "ready": True, "blocked": False, "version": 1,
}  # fmt: skip
SIGNALS = {"semantic": 0.43219, "keyword": 0.0}
MEMORY = {"id": "m1", "namespace": "default", "content": "Deploys at six", "score": 0.80004, "similarity": 0.7,
          "tags": [], "signals": SIGNALS, "source": "athena", "embedding_model": "m"}  # fmt: skip
STEP = {"id": "a", "uses": "transform", "needs": [], "status": "completed", "attempt": 1, "waiting_for": None,
        "output": {"big": 1}, "error": None}  # fmt: skip
EXECUTION_ID = "01940000-0000-7000-8000-000000000002"
WORKFLOW_ID = "01940000-0000-7000-8000-000000000003"
RUNNING = {
    "id": EXECUTION_ID,
    "status": "running",
    "steps": [STEP | {"status": "running"}],
    "output": None,
    "error": None,
}
COMPLETED = {"id": EXECUTION_ID, "status": "completed", "steps": [STEP], "output": {"x": 1}, "error": None}
ACCEPTED = (202, {"execution_id": EXECUTION_ID, "status": "pending"})


async def test_listing_tools_asks_the_gateway_nothing():
    gateway = ScriptedGateway((500, {}))
    async with gateway.client() as client:
        await client.list_tools()
    assert gateway.asked == []


async def test_search_leaves_the_threshold_to_the_service_unless_given():
    gateway = ScriptedGateway((200, {"results": []}))
    async with gateway.client() as client:
        await client.call_tool("semantic_search", {"query": "deploy"})
    assert gateway.body() == {"query": "deploy", "limit": 10}


async def test_search_shows_content_and_score_without_empty_fields():
    async with ScriptedGateway((200, {"results": [MEMORY]})).client() as client:
        answer = await client.call_tool("semantic_search", {"query": "deploy"})
    shown = {"id": "m1", "content": "Deploys at six", "score": 0.8, "similarity": 0.7, "source": "athena"}
    assert answer.structured_content == {"results": [shown | {"signals": {"semantic": 0.432}}]}


async def test_search_says_when_it_was_degraded():
    async with ScriptedGateway((200, {"results": [], "degraded": ["semantic"]})).client() as client:
        answer = await client.call_tool("semantic_search", {"query": "deploy"})
    assert answer.structured_content["degraded"] == ["semantic"]


async def test_store_sends_defaults_and_a_key():
    gateway = ScriptedGateway((201, MEMORY))
    async with gateway.client() as client:
        await client.call_tool("store_memory", {"content": "x"})
    assert gateway.body() == {"content": "x", "importance": 0.5, "metadata": {}}
    assert gateway.key()


async def test_a_persona_keeps_what_it_tags_for_itself():
    gateway = ScriptedGateway((201, MEMORY))
    kept = {"content": "x", "tags": ["pinned"], "persona_id": "athena"}
    async with gateway.client() as client:
        await client.call_tool("store_memory", {**kept, "private": True})
    assert gateway.body() == {**kept, "visibility": "private", "importance": 0.5, "metadata": {}}


async def test_create_sends_only_the_fields_given():
    gateway = ScriptedGateway((201, TASK))
    async with gateway.client() as client:
        await client.call_tool("manage_task", {"operation": "create", "task_data": {"title": "Write"}})
    assert gateway.body() == {"title": "Write"}


COMMENTS = f"/api/v1/tasks/{TASK_ID}/comments"


async def test_a_comment_is_said_once():
    gateway = ScriptedGateway((201, {"id": "c1", "author": "eris", "body": "Do you need help?"}))
    said = {"operation": "comment", "task_data": {"id": TASK_ID, "body": "Do you need help?"}}
    async with gateway.client() as client:
        answer = await client.call_tool("manage_task", said)
    assert answer.structured_content["comments"][0]["author"] == "eris"
    assert (gateway.asked[0].method, gateway.asked[0].url.path) == ("POST", COMMENTS)
    assert gateway.body() == {"body": "Do you need help?"}
    assert gateway.key()


async def test_comments_are_listed_when_nothing_is_said():
    gateway = ScriptedGateway((200, {"items": [{"id": "c1", "body": "Yes."}], "next_cursor": "more"}))
    async with gateway.client() as client:
        answer = await client.call_tool("manage_task", {"operation": "comment", "task_data": {"id": TASK_ID}})
    assert answer.structured_content == {"comments": [{"id": "c1", "body": "Yes."}], "next_cursor": "more"}
    assert (gateway.asked[0].method, gateway.asked[0].url.path) == ("GET", COMMENTS)


async def test_a_null_clears_a_field_in_an_update():
    gateway = ScriptedGateway((200, TASK))
    arguments = {"operation": "update", "task_data": {"id": TASK_ID, "description": None}}
    async with gateway.client() as client:
        await client.call_tool("manage_task", arguments)
    assert gateway.body() == {"description": None}


async def test_a_version_becomes_if_match():
    gateway = ScriptedGateway((200, TASK))
    data = {"id": TASK_ID, "status": "in_progress", "version": 7}
    async with gateway.client() as client:
        await client.call_tool("manage_task", {"operation": "update", "task_data": data})
    assert gateway.asked[0].headers["if-match"] == '"7"'
    assert gateway.body() == {"status": "in_progress"}


async def test_claim_names_the_agent_and_asks_again_by_the_same_request():
    claimed = {"items": [{**TASK, "claim_token": 7}]}
    gateway = ScriptedGateway((503, {}), (200, claimed))
    async with gateway.client() as client:
        answer = await client.call_tool("manage_task", {"operation": "claim", "task_data": {"personas": ["muses"]}})
    first, second = gateway.body(0), gateway.body(1)
    assert answer.structured_content["tasks"][0]["claim_token"] == 7
    assert first == second
    assert first["personas"] == ["muses"]
    assert first["agent_id"]
    assert first["request_id"]


@pytest.mark.parametrize(
    ("operation", "fields", "path"),
    [
        ("complete", {"result": {"text": "Done."}}, "complete"),
        ("fail", {"error": "No access."}, "fail"),
        ("release", {"note": "Half done."}, "release"),
        ("progress", {"progress": 50}, "progress"),
        ("ask", {"question": "Which one?"}, "input"),
    ],
)
async def test_work_on_a_claimed_task_carries_its_token(operation, fields, path):
    gateway = ScriptedGateway((200, TASK))
    data = {"id": TASK_ID, "claim_token": 7, **fields}
    async with gateway.client() as client:
        await client.call_tool("manage_task", {"operation": operation, "task_data": data})
    assert gateway.asked[0].url.path == f"/api/v1/tasks/{TASK_ID}/{path}"
    assert gateway.body() == {"claim_token": 7, **fields}


async def test_heartbeat_tells_until_when_the_task_is_held():
    lease = {"id": TASK_ID, "claim_token": 7, "lease_until": "2026-05-01T00:00:00Z", "lease_seconds": 300}
    gateway = ScriptedGateway((200, lease))
    async with gateway.client() as client:
        answer = await client.call_tool(
            "manage_task", {"operation": "heartbeat", "task_data": {"id": TASK_ID, "claim_token": 7}}
        )
    assert answer.structured_content["lease"]["lease_until"] == "2026-05-01T00:00:00Z"


async def test_list_filters_become_the_query():
    gateway = ScriptedGateway((200, {"items": [TASK], "next_cursor": "c"}))
    data = {"status": "pending", "ready": True, "limit": 5}
    async with gateway.client() as client:
        answer = await client.call_tool("manage_task", {"operation": "list", "task_data": data})
    assert dict(gateway.asked[0].url.params) == {"status": "pending", "ready": "true", "limit": "5"}
    assert answer.structured_content["next_cursor"] == "c"


async def test_list_needs_no_task_data():
    async with ScriptedGateway((200, {"items": [], "next_cursor": None})).client() as client:
        answer = await client.call_tool("manage_task", {"operation": "list"})
    assert answer.structured_content == {"tasks": []}


async def test_complete_goes_to_the_complete_endpoint_with_its_result():
    gateway = ScriptedGateway((200, TASK))
    data = {"id": TASK_ID, "result": {"done": True}}
    async with gateway.client() as client:
        await client.call_tool("manage_task", {"operation": "complete", "task_data": data})
    assert gateway.asked[0].url.path == f"/api/v1/tasks/{TASK_ID}/complete"
    assert gateway.body() == {"result": {"done": True}}


async def test_delete_says_what_was_deleted():
    async with ScriptedGateway((204, None)).client() as client:
        answer = await client.call_tool("manage_task", {"operation": "delete", "task_data": {"id": TASK_ID}})
    assert answer.structured_content == {"deleted": TASK_ID}


async def test_execute_returns_at_once_unless_told_to_wait():
    gateway = ScriptedGateway(ACCEPTED)
    async with gateway.client() as client:
        answer = await client.call_tool("execute_workflow", {"workflow_id": WORKFLOW_ID, "parameters": {"a": 1}})
    assert answer.structured_content == {"execution_id": EXECUTION_ID, "status": "pending", "finished": False}
    assert gateway.body() == {"parameters": {"a": 1}}


async def test_execute_waits_for_the_end():
    async with ScriptedGateway(ACCEPTED, (200, RUNNING), (200, COMPLETED)).client() as client:
        answer = await client.call_tool("execute_workflow", {"workflow_id": WORKFLOW_ID, "wait_seconds": 30})
    assert answer.structured_content["finished"] is True
    assert answer.structured_content["output"] == {"x": 1}


async def test_execute_tells_progress_while_it_waits():
    told = []

    async def keep(progress, total, message):
        told.append((progress, total, message))

    async with ScriptedGateway(ACCEPTED, (200, RUNNING), (200, COMPLETED)).client(progress_handler=keep) as client:
        await client.call_tool("execute_workflow", {"workflow_id": WORKFLOW_ID, "wait_seconds": 30})
    assert told == [(0, 1, "0 of 1 steps done, running"), (1, 1, "1 of 1 steps done, completed")]


async def test_execute_stops_waiting_in_time_and_says_it_goes_on():
    async with ScriptedGateway(ACCEPTED, (200, RUNNING)).client() as client:
        answer = await client.call_tool("execute_workflow", {"workflow_id": WORKFLOW_ID, "wait_seconds": 0.1})
    assert (answer.structured_content["status"], answer.structured_content["finished"]) == ("running", False)


async def test_execute_shows_steps_without_their_outputs():
    async with ScriptedGateway(ACCEPTED, (200, COMPLETED)).client() as client:
        answer = await client.call_tool("execute_workflow", {"workflow_id": WORKFLOW_ID, "wait_seconds": 5})
    assert answer.structured_content["steps"] == [{"id": "a", "uses": "transform", "status": "completed", "attempt": 1}]
