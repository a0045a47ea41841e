"""Rings the workers' bell from the side, so that nothing waits for Redis."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from tmws_shared.jobs import Doorbell

BELL = "workflow"
TIMEOUT_S = 1.0


class Ringer:
    """Rings when asked to; many askings before the next ring are one."""

    def __init__(self, bell: Doorbell) -> None:
        self._bell = bell
        self._asked = asyncio.Event()

    def ask(self) -> None:
        """Have the bell rung soon."""
        self._asked.set()

    async def run(self) -> None:
        """Ring until cancelled. A lost ring costs a poll interval, never work."""
        while True:
            await self._asked.wait()
            self._asked.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(TIMEOUT_S):
                    await self._bell.ring()
