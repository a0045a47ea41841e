"""Many executions at once, the list of all of them, and how they are counted."""

from collections.abc import AsyncGenerator
from typing import Any

import pytest

from support.workflow_engine import WORKFLOWS, Engine
from tmws_contracts.scopes import SCOPES
from tmws_shared.database import Database
from tmws_workflow.repository.counts import OPEN, TALLY

Json = dict[str, Any]
STEP = {"id": "a", "uses": "transform", "with": {"n": "${{ inputs.n }}"}}
NUMBER = {"type": "object", "required": ["n"], "properties": {"n": {"type": "integer"}}}
HOLD = {"id": "hold", "uses": "delay", "with": {"duration": "1h"}}


@pytest.fixture
async def workflow(engine: Engine) -> str:
    return await engine.save(STEP, inputs=NUMBER)


@pytest.fixture
async def tables(engine: Engine) -> AsyncGenerator[Database]:
    connected = await Database.connect(engine.database.for_service("workflow"), name="test")
    yield connected
    await connected.close()


async def batch(engine: Engine, workflow_id: str, items: list[Json], **request: Any) -> Any:
    return await engine.api.call("POST", f"{WORKFLOWS}/{workflow_id}/execute/batch", json={"items": items}, **request)


async def listed(engine: Engine, **params: Any) -> list[Json]:
    answer = await engine.api.call("GET", "/api/v1/executions", params=params)
    assert answer.status_code == 200, answer.text
    return answer.json()["items"]


async def test_batch_accepts_what_fits_and_refuses_the_rest(engine: Engine, workflow: str) -> None:
    items = [
        {"parameters": {"n": 1}, "priority": "high"},
        {"parameters": {"n": "x"}, "key": "b"},
        {"parameters": {"n": 3}},
    ]
    answer = await batch(engine, workflow, items)
    assert answer.status_code == 202
    body = answer.json()
    assert [item["status"] for item in body["items"]] == [202, 422, 202]
    assert (body["accepted"], body["refused"], body["workflow_version"]) == (2, 1, 1)
    assert body["items"][1]["key"] == "b"
    assert body["items"][1]["problem"]["errors"][0]["pointer"] == "/items/1/parameters/n"
    async with engine.worker():
        ended = [await engine.ended(body["items"][number]["execution_id"]) for number in (0, 2)]
    assert [each["steps"][0]["output"] for each in ended] == [{"n": 1}, {"n": 3}]
    assert [each["priority"] for each in ended] == ["high", "medium"]


async def test_batch_of_nothing_but_refused_items_starts_nothing(engine: Engine, workflow: str) -> None:
    answer = await batch(engine, workflow, [{}, {}])
    assert (answer.status_code, answer.json()["accepted"], answer.json()["refused"]) == (202, 0, 2)
    assert await listed(engine, workflow_id=workflow) == []


async def test_batch_that_is_sent_again_is_not_done_again(engine: Engine, workflow: str) -> None:
    headers, items = {"Idempotency-Key": "batch-1"}, [{"parameters": {"n": n}} for n in range(20)]
    first = await batch(engine, workflow, items, headers=headers)
    again = await batch(engine, workflow, items, headers=headers)
    other = await batch(engine, workflow, items[:3], headers=headers)
    assert again.json() == first.json()
    assert other.status_code == 422
    assert len(await listed(engine, workflow_id=workflow)) == 20


@pytest.mark.parametrize(
    ("items", "pointer"),
    [
        ([], "/items"),
        ([{"parameters": {"n": 1}}] * 1001, "/items"),
        ([{"key": "same"}, {"key": "other"}, {"key": "same"}], "/items/2/key"),
        ([{"parameters": {"n": 1}, "colour": "red"}], "/items/0/colour"),
        ([{"priority": "later"}], "/items/0/priority"),
    ],
)
async def test_batch_that_cannot_be_read_is_refused(
    engine: Engine, workflow: str, items: list[Json], pointer: str
) -> None:
    answer = await batch(engine, workflow, items)
    assert answer.status_code == 422
    assert [error["pointer"] for error in answer.json()["errors"]] == [pointer]


async def test_thousand_executions_are_one_request(engine: Engine, workflow: str) -> None:
    answer = await batch(engine, workflow, [{"parameters": {"n": n}} for n in range(1000)])
    rows = await engine.sql(
        """SELECT count(DISTINCT e.id) AS executions, count(*) AS steps, count(DISTINCT v.execution_id) AS journals
           FROM executions e JOIN step_executions s ON s.execution_id = e.id JOIN events v ON v.execution_id = e.id
           WHERE e.workflow_id = $1""",
        workflow,
    )
    assert answer.json()["accepted"] == 1000
    assert tuple(rows[0]) == (1000, 1000, 1000)
    await engine.api.call("POST", f"{WORKFLOWS}/{workflow}/cancel")


