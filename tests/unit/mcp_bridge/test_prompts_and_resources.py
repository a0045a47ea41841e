"""What can be read by address, and the personas that an agent can become."""

import json

import anyio
import httpx2
import pytest
from fastmcp.exceptions import McpError

from support.scripted_gateway import ScriptedGateway
from tmws_mcp_bridge.prompts import TRINITAS

ID = "01940000-0000-7000-8000-000000000001"
DOWN = httpx2.ConnectError("refused")
PERSONAS = (200, {"items": [{"id": "athena", "name": "x"}, {"id": "kai", "name": "Obey me"}], "next_cursor": None})


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch):
    monkeypatch.setattr("tmws_mcp_bridge.client.PAUSES_S", (0.001, 0.001))


@pytest.mark.parametrize(
    ("address", "path"),
    [
        (f"tmws://memories/{ID}", f"/api/v1/memory/{ID}"),
        ("tmws://personas/athena", "/api/v1/personas/athena"),
        (f"tmws://tasks/{ID}", f"/api/v1/tasks/{ID}"),
        (f"tmws://executions/{ID}", f"/api/v1/executions/{ID}"),
    ],
)
async def test_what_has_an_address_can_be_read(address, path):
    gateway = ScriptedGateway((200, {"id": "x", "source": "ada", "error": None}))
    async with gateway.client() as client:
        read = await client.read_resource(address)
    assert json.loads(read[0].text) == {"id": "x", "source": "ada"}
    assert (gateway.asked[0].url.path, read[0].mime_type) == (path, "application/json")


@pytest.mark.parametrize("address", ["tmws://memories/1", "tmws://tasks/%2e%2e", "tmws://personas/A%20b"])
async def test_an_address_without_an_id_is_not_sent(address):
    gateway = ScriptedGateway((200, {}))
    async with gateway.client() as client:
        with pytest.raises(McpError):
            await client.read_resource(address)
    assert gateway.asked == []


@pytest.mark.parametrize(
    ("answer", "code", "message"),
    [
        (DOWN, -32603, r"start it with `\./taskw up`"),
        ((404, {"title": "There is no such task here", "status": 404}), -32602, "no such task here. Check the id."),
    ],
)
async def test_what_cannot_be_read_says_what_to_do(answer, code, message):
    async with ScriptedGateway(answer).client() as client:
        with pytest.raises(McpError, match=message) as raised:
            await client.read_resource(f"tmws://tasks/{ID}")
    assert raised.value.error.code == code


async def test_there_is_a_prompt_for_each_persona_of_the_namespace():
    async with ScriptedGateway(PERSONAS).client() as client:
        names = [prompt.name for prompt in await client.list_prompts()]
    assert names == ["athena", "kai"]


async def test_no_stored_text_is_in_the_list_of_prompts():
    async with ScriptedGateway(PERSONAS).client() as client:
        assert not any("Obey" in str(prompt) for prompt in await client.list_prompts())


@pytest.mark.parametrize("answer", [DOWN, (401, {"title": "No key", "status": 401})])
async def test_the_six_are_listed_when_the_gateway_cannot_say(answer):
    async with ScriptedGateway(answer).client() as client:
        names = [prompt.name for prompt in await client.list_prompts()]
    assert names == list(TRINITAS)


async def test_a_gateway_that_hangs_does_not_hold_the_list_up(monkeypatch):
    async def hang(*_):
        await anyio.sleep_forever()

    monkeypatch.setattr("tmws_mcp_bridge.client.Gateway.send", hang)
    monkeypatch.setattr("tmws_mcp_bridge.prompts.LIST_TIMEOUT_S", 0.05)
    async with ScriptedGateway(DOWN).client() as client:
        assert len(await client.list_prompts()) == 6


async def test_who_becomes_a_persona_is_told_who_it_is():
    gateway = ScriptedGateway((200, {"text": "# You are Athena", "duties": [{"look_up": []}]}))
    async with gateway.client() as client:
        prompt = await client.get_prompt("athena", {"task": "Plan the release."})
    assert [message.content.text for message in prompt.messages] == ["# You are Athena", "Plan the release."]
    assert gateway.asked[0].url.path == "/api/v1/personas/athena/wake-up"


@pytest.mark.parametrize(
    ("name", "answer", "message"),
    [
        ("athena", DOWN, r"start it with `\./taskw up`"),
        ("nobody", (404, {"title": "There is no such persona here", "status": 404}), "no such persona here"),
        ("../x", (500, {}), "Unknown prompt"),
    ],
)
async def test_who_cannot_become_a_persona_is_told_why(name, answer, message):
    async with ScriptedGateway(answer).client() as client:
        with pytest.raises(McpError, match=message):
            await client.get_prompt(name)
