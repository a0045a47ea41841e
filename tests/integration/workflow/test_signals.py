"""A signal step waits until the execution is sent a signal of its name."""

import asyncio

import pytest

from support.workflow_engine import Engine, step_of

GO = {"id": "go", "uses": "signal", "with": {"name": "go"}}
UNKNOWN = "0190a000-0000-7000-8000-000000000000"


async def send(engine: Engine, execution_id: str, name: str = "go", **call):
    body = {"name": name, "payload": call.pop("payload", {})}
    return await engine.api.call("POST", f"/api/v1/executions/{execution_id}/signals", json=body, **call)


async def test_signal_lets_the_step_go_on_with_its_payload(engine: Engine):
    async with engine.worker():
        execution_id = await engine.start(GO)
        waiting = await engine.reached(execution_id, "go", "waiting")
        answer = await send(engine, execution_id, payload={"n": [1, {"x": "ü"}]})
        execution = await engine.ended(execution_id)
    output = step_of(execution, "go")["output"]
    assert answer.status_code == 202
    assert step_of(waiting, "go")["waiting_for"]["signal"] == "go"
    assert (output["name"], output["payload"], output["by"]) == ("go", {"n": [1, {"x": "ü"}]}, "tester")
    assert output["at"] == answer.json()["at"]


async def test_signal_sent_before_the_step_waits_is_not_lost(engine: Engine):
    late = GO | {"needs": ["first"]}
    execution_id = await engine.start({"id": "first", "uses": "transform"}, late)
    await send(engine, execution_id, payload={"early": True})
    async with engine.worker():
        execution = await engine.ended(execution_id)
    assert step_of(execution, "go")["output"]["payload"] == {"early": True}


async def test_signals_are_taken_in_order_each_once(engine: Engine):
    steps = [GO | {"id": f"go{n}", "needs": [f"go{n - 1}"] if n else []} for n in range(4)]
    execution_id = await engine.start(*steps)
    for n in range(4):
        await send(engine, execution_id, payload={"n": n})
    async with engine.worker():
        execution = await engine.ended(execution_id)
    assert [step_of(execution, f"go{n}")["output"]["payload"]["n"] for n in range(4)] == [0, 1, 2, 3]


async def test_steps_that_wait_side_by_side_take_one_each(engine: Engine):
    async with engine.worker():
        execution_id = await engine.start(*(GO | {"id": f"go{n}"} for n in range(3)))
        for n in range(3):
            await engine.reached(execution_id, f"go{n}", "waiting")
        await asyncio.gather(*(send(engine, execution_id, payload={"n": n}) for n in range(3)))
        execution = await engine.ended(execution_id)
    assert sorted(step_of(execution, f"go{n}")["output"]["payload"]["n"] for n in range(3)) == [0, 1, 2]


async def test_signal_of_another_name_lets_nothing_go_on(engine: Engine):
    async with engine.worker():
        execution_id = await engine.start(GO | {"timeout": "1500ms"})
        await engine.reached(execution_id, "go", "waiting")
        await send(engine, execution_id, "stop")
        execution = await engine.ended(execution_id)
    assert execution["status"] == "timed_out"


@pytest.mark.parametrize(("run", "n"), [(0, 1), (7, 2)])
async def test_signal_belongs_to_the_run_of_the_step_that_took_it(engine: Engine, run: int, n: int):
    """A worker may die after taking a signal: the run it was for has it still, a later run takes the next one."""
    execution_id = await engine.start(GO)
    for number in (1, 2):
        await send(engine, execution_id, payload={"n": number})
    await engine.sql(
        """UPDATE signals SET taken_by = 'go', taken_run = $2
           WHERE position = (SELECT min(position) FROM signals WHERE execution_id = $1)""",
        execution_id,
        run,
    )
    async with engine.worker():
        execution = await engine.ended(execution_id)
    assert step_of(execution, "go")["output"]["payload"] == {"n": n}


async def test_repeated_request_sends_one_signal(engine: Engine):
    execution_id = await engine.start(GO)
    answers = [await send(engine, execution_id, headers={"Idempotency-Key": "once"}) for _ in range(2)]
    kept = await engine.sql("SELECT 1 FROM signals WHERE execution_id = $1", execution_id)
    assert (len(kept), answers[0].json()) == (1, answers[1].json())


async def test_execution_that_has_ended_takes_no_signals(engine: Engine):
    async with engine.worker():
        execution = await engine.run({"id": "a", "uses": "transform"})
    answer = await send(engine, execution["id"])
    assert (answer.status_code, answer.json()["type"]) == (409, "urn:tmws:problem:execution-ended")


async def test_execution_of_another_namespace_is_not_there(engine: Engine):
    execution_id = await engine.start(GO)
    answers = [await send(engine, execution_id, namespace="other"), await send(engine, UNKNOWN)]
    assert [answer.status_code for answer in answers] == [404, 404]


@pytest.mark.parametrize(
    "body",
    [{}, {"name": ""}, {"name": "a b"}, {"name": "a:b"}, {"name": "go", "payload": []},
     {"name": "go", "payload": {"a": "\0"}}, {"name": "go", "by": "me"}],
)  # fmt: skip
async def test_malformed_signal_is_refused(engine: Engine, body):
    execution_id = await engine.start(GO)
    answer = await engine.api.call("POST", f"/api/v1/executions/{execution_id}/signals", json=body)
    assert answer.status_code == 422
