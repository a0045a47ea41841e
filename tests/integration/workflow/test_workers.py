"""Workers that race, die, freeze and come back: every step succeeds once and no execution is lost."""

import asyncio
import os
import signal
from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from uuid import UUID, uuid4

import pytest

from support.upstream import Upstream, ok, upstream
from support.workflow_engine import BRISK, Engine, step_of
from tmws_shared.database import Database
from tmws_workflow.committer import Committer
from tmws_workflow.engine import Completed, Report, Verdict
from tmws_workflow.plans import Plans
from tmws_workflow.repository.queue import Held, Queue
from tmws_workflow.runner import Pace, Runner

pytestmark = [pytest.mark.long, pytest.mark.usefixtures("empty_queue")]

STEPS = [{"id": f"s{n}", "uses": "transform", "with": {"n": n}} for n in range(5)]
SEARCH = {"id": "a", "uses": "memory.search", "with": {"query": "x"}}
FOUND = ok(b'{"items": []}')
CUT = """SELECT pg_terminate_backend(pid) FROM pg_stat_activity
    WHERE usename = 'tmws_workflow' AND pid <> pg_backend_pid() AND pid <> ALL($1::int[])"""
SLOW = [b"HTTP/1.1 200 OK\r\nContent-Length: 82\r\n\r\n", *[b" "] * 80, b"{}"]  # four seconds


@asynccontextmanager
async def opened_database(engine: Engine) -> AsyncGenerator[Database]:
    database = await Database.connect(engine.database.for_service("workflow"), name="test", max_size=4)
    try:
        yield database
    finally:
        await database.close()


@asynccontextmanager
async def committer_of(database: Database, owner: UUID) -> AsyncGenerator[Committer]:
    committer = Runner(database, Plans(), None, owner, 1, BRISK).committer
    committing = asyncio.create_task(committer.run())
    try:
        yield committer
    finally:
        committing.cancel()
        await asyncio.gather(committing, return_exceptions=True)


async def claim_only_step(database: Database, owner: UUID) -> Held:
    [(held, _)] = await Queue(database).claim(1, owner, 60.0)
    return held


def completions(journal: list[dict]) -> Counter:
    return Counter(event["step"] for event in journal if event["type"] == "step.completed")


async def asked(memory: Upstream) -> None:
    while not memory.asked:
        await asyncio.sleep(0.01)


async def test_two_claims_never_take_the_same_step(engine: Engine):
    workflow = await engine.save(*STEPS, kind="parallel")
    for _ in range(20):
        await engine.execute(workflow)
    async with opened_database(engine) as database:
        queue = Queue(database)
        claims = await asyncio.gather(*(queue.claim(7, uuid4(), 60.0) for _ in range(40)))
    taken = [(held.execution_id, held.path) for claim in claims for held, _ in claim]
    assert len(taken) == len(set(taken))


async def test_many_workers_run_every_step_once(engine: Engine):
    workflow = await engine.save(*STEPS, kind="sequential")
    executions = [await engine.execute(workflow) for _ in range(30)]
    async with engine.worker(workflow_in_flight=3), engine.worker(workflow_in_flight=3), engine.worker():
        ended = [await engine.ended(execution_id) for execution_id in executions]
    assert {execution["status"] for execution in ended} == {"completed"}
    assert {step["attempt"] for execution in ended for step in execution["steps"]} == {1}


async def test_journals_have_no_gaps(engine: Engine):
    workflow = await engine.save(*STEPS, kind="parallel")
    executions = [await engine.execute(workflow) for _ in range(10)]
    async with engine.worker(workflow_in_flight=2), engine.worker(workflow_in_flight=2):
        for execution_id in executions:
            await engine.ended(execution_id)
    journals = [await engine.journal(execution_id) for execution_id in executions]
    assert all([event["seq"] for event in journal] == list(range(1, len(journal) + 1)) for journal in journals)


async def test_killed_worker_s_execution_is_completed_by_another(engine: Engine, folder):
    slow = SEARCH | {"id": "slow", "needs": ["first"]}
    first, last = {"id": "first", "uses": "transform"}, {"id": "last", "uses": "transform", "needs": ["slow"]}
    async with upstream(folder, SLOW, FOUND) as memory:
        with engine.worker_process("doomed", TMWS_MEMORY_URL=memory.url) as process:
            execution_id = await engine.start(first, slow, last)
            await asked(memory)
            os.kill(process.pid, signal.SIGKILL)
        async with engine.worker(memory_url=memory.url):
            execution = await engine.ended(execution_id)
    journal = await engine.journal(execution_id)
    assert execution["status"] == "completed"
    assert completions(journal) == {"first": 1, "slow": 1, "last": 1}
    assert step_of(execution, "first")["attempt"] == 1
    assert [event["type"] for event in journal].count("step.lease_lost") == 1


async def test_worker_killed_among_many_executions_loses_none(engine: Engine):
    workflow = await engine.save(*STEPS, kind="sequential")
    with engine.worker_process("doomed") as process:
        executions = [await engine.execute(workflow) for _ in range(40)]
        await engine.wait(executions[0], lambda execution: execution["status"] != "pending")
        os.kill(process.pid, signal.SIGKILL)
    async with engine.worker():
        ended = [await engine.ended(execution_id) for execution_id in executions]
    journals = [await engine.journal(execution_id) for execution_id in executions]
    assert {execution["status"] for execution in ended} == {"completed"}
    assert {count for journal in journals for count in completions(journal).values()} == {1}


