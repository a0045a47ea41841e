"""Two processes of the task service on one database."""

import asyncio
from time import monotonic

from support.postgres import DatabaseUrls
from support.service import running, settings_for
from support.tasks import Board
from tmws_task.app import build
from tmws_task.claiming import POLL_S
from tmws_task.settings import TaskSettings

SETTLE_S = 0.5


async def seconds_to_hear(database: DatabaseUrls, redis_url: str) -> float:
    """Return how long after a task is made in one process a claim that waits in another one has it."""
    settings = settings_for(TaskSettings, "task", database, redis_url)
    async with running(build(settings), "task") as here, running(build(settings), "task") as there:
        board = Board(here)
        waiting = asyncio.create_task(Board(there, board.namespace).claim(wait_seconds=10))
        await asyncio.sleep(SETTLE_S)
        created = await board.create()
        began = monotonic()
        (claimed,) = await waiting
        assert claimed["id"] == created["id"]
        return monotonic() - began


async def test_claim_that_waits_in_another_process_is_woken_by_redis(database: DatabaseUrls, empty_redis_url: str):
    assert await seconds_to_hear(database, empty_redis_url) < 0.3


async def test_claim_that_waits_in_another_process_looks_for_itself_without_redis(database: DatabaseUrls):
    assert await seconds_to_hear(database, "") < 2 * POLL_S
