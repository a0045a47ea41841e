"""What must be true of executions, whatever was killed."""

# asyncpg has no type stubs.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

import asyncio
import time
from collections import Counter
from collections.abc import Iterable

import asyncpg

from support.workflow_engine import ENDED, Engine

ENDS = frozenset({f"execution.{status}" for status in ENDED})


async def wait_until_ended(engine: Engine, executions: Iterable[str], timeout_s: float) -> None:
    """Return when every execution has ended."""
    wanted = list(executions)
    until = time.monotonic() + timeout_s
    while open_ones := await _open(engine, wanted):
        if time.monotonic() > until:
            raise TimeoutError(f"{len(open_ones)} of {len(wanted)} executions have not ended: {open_ones[:5]}")
        await asyncio.sleep(0.2)


async def check_journals(engine: Engine, executions: Iterable[str]) -> None:
    """Check that every journal is whole: no gaps, one success a step, and nothing after the end."""
    for execution in executions:
        journal = await engine.journal(execution)
        kinds = [event["type"] for event in journal]
        succeeded = Counter(event["step"] for event in journal if event["type"] == "step.completed")
        assert [event["seq"] for event in journal] == list(range(1, len(journal) + 1)), execution
        assert set(succeeded.values()) <= {1}, (execution, succeeded)
        assert [kind in ENDS for kind in kinds] == [False] * (len(kinds) - 1) + [True], (execution, kinds)


async def tasks_by_step(engine: Engine) -> Counter[tuple[str, str]]:
    """Return how many tasks each step of each execution has made."""
    connection = await asyncpg.connect(engine.database.for_service("task"))
    try:
        rows = await connection.fetch(
            """SELECT metadata -> 'workflow' ->> 'execution_id' AS execution, metadata -> 'workflow' ->> 'step' AS step
            FROM tasks WHERE metadata ? 'workflow'"""
        )
    finally:
        await connection.close()
    return Counter((row["execution"], row["step"]) for row in rows)


async def _open(engine: Engine, executions: list[str]) -> list[str]:
    rows = await engine.sql(
        "SELECT id::text FROM executions WHERE id = ANY($1::uuid[]) AND status::text <> ALL($2::text[])",
        executions,
        list(ENDED),
    )
    return [row["id"] for row in rows]
