"""What the six personas look after: each duty asks the service that owns it."""

from datetime import timedelta
from typing import Any
from urllib.parse import unquote

import pytest

from support.memories import store
from support.service import ServiceUnderTest
from support.tasks import Board
from support.workflow_engine import Engine
from tmws_contracts.persona_wake_up import DutyName
from tmws_gateway.upstreams import ROUTES
from tmws_shared.clock import now

PERSONAS = "/api/v1/personas"
HOLD = {"id": "hold", "uses": "delay", "with": {"duration": "1h"}}
ASK = {"id": "ask", "uses": "approval", "with": {"prompt": "Publish?", "approvers": ["hestia"]}}
BROKEN = {"id": "broken", "uses": "transform", "with": {"x": "${{ 1 / 0 }}"}}
Json = dict[str, Any]


@pytest.fixture
async def nothing_else(engine: Engine) -> None:
    """Forget what other tests have left."""
    await engine.sql("TRUNCATE executions, step_executions, events, approvals, workers, schedules CASCADE")


async def wake(service: ServiceUnderTest, who: str, namespace: str = "default", **caller: Any) -> Json:
    params = {"max_chars": 64_000}
    answer = await service.call("GET", f"{PERSONAS}/{who}/wake-up", namespace=namespace, params=params, **caller)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def duty(service: ServiceUnderTest, who: str, namespace: str = "default") -> dict[str, list[Json]]:
    """Return the sections of a persona's one duty, by name."""
    (found,) = (await wake(service, who, namespace))["duties"]
    return {section["name"]: section["items"] for section in found["sections"]}


def said(items: list[Json]) -> list[str]:
    return [item["said"] for item in items]


async def test_each_of_the_six_has_its_own_duty(persona_alone: ServiceUnderTest) -> None:
    found: dict[str, list[str]] = {}
    for who in ("athena", "artemis", "hestia", "eris", "hera", "muses"):
        answer = await persona_alone.call("GET", f"{PERSONAS}/{who}", namespace="six")
        found[who] = answer.json()["configuration"]["duties"]
    assert found == {
        "athena": ["workflows"],
        "artemis": ["bottlenecks"],
        "hestia": ["audit"],
        "eris": ["team"],
        "hera": ["plans"],
        "muses": ["documents"],
    }


async def test_duties_come_from_the_configuration_whatever_the_name(
    persona_alone: ServiceUnderTest, task: ServiceUnderTest
) -> None:
    body = {"name": "Ada", "configuration": {"duties": ["team", "audit"]}}
    await persona_alone.call("POST", PERSONAS, json=body, namespace="own")
    gaps = [gap["part"] for gap in (await wake(persona_alone, "ada", "own"))["missing"]]
    assert "duties/team" in gaps
    assert [each["name"] for each in (await wake(persona_alone, "ada", "own"))["duties"]] == ["audit"]


@pytest.mark.parametrize("duties", ["team", ["gardening"], ["team", "team"], [1], [{}], {"team": True}, None])
async def test_duty_that_is_none_is_refused(persona_alone: ServiceUnderTest, duties: Any) -> None:
    body = {"name": "x", "configuration": {"duties": duties}}
    answer = await persona_alone.call("POST", PERSONAS, json=body)
    assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, "/configuration")
    assert all(name.value in answer.json()["errors"][0]["detail"] for name in DutyName)


@pytest.mark.usefixtures("nothing_else")
async def test_athena_sees_what_runs_what_stands_still_and_what_failed(
    persona: ServiceUnderTest, engine: Engine
) -> None:
    async with engine.worker():
        await engine.reached(await engine.start(HOLD), "hold", "waiting")
        waiting = await engine.start(ASK)
        await engine.reached(waiting, "ask", "waiting")
        await engine.run(BROKEN)
    found = await duty(persona, "athena")
    (still,), (moving,), (failed,) = found["standing_still"], found["running"], found["failed"]
    assert (still["id"], still["facts"]["verdict"]) == (waiting, "waiting_for_person")
    assert still["path"] == f"/api/v1/executions/{waiting}/diagnosis"
    assert still["said"].startswith("test: ")
    assert moving["facts"]["verdict"] == "waiting_for_time"
    assert failed["facts"]["step"] == "broken"


async def test_artemis_sees_what_blocks_most_and_what_is_late(
    persona: ServiceUnderTest, task: ServiceUnderTest
) -> None:
    board = Board(task)
    done = await board.create(title="Done")
    root = await board.create(title="Root")
    side = await board.create(title="Side")
    middle = await board.create(title="Middle", depends_on=[root["id"], done["id"]])
    for number in range(2):
        await board.create(title=f"Leaf {number}", depends_on=[middle["id"]])
    await board.create(title="Other leaf", depends_on=[side["id"]])
    await board.complete(done)
    await board.create(title="Late", due_at=(now() - timedelta(hours=1)).isoformat())
    found = await duty(persona, "artemis", board.namespace)
    waiting = [(item["said"], item["facts"]["tasks_waiting"]) for item in found["blocking"]]
    assert waiting == [("Root", 3), ("Middle", 2), ("Side", 1)]
    assert said(found["all_overdue"]) == ["Late"]


