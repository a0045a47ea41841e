"""Agents and people do everything at once; whatever they did, the rows agree with each other afterwards."""

import asyncio
import random
from typing import Any

import asyncpg
import pytest

from support.postgres import DatabaseUrls
from support.service import ServiceUnderTest
from support.tasks import Board

pytestmark = pytest.mark.long

TASKS, AGENTS, STEPS = 24, 12, 14
PRIORITIES = ["low", "medium", "high", "urgent"]

# Each finds rows that are wrong.
UNMET = """
    SELECT t.id FROM tasks t WHERE t.unmet <> (
        SELECT count(*) FROM task_dependencies d JOIN tasks o ON o.id = d.depends_on
        WHERE d.task_id = t.id AND o.status <> 'completed')
"""
UNBLOCKS = """
    SELECT t.id FROM tasks t WHERE t.status IN ('pending', 'in_progress', 'input_required') AND t.unblocks <> (
        SELECT count(*) FROM task_dependencies d JOIN tasks w ON w.id = d.task_id
        WHERE d.depends_on = t.id AND w.status IN ('pending', 'in_progress', 'input_required'))
"""
PRIORITY = """
    WITH RECURSIVE waits (id, by) AS (
        SELECT id, id FROM tasks WHERE status IN ('pending', 'in_progress', 'input_required')
        UNION
        SELECT w.id, t.id FROM waits w JOIN task_dependencies d ON d.depends_on = w.by
        JOIN tasks t ON t.id = d.task_id AND t.status IN ('pending', 'in_progress', 'input_required')
    )
    SELECT t.id FROM tasks t JOIN (
        SELECT w.id, max(b.priority) AS priority FROM waits w JOIN tasks b ON b.id = w.by GROUP BY w.id
    ) n ON n.id = t.id WHERE n.priority <> t.effective_priority
"""
HISTORY = """
    SELECT e.task_id FROM (
        SELECT task_id, version, from_status, row_number() OVER w AS number, lag(to_status) OVER w AS before
        FROM task_events WINDOW w AS (PARTITION BY task_id ORDER BY id)
    ) e WHERE e.version <> e.number OR e.from_status IS DISTINCT FROM e.before
"""
LAST = """
    SELECT t.id FROM tasks t JOIN task_events e ON e.task_id = t.id AND e.version = t.version
    WHERE e.to_status <> t.status
    UNION ALL
    SELECT id FROM tasks t
    WHERE NOT EXISTS (SELECT 1 FROM task_events e WHERE e.task_id = t.id AND e.version = t.version)
"""
LEASES = "SELECT id FROM tasks WHERE lease_until IS NOT NULL AND (status <> 'in_progress' OR claim_token IS NULL)"
CIRCLES = """
    WITH RECURSIVE above (start, id) AS (
        SELECT task_id, depends_on FROM task_dependencies
        UNION
        SELECT a.start, d.depends_on FROM above a JOIN task_dependencies d ON d.task_id = a.id
    )
    SELECT start FROM above WHERE start = id
"""
COUNTS = """
    SELECT status FROM (
        SELECT status, sum(tasks) AS tasks FROM (
            SELECT status, tasks FROM task_counts WHERE namespace = $1
            UNION ALL SELECT status, tasks FROM task_count_changes WHERE namespace = $1) c GROUP BY status
    ) c FULL JOIN (
        SELECT status, count(*) AS tasks FROM tasks
        WHERE namespace = $1 AND status IN ('completed', 'failed', 'cancelled') GROUP BY status
    ) t USING (status) WHERE coalesce(c.tasks, 0) <> coalesce(t.tasks, 0)
"""


class Worker:
    """Does what comes to its mind, and notes every status it is answered with."""

    def __init__(self, board: Board, ids: list[str], seed: int) -> None:
        self._board = board
        self._ids = ids
        self._random = random.Random(seed)  # noqa: S311 -- no secret
        self._claimed: list[dict[str, Any]] = []
        self.seen: set[int] = set()
        self.given: list[int] = []

    async def run(self) -> None:
        deeds = [
            self.claim,
            self.claim,
            self.end,
            self.end,
            self.turn,
            self.change,
            self.depend,
            self.delete,
            self.make,
        ]
        for _ in range(STEPS):
            answer = await self._random.choice(deeds)()
            if answer is not None:
                self.seen.add(answer.status_code)

    def any(self) -> str:
        return self._random.choice(self._ids)

    async def claim(self) -> Any:
        answer = await self._board.try_claim(f"agent-{id(self)}", limit=self._random.randint(1, 3))
        self._claimed += answer.json()["items"]
        self.given += [one["claim_token"] for one in answer.json()["items"]]
        return answer

    async def end(self) -> Any:
        if not self._claimed:
            return None
        one = self._claimed.pop()
        verb = self._random.choice(["complete", "complete", "fail", "release", "heartbeat"])
        return await self._board.post(one, verb, claim_token=one["claim_token"])

    async def turn(self) -> Any:
        return await self._board.post(self.any(), self._random.choice(["cancel", "reopen"]))

    async def change(self) -> Any:
        body = {"priority": self._random.choice(PRIORITIES)}
        return await self._board.call("PATCH", f"/{self.any()}", json=body)

    async def depend(self) -> Any:
        chosen = self._random.sample(self._ids, k=self._random.randint(0, 2))
        return await self._board.call("PUT", f"/{self.any()}", json={"depends_on": chosen})

    async def delete(self) -> Any:
        return await self._board.call("DELETE", f"/{self.any()}")

    async def make(self) -> Any:
        body = {"title": "x", "priority": self._random.choice(PRIORITIES), "depends_on": [self.any()]}
        answer = await self._board.call("POST", json=body)
        if answer.status_code == 201:
            self._ids.append(answer.json()["id"])
        return answer


@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_rows_agree_after_everything_was_done_at_once(task: ServiceUnderTest, database: DatabaseUrls, seed: int):
    board = Board(task)
    ids = [(await board.create(priority=PRIORITIES[number % 4]))["id"] for number in range(TASKS)]
    workers = [Worker(board, ids, seed * 1000 + number) for number in range(AGENTS)]
    await asyncio.gather(*(worker.run() for worker in workers))
    assert set.union(*(worker.seen for worker in workers)) <= {200, 201, 204, 404, 409, 422}
    tokens = [token for worker in workers for token in worker.given]
    assert len(tokens) == len(set(tokens))
    connection = await asyncpg.connect(database.for_service("task"))
    try:
        wrong = {
            one: await connection.fetch(one) for one in (UNMET, UNBLOCKS, PRIORITY, HISTORY, LAST, LEASES, CIRCLES)
        }
        wrong[COUNTS] = await connection.fetch(COUNTS, board.namespace)
    finally:
        await connection.close()
    assert {statement: rows for statement, rows in wrong.items() if rows} == {}
