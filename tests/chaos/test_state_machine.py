"""Any order of claims, results, losses and commands, on the real SQL: the books balance after each, and all ends.

Time passes by moving moments in the tables back, so that nothing has to be waited for.
"""

import asyncio
import os
import tempfile
from collections import Counter
from collections.abc import Callable
from contextlib import AsyncExitStack, ExitStack
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from support.postgres import PostgresForTests
from support.workflow_engine import ENDED, Engine, running_engine
from tmws_shared.database import Database
from tmws_workflow.committer import Committed, Committer
from tmws_workflow.engine import Aborted, Completed, Failed, LeaseLost, Maps, Outcome, Released, Report, Verdict, Waits
from tmws_workflow.plans import Plans
from tmws_workflow.repository.queue import Held, Queue

LEASE_S = 60.0
OPEN = ("pending", "ready", "running", "waiting")
ERROR = {"code": "test", "message": "It was told to fail."}
WORKERS = 3
DRAIN_ROUNDS = 200
EXAMPLES = int(os.environ.get("CHAOS_EXAMPLES", "60"))


def step(name: str, *needs: str, **fields: Any) -> dict[str, Any]:
    return {"id": name, "uses": "transform", "needs": list(needs), "with": {"x": 1}, **fields}


UNDO = {"uses": "transform", "with": {"undone": True}}
EACH = {"id": "each", "uses": "map", "with": {"over": [1, 2, 3], "concurrency": 2}}
SHAPES: dict[str, list[dict[str, Any]]] = {
    "chain": [step("a"), step("b", "a"), step("c", "b")],
    "diamond": [step("a"), step("b", "a"), step("c", "a"), step("d", "b", "c")],
    "tolerant": [step("a", on_error="continue"), step("b", "a"), step("c")],
    "undoable": [step("a", compensate=UNDO), step("b", "a", compensate=UNDO), step("c", "b")],
    "once": [step("a", at_most_once=True), step("b", "a")],
    "map": [{**EACH, "step": {"uses": "transform", "with": {"v": "${{ item }}"}}}, step("after", "each")],
}


class Worker:
    """A worker whose every step is told what to become."""

    def __init__(self, database: Database) -> None:
        self.owner = uuid4()
        self.held: list[Held] = []
        self.committer = Committer(database, Plans(), self.owner, LEASE_S, self)

    def room_to_adopt(self, freed: int) -> int:
        """Take some of what a commit makes ready, and leave the rest to others."""
        return freed

    def note(self, report: Report) -> None:
        """Remember nothing."""

    def follow(self, committed: Committed) -> None:
        """Hold what a commit handed on."""
        self.held += committed.adopted


class World:
    """The service and its database, shared by all machines: they are made in seconds, machines in milliseconds."""

    def __init__(self, cluster: PostgresForTests, stack: ExitStack) -> None:
        self.run = stack.enter_context(asyncio.Runner()).run
        self._cluster = cluster
        self._stack = AsyncExitStack()
        self.run(self._open(Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="tmws-")))))
        stack.callback(lambda: self.run(self._stack.aclose()))

    async def _open(self, folder: Path) -> None:
        running = running_engine(self._cluster.create_database(), folder)
        self.engine: Engine = await self._stack.enter_async_context(running)
        url = self.engine.database.for_service("workflow")
        self.database = await Database.connect(url, name="machine", max_size=8)
        self._stack.push_async_callback(self.database.close)
        self.workflows = {name: await self.engine.save(*steps) for name, steps in SHAPES.items()}