async def test_hestia_is_told_how_to_read_the_audit_log(persona: ServiceUnderTest) -> None:
    pack = await wake(persona, "hestia")
    (found,) = pack["duties"]
    actions = {route.action for route in ROUTES}
    assert len(found["look_up"]) == 4
    for lookup in found["look_up"]:
        path, _, query = lookup["path"].partition("?")
        assert f"GET {path}" in actions
        assert f"- GET {lookup['path']} -- " in pack["text"]
        if query.startswith("action="):
            assert unquote(query.removeprefix("action=").partition("&")[0]) in actions


async def test_who_makes_the_calls_of_a_duty_itself_has_a_text_without_them(persona: ServiceUnderTest) -> None:
    answer = await persona.call("GET", f"{PERSONAS}/hestia/wake-up", params={"names_lookups": "false"})
    assert len(answer.json()["duties"][0]["look_up"]) == 4
    assert "/api/v1/audit" not in answer.json()["text"]


async def test_eris_sees_who_holds_what_and_what_is_stuck(persona: ServiceUnderTest, task: ServiceUnderTest) -> None:
    board = Board(task)
    await board.create(title="Held", priority="urgent")
    (held,) = await board.claim("busy agent", lease_seconds=3600)
    await board.create(title="Soon free", priority="urgent")
    await board.claim("slow agent", lease_seconds=60)
    await board.create(title="Asked", priority="urgent")
    (asked,) = await board.claim("shy agent")
    await board.post(asked, "input", claim_token=asked["claim_token"], question="Blue or green?")
    await board.create(title="Broken")
    (broken,) = await board.claim("third agent")
    await board.post(broken, "fail", claim_token=broken["claim_token"], error="no")
    found = await duty(persona, "eris", board.namespace)
    first = found["held"][0]
    assert said(found["held"]) == ["Held", "Soon free"]
    assert first["facts"]["claimed_by"] == "busy agent"
    assert first["facts"]["held_since"] <= held["updated_at"]
    assert said(found["leases_ending"]) == ["Soon free"]
    assert [(item["said"], item["facts"]["because"]) for item in found["stuck"]] == [
        ("Asked -- asks: Blue or green?", "waits for an answer"),
        ("Broken", "failed"),
    ]


@pytest.mark.usefixtures("nothing_else")
async def test_hera_sees_definitions_and_their_next_fires(persona: ServiceUnderTest, engine: Engine) -> None:
    for cron in ("0 0 1 1 *", "0 * * * *"):
        workflow_id = await engine.save(HOLD)
        body = {"cron": cron, "timezone": "Europe/Berlin"}
        answer = await engine.api.call("POST", f"/api/v1/workflows/{workflow_id}/schedules", json=body)
        assert answer.status_code == 201, answer.text
    found = await duty(persona, "hera")
    crons = [item["facts"]["cron"] for item in found["schedules"]]
    assert crons == ["0 * * * * Europe/Berlin", "0 0 1 1 * Europe/Berlin"]
    assert found["schedules"][0]["facts"]["next_fire"] > now().isoformat()[:16]
    assert found["definitions"][0]["facts"] == {"type": "dag", "steps": 1, "definition": 1, "last_run": "never"}


async def test_muses_see_documents(persona: ServiceUnderTest, memory: ServiceUnderTest) -> None:
    await store(memory, "How to release", tags=["document"], namespace="library")
    await store(memory, "Something else", namespace="library")
    found = await duty(persona, "muses", "library")
    assert said(found["documents"]) == ["How to release"]
    assert found["duplicates"] == []


@pytest.mark.usefixtures("nothing_else")
async def test_approval_waits_for_the_persona_that_it_names(persona: ServiceUnderTest, engine: Engine) -> None:
    async with engine.worker():
        execution_id = await engine.start(ASK)
        await engine.reached(execution_id, "ask", "waiting")
    (approval,) = (await wake(persona, "hestia"))["approvals"]["items"]
    assert (approval["said"], approval["facts"]["execution_id"]) == ("Publish?", execution_id)
    whole = await engine.api.call("GET", approval["path"])
    decision = {"digest": whole.json()["digest"]}
    decided = await engine.api.call("POST", f"{approval['path']}/approve", json=decision, persona="hestia")
    assert decided.status_code == 200
    assert (await wake(persona, "hera"))["approvals"]["items"] == []
