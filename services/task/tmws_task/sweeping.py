"""The worker's rounds: claims that have expired, and counts."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import Final

from tmws_shared.database import Database
from tmws_task.repository.claims import take_back

SWEEP_S: Final = 2.0
ADD_UP_S: Final = 10.0
_AT_ONCE: Final = 500


async def sweep(database: Database, tell: Callable[[], Awaitable[None]]) -> int:
    """Return every task whose claim has expired to the queue, tell of it, and return how many there were."""
    count = 0
    while taken := await take_back(database, _AT_ONCE):
        count += len(taken)
        await tell()
    return count


async def keep_sweeping(database: Database, tell: Callable[[], Awaitable[None]]) -> None:
    """Sweep every two seconds or so, until cancelled; workers that start together do not sweep together."""
    while True:
        await sweep(database, tell)
        await asyncio.sleep(SWEEP_S * random.uniform(0.75, 1.25))  # noqa: S311 -- no secret
