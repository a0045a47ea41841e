"""Waiting for what comes a moment later."""

import asyncio
import time
from collections.abc import Callable
from typing import TypeVar

Value = TypeVar("Value")
TIMEOUT_S = 10.0


def eventually(look: Callable[[], Value], timeout_s: float = TIMEOUT_S) -> Value:
    """Return what `look` gives as soon as it is true in a condition, or what it gave last."""
    deadline = time.monotonic() + timeout_s
    while not (found := look()) and time.monotonic() < deadline:
        time.sleep(0.02)
    return found


async def until(condition: Callable[[], object], timeout_s: float = TIMEOUT_S) -> None:
    """Wait until a condition is true.

    Raises:
        TimeoutError: it does not become true.
    """
    async with asyncio.timeout(timeout_s):
        while not condition():
            await asyncio.sleep(0.02)