async def test_batch_needs_the_right_to_run_and_a_workflow_that_is_there(engine: Engine, workflow: str) -> None:
    few = SCOPES - {"workflow:run"}
    assert (await batch(engine, workflow, [{"parameters": {"n": 1}}], scopes=few)).status_code == 403
    assert (await batch(engine, workflow, [{"parameters": {"n": 1}}], namespace="others")).status_code == 404


async def test_executions_of_all_workflows_are_listed_page_by_page(engine: Engine, workflow: str) -> None:
    made = [await engine.execute(workflow, n=n) for n in range(3)]
    made += [await engine.start(HOLD)]
    first = (await engine.api.call("GET", "/api/v1/executions", params={"limit": 3})).json()
    params = {"limit": 3, "cursor": first["next_cursor"]}
    second = (await engine.api.call("GET", "/api/v1/executions", params=params)).json()
    assert [item["id"] for item in first["items"] + second["items"]][:4] == made[::-1]
    others = await engine.api.call("GET", "/api/v1/executions", namespace="others")
    assert others.json()["items"] == []


async def test_executions_are_filtered(engine: Engine, workflow: str) -> None:
    held = await engine.start(HOLD)
    waiting = await engine.execute(workflow, n=1)
    await engine.api.call("POST", f"/api/v1/executions/{held}/cancel")
    assert [item["id"] for item in await listed(engine, workflow_id=workflow, status=["pending", "running"])] == [
        waiting
    ]
    cancelled = await listed(engine, status=["cancelled", "failed"])
    assert held in [item["id"] for item in cancelled]
    assert {item["status"] for item in cancelled} <= {"cancelled", "failed"}
    assert await listed(engine, workflow_id=workflow, started_after="2020-01-01T00:00:00Z") == []
    assert await listed(engine, parent=held) == []


async def test_cursor_of_other_filters_is_refused(engine: Engine, workflow: str) -> None:
    for n in range(2):
        await engine.execute(workflow, n=n)
    params = {"workflow_id": workflow, "limit": 1}
    cursor = (await engine.api.call("GET", "/api/v1/executions", params=params)).json()["next_cursor"]
    answer = await engine.api.call("GET", "/api/v1/executions", params={"limit": 1, "cursor": cursor})
    assert answer.status_code == 400


async def stats(engine: Engine) -> Json:
    return (await engine.api.call("GET", "/stats", namespace="counted")).json()["executions_by_status"]


async def test_stats_are_exact_before_and_after_they_are_added_up(engine: Engine, tables: Database) -> None:
    async def call(method: str, path: str, **request: Any) -> Any:
        return (await engine.api.call(method, path, namespace="counted", **request)).json()

    body = {"name": "x", "workflow_type": "dag", "config": {"steps": [HOLD]}}
    workflow_id = (await call("POST", WORKFLOWS, json=body))["id"]
    started = await call("POST", f"{WORKFLOWS}/{workflow_id}/execute/batch", json={"items": [{}] * 5})
    for item in started["items"][:3]:
        await call("POST", f"/api/v1/executions/{item['execution_id']}/cancel")
    expected = {"pending": 2, "cancelled": 3, "completed": 0}
    assert {name: (await stats(engine))[name] for name in expected} == expected
    assert await TALLY.add_up(tables) >= 3
    assert {name: (await stats(engine))[name] for name in expected} == expected
    await call("POST", f"{WORKFLOWS}/{workflow_id}/cancel")
    await tables.execute("DELETE FROM executions WHERE id = $1", started["items"][0]["execution_id"])
    expected = {"pending": 0, "cancelled": 4, "completed": 0}
    assert {name: (await stats(engine))[name] for name in expected} == expected


async def test_counting_reads_only_what_is_open(engine: Engine, workflow: str, tables: Database) -> None:
    execution_id = await engine.execute(workflow, n=1)
    await tables.execute(
        """INSERT INTO executions (id, namespace, workflow_id, workflow_version, status, priority, parameters,
                                   principal, open_steps, last_seq)
           SELECT gen_random_uuid(), namespace, workflow_id, workflow_version, 'completed', priority, parameters,
                  principal, 0, 1 FROM executions CROSS JOIN generate_series(1, 20000) WHERE id = $1""",
        execution_id,
    )
    await tables.execute("ANALYZE executions")
    plan = await tables.fetch("EXPLAIN " + OPEN, "default")
    assert any("executions_open" in row[0] for row in plan)
    counted = (await engine.api.call("GET", "/stats")).json()["executions_by_status"]
    assert counted["completed"] >= 20_000
