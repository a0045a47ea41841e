"""An approval step waits until somebody has decided on exactly what was shown."""

import asyncio
import hashlib
import json

import pytest

from support.workflow_engine import Engine, step_of
from tmws_contracts.scopes import SCOPES

ASK = {"id": "ask", "uses": "approval", "with": {"prompt": "Publish?", "show": {"b": [1.5, "ü"], "a": None}}}
AFTER = {
    "id": "after",
    "uses": "transform",
    "needs": ["ask"],
    "if": "steps.ask.output.approved",
    "with": {"by": "${{ steps.ask.output.by }}"},
}
APPROVALS = "/api/v1/approvals"


async def pending(engine: Engine, execution_id: str):
    execution = await engine.reached(execution_id, "ask", "waiting")
    approval_id = step_of(execution, "ask")["waiting_for"]["approval_id"]
    return (await engine.api.call("GET", f"{APPROVALS}/{approval_id}")).json()


async def decide(engine: Engine, approval, word: str = "approve", digest: str = "", **call):
    body = {"digest": digest or approval["digest"], "comment": "looks good"}
    return await engine.api.call("POST", f"{APPROVALS}/{approval['id']}/{word}", json=body, **call)


def asking(**fields):
    return {**ASK, "with": {**ASK["with"], **fields}}


async def test_approved_step_completes_with_who_and_when(engine: Engine):
    async with engine.worker():
        execution_id = await engine.start(ASK, AFTER)
        answer = await decide(engine, await pending(engine, execution_id))
        execution = await engine.ended(execution_id)
    output = step_of(execution, "ask")["output"]
    assert (output["approved"], output["by"], output["comment"]) == (True, "tester", "looks good")
    assert output["at"].startswith(answer.json()["decided_at"][:19])
    assert step_of(execution, "after")["output"] == {"by": "tester"}
    assert (answer.status_code, answer.json()["status"]) == (200, "approved")


async def test_rejected_step_completes_so_that_an_if_decides(engine: Engine):
    async with engine.worker():
        execution_id = await engine.start(ASK, AFTER)
        await decide(engine, await pending(engine, execution_id), "reject")
        execution = await engine.ended(execution_id)
    assert step_of(execution, "ask")["output"]["approved"] is False
    assert (execution["status"], step_of(execution, "after")["status"]) == ("completed", "skipped")


async def test_digest_is_that_of_what_is_shown(engine: Engine):
    async with engine.worker():
        approval = await pending(engine, await engine.start(ASK))
    fields = ("workflow_id", "workflow_version", "execution_id", "step", "prompt", "show")
    document = {name: approval[name] for name in fields}
    canonical = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    assert approval["digest"] == hashlib.sha256(canonical.encode()).hexdigest()
    assert approval["show"] == ASK["with"]["show"]


async def test_decision_on_something_else_is_refused(engine: Engine):
    async with engine.worker():
        approval = await pending(engine, await engine.start(ASK))
        answer = await decide(engine, approval, digest="0" * 64)
        again = (await engine.api.call("GET", f"{APPROVALS}/{approval['id']}")).json()
    assert (answer.status_code, answer.json()["type"]) == (409, "urn:tmws:problem:approval-changed")
    assert again["status"] == "pending"


async def test_approval_is_decided_once_by_many_at_once(engine: Engine):
    async with engine.worker():
        execution_id = await engine.start(ASK)
        approval = await pending(engine, execution_id)
        words = ["approve", "reject"] * 5
        answers = await asyncio.gather(*(decide(engine, approval, word) for word in words))
        execution = await engine.ended(execution_id)
    won = [word for word, answer in zip(words, answers, strict=True) if answer.status_code == 200]
    assert len(won) == 1
    assert {answer.status_code for answer in answers} == {200, 409}
    assert step_of(execution, "ask")["output"]["approved"] is (won == ["approve"])


