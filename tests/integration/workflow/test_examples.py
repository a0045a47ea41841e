"""The worked examples of docs/workflows run as they stand there, with people and agents played over REST."""

import asyncio
import re
from collections.abc import AsyncGenerator
from datetime import UTC, datetime
from itertools import chain, repeat
from pathlib import Path
from typing import Any

import orjson
import pytest

from support.service import ServiceUnderTest
from support.web import Answer, Asked, Website, json_page, page, website
from support.workflow_engine import WORKFLOWS, Engine, statuses, step_of

Json = dict[str, Any]
FOLDER = Path(__file__).parents[3] / "docs" / "workflows"
_BLOCK = re.compile(r"^```json (\w+)\n(.*?)^```", re.MULTILINE | re.DOTALL)
RUN = {
    "sequential", "fan-out-and-join", "conditional", "map", "human-approval", "agent-hand-off", "child-workflow",
    "scheduled", "compensation", "http-with-retry",
}  # fmt: skip


class Example:
    """A page of docs/workflows."""

    def __init__(self, engine: Engine, tasks: ServiceUnderTest, name: str) -> None:
        text = (FOLDER / f"{name}.md").read_text()
        self.blocks: dict[str, Any] = {kind: orjson.loads(body) for kind, body in _BLOCK.findall(text)}
        self._engine = engine
        self._tasks = tasks

    async def save(self, kind: str = "workflow") -> str:
        answer = await self._engine.api.call("POST", WORKFLOWS, json=self.blocks[kind])
        assert answer.status_code == 201, answer.text
        return answer.json()["id"]

    async def start(self, **parameters: Any) -> str:
        return await self._engine.execute(await self.save(), **(self.blocks["parameters"] | parameters))

    async def ends_as_told(self, execution_id: str) -> Json:
        execution = await self._engine.ended(execution_id)
        assert execution["status"] == "completed", execution["error"]
        assert execution["output"] == self.blocks["output"]
        return execution

    async def work(self, persona: str | None, result: Json, status: int = 200) -> Json:
        """Claim the one task there is for an agent of this persona, and complete it; return the answer."""
        wanted = {"agent_id": f"agent-{persona}", "personas": [persona] if persona else [], "wait_seconds": 10}
        claimed = (await self._tasks.call("POST", "/api/v1/tasks/claim", json=wanted)).json()["items"][0]
        done = {"claim_token": claimed["claim_token"], "result": result}
        path = f"/api/v1/tasks/{claimed['id']}/complete"
        answer = await self._tasks.call("POST", path, json=done)
        assert answer.status_code == status, answer.text
        if status == 422:
            await self._tasks.call(
                "POST", f"/api/v1/tasks/{claimed['id']}/release", json={"claim_token": claimed["claim_token"]}
            )
        return answer.json()


@pytest.fixture
async def tasks(engine: Engine) -> AsyncGenerator[ServiceUnderTest]:
    async with engine.tasks() as service:
        yield service


@pytest.fixture
async def worker(engine: Engine) -> AsyncGenerator[None]:
    async with engine.worker():
        yield


@pytest.fixture
def example(engine: Engine, tasks: ServiceUnderTest, request: pytest.FixtureRequest) -> Example:
    return Example(engine, tasks, request.param)


