"""What an agent is told when something is wrong."""

import httpx2
import pytest
from fastmcp.exceptions import ToolError

from support.scripted_gateway import URL, ScriptedGateway
from tmws_mcp_bridge.errors import InvalidArguments, Refused

TASK_ID = "01940000-0000-7000-8000-000000000001"
MANAGE = "manage_task"


async def failure(answer, tool, arguments):
    async with ScriptedGateway(answer).client() as client:
        with pytest.raises(ToolError) as raised:
            await client.call_tool(tool, arguments)
    return str(raised.value)


@pytest.mark.parametrize(
    ("tool", "arguments", "message"),
    [
        ("semantic_search", {}, "query is required."),
        ("semantic_search", {"query": "x", "limit": "10"}, "limit must be a valid integer."),
        ("semantic_search", {"query": "x", "limit": 0}, "limit must be greater than or equal to 1."),
        ("semantic_search", {"query": "x" * 8193}, "query must not be longer than 8192."),
        (MANAGE, {"operation": "get", "task_data": {"id": 7}}, "task_data.id must be a string."),
        ("semantic_search", {"query": "x", "nope": 1}, "nope is not an argument of this tool."),
        ("semantic_search", {"query": "x", "threshold": 2}, "threshold must be less than or equal to 1."),
        ("recall_memories", {"tags": ["ok", 7]}, "tags.1 must be a valid string."),
        (
            MANAGE,
            {"operation": "create", "task_data": {"title": "x", "due_at": "tomorrow"}},
            "task_data.due_at must be a time with its zone, such as 2026-03-01T12:00:00Z.",
        ),
        ("store_memory", {"content": "x", "metadata": {"a": "\0"}}, "metadata must not contain U+0000."),
        ("store_memory", {"content": "x", "metadata": "{}"}, "metadata must be a JSON object."),
        (MANAGE, {"operation": "list", "task_data": "{}"}, "task_data must be a JSON object."),
        (MANAGE, {"operation": "create"}, "task_data.title is required to create a task."),
        (MANAGE, {"operation": "get", "task_data": {}}, "task_data.id is required to get a task."),
        (MANAGE, {"operation": "create", "task_data": {"title": " "}}, "task_data.title must not be blank."),
        (MANAGE, {"operation": "create", "task_data": {"name": "x"}}, "task_data.name is not a field here."),
        (
            MANAGE,
            {"operation": "heartbeat", "task_data": {"id": TASK_ID}},
            "task_data.claim_token is required to heartbeat a task.",
        ),
        (
            MANAGE,
            {"operation": "complete", "task_data": {"id": TASK_ID, "title": "x"}},
            "task_data.title is not used to complete tasks; complete takes claim_token, id, result, version.",
        ),
    ],
)
async def test_a_wrong_argument_is_named(tool, arguments, message):
    assert await failure((500, {}), tool, arguments) == message


async def test_a_wrong_argument_is_never_repeated():
    message = await failure((500, {}), MANAGE, {"operation": "<script>", "task_data": {"id": "<script>"}})
    assert "script" not in message


async def test_wrong_arguments_do_not_reach_the_gateway():
    gateway = ScriptedGateway((500, {}))
    async with gateway.client() as client:
        await client.call_tool("semantic_search", {"limit": 1}, raise_on_error=False)
    assert gateway.asked == []


async def test_the_field_a_problem_names_is_told_as_an_argument():
    problem = {"title": "Invalid", "status": 422, "errors": [{"pointer": "/depends_on/0", "detail": "must exist"}]}
    message = await failure((422, problem), MANAGE, {"operation": "create", "task_data": {"title": "x"}})
    assert message == "task_data.depends_on.0 must exist. Correct it and call again."


async def test_a_pointer_in_the_detail_is_told_as_an_argument():
    problem = {"title": "Malformed", "status": 400, "detail": "?cursor: must be the next_cursor of a page"}
    message = await failure((400, problem), MANAGE, {"operation": "list", "task_data": {"cursor": "x"}})
    assert message == "task_data.cursor must be the next_cursor of a page. Correct it and call again."