class EngineMachine(RuleBasedStateMachine):
    """Launches executions and does whatever may be done to them."""

    def __init__(self, world: World) -> None:
        super().__init__()
        self.run = world.run
        self.engine = world.engine
        self.database = world.database
        self.workflows = world.workflows
        self.executions: list[str] = []
        self.run(self._begin())

    async def _begin(self) -> None:
        await self.database.execute("TRUNCATE executions, step_executions, events CASCADE")
        self.workers = [Worker(self.database) for _ in range(WORKERS)]
        self._loops = [asyncio.create_task(worker.committer.run()) for worker in self.workers]

    # What callers do.

    @rule(shape=st.sampled_from(sorted(SHAPES)))
    def execute(self, shape: str) -> None:
        self.executions.append(self.run(self.engine.execute(self.workflows[shape])))

    @precondition(lambda self: self.executions)
    @rule(data=st.data(), command=st.sampled_from(["cancel", "pause", "resume", "retry"]))
    def command(self, data: st.DataObject, command: str) -> None:
        execution = data.draw(st.sampled_from(self.executions))
        answer = self.run(self.engine.api.call("POST", f"/api/v1/executions/{execution}/{command}"))
        assert answer.status_code in (200, 409), answer.text

    # What workers do.

    @rule(worker=st.integers(0, WORKERS - 1), limit=st.integers(1, 4))
    def claim(self, worker: int, limit: int) -> None:
        self.run(self._claim(self.workers[worker], limit))

    @precondition(lambda self: any(worker.held for worker in self.workers))
    @rule(data=st.data(), kind=st.sampled_from(["done", "done", "done", "fail", "retry", "wait", "abort", "release"]))
    def report(self, data: st.DataObject, kind: str) -> None:
        worker = data.draw(st.sampled_from([worker for worker in self.workers if worker.held]))
        held = worker.held.pop(data.draw(st.integers(0, len(worker.held) - 1)))
        self.run(self._report(worker, held, _outcome(kind, held)))

    @precondition(lambda self: any(worker.held for worker in self.workers))
    @rule(data=st.data())
    def say_it_twice(self, data: st.DataObject) -> None:
        worker = data.draw(st.sampled_from([worker for worker in self.workers if worker.held]))
        held = worker.held.pop()
        first = self.run(self._report(worker, held, _outcome("done", held)))
        second = self.run(self._report(worker, held, _outcome("done", held)))
        assert second is not Verdict.APPLIED
        assert first in (Verdict.APPLIED, Verdict.STALE)

    # What time and death do.

    @precondition(lambda self: any(worker.held for worker in self.workers))
    @rule(data=st.data(), is_dead=st.booleans())
    def lose_leases(self, data: st.DataObject, is_dead: bool) -> None:
        """A worker dies, or goes on with what it does not hold any more."""
        worker = data.draw(st.sampled_from([worker for worker in self.workers if worker.held]))
        age = "UPDATE step_executions SET lease_until = now() - interval '1 s' WHERE lease_owner = $1"
        self.run(self.database.execute(age, worker.owner))
        if is_dead:
            worker.held.clear()
        self.run(self._sweep())

    @rule()
    def let_time_pass(self) -> None:
        self.run(self._let_time_pass())

    # What must be true after each.

    @invariant()
    def books_balance(self) -> None:
        self.run(self._check())

    def teardown(self) -> None:
        """Work on in an orderly way: every execution ends."""
        try:
            self.run(self._drain())
            self.run(self._check())
        finally:
            self.run(self._end())

    async def _end(self) -> None:
        for loop in self._loops:
            loop.cancel()
        await asyncio.gather(*self._loops, return_exceptions=True)

    async def _claim(self, worker: Worker, limit: int) -> None:
        worker.held += [held for held, _ in await Queue(self.database).claim(limit, worker.owner, LEASE_S)]

    async def _report(self, worker: Worker, held: Held, outcome: Outcome) -> Verdict:
        report = Report(held.execution_id, held.path, held.fence, worker.owner, outcome)
        return await worker.committer.submit(report)

    async def _sweep(self) -> None:
        for lapsed in await Queue(self.database).lapsed(100):
            report = Report(lapsed.execution_id, lapsed.path, lapsed.fence, lapsed.owner, LeaseLost())
            await self.workers[0].committer.submit(report)

    async def _let_time_pass(self) -> None:
        await self.database.execute(
            """UPDATE step_executions SET sched_key = sched_key - interval '1 d', look_at = look_at - interval '1 d'
            WHERE status IN ('ready', 'waiting')"""
        )
        for wait in await Queue(self.database).due_waits(100, LEASE_S):
            report = Report(wait.execution_id, wait.path, wait.fence, None, Completed([]))
            await self.workers[0].committer.submit(report)

    async def _drain(self) -> None:
        for execution in self.executions:
            await self.engine.api.call("POST", f"/api/v1/executions/{execution}/resume")
        for _ in range(DRAIN_ROUNDS):
            await self._let_time_pass()
            for worker in self.workers:
                await self._claim(worker, 100)
                while worker.held:
                    held = worker.held.pop()
                    await self._report(worker, held, _outcome("done", held))
            if not await self.database.fetchval(
                "SELECT count(*) FROM executions WHERE status::text <> ALL($1::text[])", list(ENDED)
            ):
                return
        rows = await self.database.fetch("SELECT * FROM step_executions WHERE status::text = ANY($1::text[])", OPEN)
        raise AssertionError(f"executions do not end: {[dict(row) for row in rows]}")

    async def _check(self) -> None:
        wrong = await self.database.fetch(
            """SELECT e.id, e.status::text, e.open_steps, count(s.*) AS open FROM executions e
            LEFT JOIN step_executions s ON s.execution_id = e.id AND s.status::text = ANY($1::text[])
            GROUP BY e.id HAVING e.open_steps <> count(s.*) OR (e.status::text = ANY($2::text[]) AND count(s.*) > 0)""",
            OPEN,
            list(ENDED),
        )
        assert not wrong, [dict(row) for row in wrong]
        unheld = await self.database.fetch(
            """SELECT execution_id, path FROM step_executions WHERE status = 'running'
            AND (lease_owner IS NULL OR lease_until IS NULL) OR (status = 'ready' AND sched_key IS NULL)"""
        )
        assert not unheld, [dict(row) for row in unheld]
        gaps = await self.database.fetch(
            """SELECT e.id, e.last_seq, count(*) FROM executions e JOIN events v ON v.execution_id = e.id
            GROUP BY e.id HAVING e.last_seq <> count(*) OR e.last_seq <> max(v.seq)"""
        )
        assert not gaps, [dict(row) for row in gaps]
        await self._check_successes()

    async def _check_successes(self) -> None:
        """No step succeeds twice, unless somebody asked for it to be done again."""
        rows = await self.database.fetch("SELECT execution_id, type, path, data FROM events ORDER BY execution_id, seq")
        done: Counter[tuple[UUID, str]] = Counter()
        for row in rows:
            if row["type"] == "execution.retried":
                for key in [key for key in done if key[0] == row["execution_id"]]:
                    del done[key]
            elif row["type"] == "step.completed":
                done[row["execution_id"], row["path"]] += 1
        assert set(done.values()) <= {1}, done


def _outcome(kind: str, held: Held) -> Outcome:
    is_map = held.path == "each"
    outcomes: dict[str, Callable[[], Outcome]] = {
        "done": lambda: Maps([1, 2, 3], 2) if is_map else Completed({"x": 1}),
        "fail": lambda: Failed(ERROR),
        "retry": lambda: Failed(ERROR, 0.0),
        "wait": lambda: Waits("time", 3600.0),
        "abort": Aborted,
        "release": Released,
    }
    return outcomes[kind]()


@pytest.mark.timeout(3600)
def test_engine_keeps_its_books(cluster: PostgresForTests) -> None:
    with ExitStack() as stack:
        world = World(cluster, stack)
        run_state_machine_as_test(
            lambda: EngineMachine(world),
            settings=settings(
                max_examples=EXAMPLES, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)
            ),
        )
