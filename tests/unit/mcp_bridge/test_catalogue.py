"""Which tools an agent is offered, and what their descriptions cost it."""

import json

import pytest

from support.scripted_gateway import ScriptedGateway
from tmws_mcp_bridge.profile import Profile
from tmws_mcp_bridge.tools.building import brief

SEED = {
    "semantic_search": {"query", "limit", "threshold"},
    "store_memory": {"content", "importance", "metadata", "tags", "persona_id", "private"},
    "manage_task": {"operation", "task_data"},
    "execute_workflow": {"workflow_id", "parameters", "wait_seconds"},
}
CORE = [
    "semantic_search", "store_memory", "recall_memories", "manage_task", "claim_task", "report_task",
    "execute_workflow", "workflow_status", "list_workflows", "approve", "match_persona",
]  # fmt: skip
READING = {
    "semantic_search", "recall_memories", "list_tasks", "workflow_status", "list_workflows", "diagnose_execution",
    "list_schedules", "match_persona", "wake_up",
}  # fmt: skip
CHANGING = {
    "store_memory", "share_memory", "forget_memory", "manage_task", "claim_task", "report_task", "execute_workflow",
    "save_workflow", "schedule_workflow", "approve",
}  # fmt: skip


async def catalogue(profile=Profile.CORE):
    async with ScriptedGateway((500, {})).client(profile) as client:
        return await client.list_tools()


async def test_the_core_has_a_dozen_tools_at_most():
    assert [tool.name for tool in await catalogue()] == CORE


async def test_the_core_costs_less_than_three_thousand_tokens():
    tools = [tool.model_dump(mode="json", by_alias=True, exclude_none=True) for tool in await catalogue()]
    assert len(json.dumps({"tools": tools})) / 4 < 3000


async def test_the_full_profile_has_every_tool():
    assert {tool.name for tool in await catalogue(Profile.FULL)} == READING | CHANGING


async def test_the_readonly_profile_changes_nothing():
    assert {tool.name for tool in await catalogue(Profile.READONLY)} == READING


async def test_the_seeds_tools_keep_their_arguments():
    shown = {tool.name: set(tool.input_schema["properties"]) for tool in await catalogue()}
    assert {name: shown[name] for name in SEED} == SEED


async def test_every_tool_says_what_it_answers_and_gives_an_example():
    tools = await catalogue(Profile.FULL)
    assert [tool.name for tool in tools if not tool.output_schema or "Example: {" not in tool.description] == []


async def test_every_example_fits_its_tool():
    for tool in await catalogue(Profile.FULL):
        example = json.loads(tool.description.partition("Example: ")[2])
        assert example.keys() <= tool.input_schema["properties"].keys(), tool.name


@pytest.mark.parametrize(
    ("name", "read_only", "destructive", "idempotent"),
    [
        ("semantic_search", True, None, True),
        ("store_memory", None, False, True),
        ("manage_task", None, True, False),
        ("execute_workflow", None, False, False),
        ("approve", None, True, False),
        ("forget_memory", None, True, True),
    ],
)
async def test_tools_say_how_careful_to_be(name, read_only, destructive, idempotent):
    annotations = {tool.name: tool.annotations for tool in await catalogue(Profile.FULL)}[name]
    hints = (annotations.read_only_hint, annotations.destructive_hint, annotations.idempotent_hint)
    assert hints == (read_only, destructive, idempotent)


def test_a_brief_schema_keeps_a_property_that_is_called_like_a_limit():
    schema = {"type": "object", "properties": {"pattern": {"type": "string", "maxLength": 9}}, "title": "X"}
    assert brief(schema) == {"type": "object", "properties": {"pattern": {"type": "string"}}}


def test_a_brief_schema_has_one_type():
    schema = {"anyOf": [{"type": "string", "maxLength": 9}, {"type": "null"}], "default": None}
    assert brief(schema) == {"type": "string"}