async def test_a_conflict_tells_its_facts():
    problem = {
        "title": "Open",
        "status": 409,
        "detail": "Complete what it depends on first.",
        "open_dependencies": ["t1"],
    }
    message = await failure((409, problem), MANAGE, {"operation": "complete", "task_data": {"id": TASK_ID}})
    assert message == "Complete what it depends on first. Open dependencies: t1."


async def test_a_conflict_over_a_field_says_what_to_do_about_it():
    errors = [{"pointer": "/claim_token", "detail": "must be the token of a claim that holds"}]
    problem = {"title": "Lost", "status": 409, "detail": "Claim again.", "errors": errors}
    message = await failure((409, problem), MANAGE, {"operation": "complete", "task_data": {"id": TASK_ID}})
    assert message == "task_data.claim_token must be the token of a claim that holds. Claim again."


async def test_a_field_that_is_somebody_elses_is_to_be_corrected():
    errors = [{"pointer": "/persona_id", "detail": "must be your own persona, or left out"}]
    problem = {
        "title": "No",
        "status": 403,
        "detail": "/persona_id: must be your own persona, or left out",
        "errors": errors,
    }
    message = await failure((403, problem), "store_memory", {"content": "x", "persona_id": "athena"})
    assert message == "persona_id must be your own persona, or left out. Correct it, or ask for a key that may."


async def test_a_stale_version_says_to_read_again():
    problem = {"title": "The resource has changed since it was read", "status": 412}
    data = {"id": TASK_ID, "version": 1, "status": "in_progress"}
    message = await failure((412, problem), MANAGE, {"operation": "update", "task_data": data})
    assert message == "Somebody else changed it: read it again and decide anew."


async def test_a_missing_credential_names_the_setting():
    problem = {"title": "Credentials are missing or not valid", "status": 401}
    message = await failure((401, problem), "semantic_search", {"query": "x"})
    assert message.startswith("TMWS needs a valid API key: set TMWS_TOKEN")


async def test_a_missing_scope_is_named():
    problem = {
        "title": "No",
        "status": 403,
        "detail": "This needs the scope memory:write.",
        "error": "insufficient_scope",
    }
    message = await failure((403, problem), "store_memory", {"content": "x"})
    assert message == "This needs the scope memory:write. Ask for a key that has it."


async def test_a_right_that_no_scope_gives_is_not_asked_for_as_one():
    problem = {"title": "No", "status": 403, "detail": "Only the personas listed in approvers may decide."}
    assert await failure((403, problem), "approve", {}) == "Only the personas listed in approvers may decide."


async def test_a_stopped_gateway_is_told_with_how_to_start_it():
    message = await failure(httpx2.ConnectError("refused"), "semantic_search", {"query": "x"})
    assert message == f"TMWS is not running at {URL}: start it with `./taskw up` in its folder, then call again."


async def test_another_program_at_the_address_is_told():
    message = await failure((200, "hello"), "semantic_search", {"query": "x"})
    assert message.startswith(f"What answers at {URL} is not TMWS")


async def test_an_unexpected_failure_keeps_its_details_from_the_client():
    message = await failure(RuntimeError("postgresql://user:pw@host"), "semantic_search", {"query": "x"})
    assert message == "Error calling tool 'semantic_search'"


async def test_an_internal_error_gives_the_trace():
    problem = {"title": "The server failed", "status": 500, "trace_id": "abc"}
    message = await failure((500, problem), "semantic_search", {"query": "x"})
    assert message == "The server failed. The log of TMWS has the reason under trace abc."


def test_many_field_problems_are_counted():
    errors = [{"pointer": f"/{place}", "detail": "is wrong"} for place in range(5)]
    assert str(Refused(422, {"errors": errors})).startswith("0 is wrong; 1 is wrong; 2 is wrong; and 2 more.")


def test_wrong_arguments_have_a_known_outcome():
    assert InvalidArguments("x").outcome_known