async def test_repeated_request_gets_the_first_answer(engine: Engine):
    async with engine.worker():
        approval = await pending(engine, await engine.start(ASK))
        key = {"Idempotency-Key": f"decide {approval['id']}".replace(" ", "-")}
        first, second = [await decide(engine, approval, headers=key) for _ in range(2)]
    assert (first.status_code, second.status_code, second.json()) == (200, 200, first.json())


async def test_listed_personas_alone_may_decide(engine: Engine):
    async with engine.worker():
        approval = await pending(engine, await engine.start(asking(approvers=["hera-strategist"])))
        refused = [await decide(engine, approval, persona=persona) for persona in (None, "muses")]
        granted = await decide(engine, approval, persona="hera-strategist")
    assert [answer.status_code for answer in refused] == [403, 403]
    assert granted.status_code == 200


async def test_who_started_it_may_not_decide_when_the_step_says_so(engine: Engine):
    async with engine.worker():
        approval = await pending(engine, await engine.start(asking(allow_self=False)))
        answer = await decide(engine, approval)
    assert (answer.status_code, answer.json()["type"]) == (403, "urn:tmws:problem:not-an-approver")


async def test_deciding_needs_its_own_scope(engine: Engine):
    async with engine.worker():
        approval = await pending(engine, await engine.start(ASK))
        answer = await decide(engine, approval, scopes=SCOPES - {"workflow:approve"})
    assert answer.status_code == 403


async def test_approval_of_another_namespace_is_not_there(engine: Engine):
    async with engine.worker():
        approval = await pending(engine, await engine.start(ASK))
        missing = {**approval, "id": "0190a000-0000-7000-8000-000000000000"}
        answers = [
            await engine.api.call("GET", f"{APPROVALS}/{approval['id']}", namespace="other"),
            await decide(engine, approval, namespace="other"),
            await decide(engine, missing),
        ]
        listed = (await engine.api.call("GET", APPROVALS, namespace="other")).json()
    assert [answer.status_code for answer in answers] == [404, 404, 404]
    assert len({answer.json()["title"] for answer in answers}) == 1
    assert listed["items"] == []


async def test_pending_approvals_are_listed_a_page_at_a_time(engine: Engine):
    async with engine.worker():
        approvals = [await pending(engine, await engine.start(ASK)) for _ in range(3)]
        started = [approval["execution_id"] for approval in approvals]
        await decide(engine, approvals[1])
        wanted, found = {"status": "pending", "limit": 1}, []
        while True:
            page = (await engine.api.call("GET", APPROVALS, params=wanted)).json()
            found += [item["execution_id"] for item in page["items"]]
            if page["next_cursor"] is None:
                break
            wanted["cursor"] = page["next_cursor"]
        own = (await engine.api.call("GET", APPROVALS, params={"execution_id": started[1]})).json()
    assert [each for each in found if each in started] == [started[2], started[0]]
    assert [item["status"] for item in own["items"]] == ["approved"]


async def test_approval_of_a_cancelled_execution_is_withdrawn(engine: Engine):
    async with engine.worker():
        execution_id = await engine.start(ASK)
        approval = await pending(engine, execution_id)
        await engine.api.call("POST", f"/api/v1/workflows/{approval['workflow_id']}/cancel")
        late = await decide(engine, approval)
        wanted = {"execution_id": execution_id, "status": "pending"}
        listed = (await engine.api.call("GET", APPROVALS, params=wanted)).json()
        status = "pending"
        while status == "pending":
            await asyncio.sleep(0.02)
            status = (await engine.api.call("GET", f"{APPROVALS}/{approval['id']}")).json()["status"]
    assert (late.status_code, late.json()["type"]) == (409, "urn:tmws:problem:approval-not-open")
    assert (listed["items"], status) == ([], "withdrawn")


async def test_expired_approval_completes_undecided(engine: Engine):
    async with engine.worker():
        execution = await engine.run(asking(expires_in="300ms"), AFTER)
    output = step_of(execution, "ask")["output"]
    assert (output["approved"], output["by"], output["comment"]) == (False, None, None)
    assert step_of(execution, "after")["status"] == "skipped"