async def test_step_that_kills_its_workers_is_given_up(engine: Engine):
    execution_id = await engine.start(SEARCH)
    lost = (
        "UPDATE step_executions SET status = 'running', attempt = 3, lease_losses = 2, lease_owner = gen_random_uuid(),"
        " lease_until = now() - interval '1 s', fence = 3 WHERE execution_id = $1"
    )
    await engine.sql(lost, execution_id)
    async with engine.worker():
        execution = await engine.ended(execution_id)
    assert execution["error"]["code"] == "lease_lost"


async def test_frozen_worker_s_late_result_is_refused_and_recorded(engine: Engine, folder):
    async with upstream(folder, SLOW, FOUND) as memory:
        with engine.worker_process("frozen", TMWS_MEMORY_URL=memory.url) as process:
            execution_id = await engine.start(SEARCH)
            await asked(memory)
            process.send_signal(signal.SIGSTOP)
            async with engine.worker(memory_url=memory.url):
                await engine.ended(execution_id)
            process.send_signal(signal.SIGCONT)
            [late] = await wait_for_refusal(engine, execution_id)
    assert late["step"] == "a"
    assert completions(await engine.journal(execution_id)) == {"a": 1}


async def wait_for_refusal(engine: Engine, execution_id: str) -> list[dict]:
    refusals: list[dict] = []
    for _ in range(500):
        refusals = [event for event in await engine.journal(execution_id) if event["type"] == "step.result_refused"]
        await asyncio.sleep(0 if refusals else 0.05)
        if refusals:
            break
    return refusals


async def test_report_under_an_old_fence_is_refused(engine: Engine):
    execution_id, owner = UUID(await engine.start(SEARCH)), uuid4()
    async with opened_database(engine) as database, committer_of(database, owner) as committer:
        held = await claim_only_step(database, owner)
        stale = Report(execution_id, "a", held.fence - 1, owner, Completed(1))
        current = Report(execution_id, "a", held.fence, owner, Completed(1))
        verdicts = [await committer.submit(stale), await committer.submit(current)]
    assert verdicts == [Verdict.STALE, Verdict.APPLIED]


async def test_repeated_report_is_known_again(engine: Engine):
    execution_id, owner = UUID(await engine.start(SEARCH)), uuid4()
    async with opened_database(engine) as database, committer_of(database, owner) as committer:
        held = await claim_only_step(database, owner)
        report = Report(execution_id, "a", held.fence, owner, Completed(1))
        verdicts = [await committer.submit(report), await committer.submit(report)]
    assert verdicts == [Verdict.APPLIED, Verdict.REPEATED]


async def test_result_that_cannot_be_stored_fails_its_step_alone(engine: Engine, folder):
    nul = ok(b'{"items": ["\\u0000"]}')
    async with upstream(folder, nul) as memory, engine.worker(memory_url=memory.url):
        bad, good = await asyncio.gather(engine.run(SEARCH), engine.run(*STEPS, kind="parallel"))
    assert bad["error"]["code"] == "unstorable"
    assert good["status"] == "completed"


async def test_worker_that_leaves_hands_its_steps_back_at_once(engine: Engine, folder):
    async with upstream(folder, SLOW, FOUND) as memory:
        async with engine.worker(Pace(lease_s=3600), memory_url=memory.url):
            execution_id = await engine.start(SEARCH)
            await engine.reached(execution_id, "a", "running")
        released = await engine.execution(execution_id)
        async with engine.worker(memory_url=memory.url):
            execution = await engine.ended(execution_id)
    assert (step_of(released, "a")["status"], step_of(released, "a")["attempt"]) == ("ready", 0)
    assert execution["status"] == "completed"


async def test_lease_is_renewed_while_a_step_runs(engine: Engine, folder):
    async with (
        upstream(folder, SLOW) as memory,
        engine.worker(memory_url=memory.url),
        engine.worker(memory_url=memory.url),
    ):
        execution = await engine.run(SEARCH)
    assert execution["status"] == "completed"
    assert step_of(execution, "a")["attempt"] == 1


async def test_worker_goes_on_after_its_connections_were_lost(engine: Engine):
    steps = [{"id": "wait", "uses": "delay", "with": {"duration": "300ms"}}, *STEPS]
    workflow = await engine.save(*steps, kind="sequential")
    executions = [await engine.execute(workflow) for _ in range(20)]
    own = [row["pid"] for row in await engine.sql("SELECT pid FROM pg_stat_activity WHERE usename = 'tmws_workflow'")]
    async with engine.worker():
        await engine.reached(executions[-1], "wait", "waiting")
        await engine.sql(CUT, own)
        ended = [await engine.ended(execution_id) for execution_id in executions]
    journals = [await engine.journal(execution_id) for execution_id in executions]
    assert {execution["status"] for execution in ended} == {"completed"}
    assert {count for journal in journals for count in completions(journal).values()} == {1}


async def test_urgent_execution_overtakes(engine: Engine):
    workflow = await engine.save(SEARCH)
    await engine.execute(workflow)
    answer = await engine.api.call("POST", f"/api/v1/workflows/{workflow}/execute", json={"priority": "urgent"})
    async with opened_database(engine) as database:
        held = await claim_only_step(database, uuid4())
    assert str(held.execution_id) == answer.json()["execution_id"]