def page_named(name: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("example", [name], indirect=True)


def test_every_page_is_run() -> None:
    assert {path.stem for path in FOLDER.glob("*.md")} - {"README"} == RUN


@pytest.mark.parametrize("example", ["sequential", "conditional", "map"], indirect=True)
async def test_example_without_others(example: Example, worker: None) -> None:
    await example.ends_as_told(await example.start())


@page_named("conditional")
async def test_large_refund_is_looked_at_first(engine: Engine, example: Example, worker: None) -> None:
    execution_id = await example.start(cents=20_000)
    await example.work(None, {"ok": False})
    execution = await engine.ended(execution_id)
    assert execution["output"] == {"paid": False, "checked": True}


@page_named("fan-out-and-join")
async def test_fan_out_and_join(engine: Engine, example: Example, worker: None) -> None:
    execution_id = await example.start()
    await engine.reached(execution_id, "security", "waiting")
    await engine.reached(execution_id, "design", "waiting")
    await example.work("athena", {"ok": True, "note": "fits the outbox"})
    await example.work("hestia", {"ok": True, "note": "no new secrets"})
    await example.ends_as_told(execution_id)


@page_named("human-approval")
async def test_human_approval(engine: Engine, example: Example, worker: None) -> None:
    execution_id = await example.start()
    execution = await engine.reached(execution_id, "ask", "waiting")
    path = f"/api/v1/approvals/{step_of(execution, 'ask')['waiting_for']['approval_id']}"
    approval = (await engine.api.call("GET", path)).json()
    assert approval["show"] == example.blocks["parameters"]
    decision = {"digest": approval["digest"], "comment": "say when"}
    assert (await engine.api.call("POST", f"{path}/reject", json=decision)).status_code == 200
    await example.ends_as_told(execution_id)


@page_named("agent-hand-off")
async def test_agent_hand_off(example: Example, worker: None) -> None:
    execution_id = await example.start()
    refused = await example.work("muses", {"text": "Too short."}, status=422)
    assert [error["pointer"] for error in refused["errors"]] == ["/result/text"]
    await example.work("muses", {"text": example.blocks["output"]["text"]})
    await example.work("hera", {"publish": True, "why": "It is true."})
    await example.ends_as_told(execution_id)


@page_named("child-workflow")
async def test_child_workflow(engine: Engine, example: Example, worker: None) -> None:
    child_id = await example.save("child")
    execution = await example.ends_as_told(await example.start())
    children = (await engine.api.call("GET", "/api/v1/executions", params={"parent": execution["id"]})).json()["items"]
    assert [(child["workflow_id"], child["status"]) for child in children] == [(child_id, "completed")]


@page_named("scheduled")
async def test_scheduled(engine: Engine, example: Example, worker: None) -> None:
    path = f"{WORKFLOWS}/{await example.save()}/schedules"
    answer = await engine.api.call("POST", path, json=example.blocks["schedule"])
    assert answer.status_code == 201, answer.text
    made = answer.json()
    assert all(datetime.fromisoformat(fire).weekday() < 5 for fire in made["next_fires"])
    await engine.sql("UPDATE schedules SET next_at = $2 WHERE id = $1", made["id"], datetime.now(UTC))
    async with asyncio.timeout(10):
        while (fire := (await engine.api.call("GET", f"{path}/{made['id']}")).json()["last_fire"]) is None:
            await asyncio.sleep(0.02)
    await example.ends_as_told(fire["execution_id"])


def travel(asked: Asked) -> Answer:
    """Answer as an agency that has a hotel, but no flight."""
    if asked.method == "POST" and asked.target == "/hotels":
        return json_page(b'{"id": "h-7"}', status="201 Created")
    return page(status="204 No Content") if asked.method == "DELETE" else json_page(b"{}", status="409 Conflict")


async def against(engine: Engine, example: Example, site: Website) -> Json:
    async with engine.worker(workflow_http_allow=f"127.0.0.1:{site.port}"):
        return await engine.ended(await example.start(api=f"http://127.0.0.1:{site.port}"))


@page_named("compensation")
async def test_compensation(engine: Engine, example: Example) -> None:
    async with website(travel) as site:
        execution = await against(engine, example, site)
    assert [f"{asked.method} {asked.target}" for asked in site.asked] == [
        "POST /hotels",
        "POST /flights",
        "DELETE /hotels/h-7",
    ]
    assert (execution["status"], execution["error"]["step"]) == ("failed", "flight")
    assert statuses(execution) == {"hotel": "completed", "flight": "failed", "hotel~undo": "completed"}


@page_named("http-with-retry")
async def test_http_with_retry(engine: Engine, example: Example) -> None:
    rate = orjson.dumps(example.blocks["output"])
    busy = (page(b"", status="503 Service Unavailable"), page(b"", "Retry-After: 1", status="429 Too Many Requests"))
    answers = chain(busy, repeat(json_page(rate)))
    async with website(lambda asked: next(answers)) as site:
        execution = await against(engine, example, site)
    assert (execution["status"], execution["output"]) == ("completed", example.blocks["output"])
    assert step_of(execution, "ask")["attempt"] == 3
    assert len({asked.headers["idempotency-key"] for asked in site.asked}) == 1