async def asked(engine: Engine, execution_id: str, count: int):
    """The approvals of an execution, once so many wait."""
    wanted = {"execution_id": execution_id, "status": "pending"}
    found = []
    async with asyncio.timeout(10):
        while len(found) < count:
            found = (await engine.api.call("GET", APPROVALS, params=wanted)).json()["items"]
    return found


async def test_each_item_of_a_map_is_decided_by_itself(engine: Engine):
    inner = {"uses": "approval", "with": {"prompt": "Publish?", "show": "${{ item }}"}}
    async with engine.worker():
        execution_id = await engine.start({"id": "each", "uses": "map", "with": {"over": ["a", "b"]}, "step": inner})
        for approval in await asked(engine, execution_id, 2):
            await decide(engine, approval, "approve" if approval["show"] == "b" else "reject")
        execution = await engine.ended(execution_id)
    assert [item["output"]["approved"] for item in step_of(execution, "each")["output"]] == [False, True]


async def test_who_started_the_parent_may_not_decide_for_the_child_either(engine: Engine):
    child = await engine.save(asking(allow_self=False))
    async with engine.worker():
        parent_id = await engine.start({"id": "sub", "uses": "workflow", "with": {"workflow_id": child}})
        parent = await engine.reached(parent_id, "sub", "waiting")
        child_id = step_of(parent, "sub")["waiting_for"]["execution_id"]
        answer = await decide(engine, (await asked(engine, child_id, 1))[0])
    assert answer.status_code == 403


async def test_step_asks_once_however_often_it_is_tried(engine: Engine):
    async with engine.worker():
        execution_id = await engine.start(ASK)
        approval = await pending(engine, execution_id)
        # As if the worker had died between asking and saying so.
        await engine.sql(
            "UPDATE step_executions SET status = 'ready', sched_key = now(), wait_key = NULL WHERE execution_id = $1",
            execution_id,
        )
        again = await pending(engine, execution_id)
    assert again["id"] == approval["id"]
    assert len(await engine.sql("SELECT 1 FROM approvals WHERE execution_id = $1", execution_id)) == 1
    asked = await engine.sql("SELECT 1 FROM outbox WHERE type = 'approval.requested' AND subject = $1", approval["id"])
    assert len(asked) == 1


async def test_step_that_is_run_again_asks_anew(engine: Engine):
    fails = {"id": "fails", "uses": "transform", "needs": ["ask"], "with": {"x": "${{ 1 / 0 }}"}}
    async with engine.worker():
        execution_id = await engine.start(ASK, fails)
        first = await pending(engine, execution_id)
        await decide(engine, first)
        await engine.ended(execution_id)
        again = await engine.api.call("POST", f"/api/v1/executions/{execution_id}/retry", json={"from_step": "ask"})
        second = await pending(engine, execution_id)
        refused = await decide(engine, first, "reject")
    assert again.status_code == 200, again.text
    assert (second["id"] != first["id"], second["digest"]) == (True, first["digest"])
    assert (refused.status_code, refused.json()["decision"]) == (409, "approved")


async def test_decision_is_announced_with_the_change(engine: Engine):
    async with engine.worker():
        execution_id = await engine.start(ASK)
        approval = await pending(engine, execution_id)
        await decide(engine, approval, "reject")
    events = await engine.sql("SELECT type, data FROM outbox WHERE subject = $1 ORDER BY position", approval["id"])
    assert [event["type"] for event in events] == ["approval.requested", "approval.rejected"]
    assert json.loads(events[1]["data"]) == {"execution_id": execution_id, "step": "ask", "by": "tester"}


@pytest.mark.parametrize(
    "body", [{}, {"digest": "x"}, {"digest": "0" * 64, "comment": "a\0b"}, {"digest": "0" * 64, "x": 1}]
)
async def test_malformed_decision_is_refused(engine: Engine, body):
    async with engine.worker():
        approval = await pending(engine, await engine.start(ASK))
    answer = await engine.api.call("POST", f"{APPROVALS}/{approval['id']}/approve", json=body)
    assert answer.status_code == 422
