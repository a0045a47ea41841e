"""The memory service's background process: memories expire, are promoted, are purged."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import timedelta

from fastapi import FastAPI

from tmws_memory.accesses import BELL
from tmws_memory.models import SCHEMA
from tmws_memory.repository import MemoryKeeping
from tmws_memory.settings import MemorySettings
from tmws_shared.app import open_database, serve
from tmws_shared.background import Loop, create_worker, every
from tmws_shared.idempotency import forget_old_keys
from tmws_shared.jobs import Doorbell

TEND_EVERY_S = 60.0
CLEAN_EVERY_S = 600.0
BELL_POLL_S = 1.0


class Gardener:
    """Tends what lives for a while, every minute and whenever the bell rings."""

    def __init__(self, keeping: MemoryKeeping, settings: MemorySettings) -> None:
        self._keeping = keeping
        self._settings = settings
        self._woken = asyncio.Event()

    def wake(self) -> None:
        """Tend again without waiting."""
        self._woken.set()

    async def run(self) -> None:
        """Tend until cancelled."""
        while True:
            self._woken.clear()
            await self.tend()
            try:
                async with asyncio.timeout(TEND_EVERY_S):
                    await self._woken.wait()
            except TimeoutError:
                continue

    async def tend(self) -> None:
        """Promote what is used or important, then let expire what is not."""
        uses, importance = self._settings.memory_promote_uses, self._settings.memory_promote_importance
        await self._keeping.promote(uses, importance)
        await self._keeping.expire(uses, importance)

    async def purge(self) -> None:
        """Erase what was deleted long ago."""
        await self._keeping.purge(timedelta(days=self._settings.memory_deleted_days))


def build(settings: MemorySettings) -> FastAPI:
    """Return the worker of the memory service."""

    @asynccontextmanager
    async def open_loops(app: FastAPI) -> AsyncGenerator[dict[str, Loop]]:
        async with open_database(settings, "tmws_memory", SCHEMA, max_size=3) as database:
            app.state.checks["database"] = database.check
            gardener = Gardener(MemoryKeeping(database), settings)
            bell = Doorbell(settings.redis_url.get_secret_value(), BELL, poll_s=BELL_POLL_S)
            yield {
                "tend memories": gardener.run,
                "purge memories": lambda: every(CLEAN_EVERY_S, gardener.purge),
                "forget old answers": lambda: every(CLEAN_EVERY_S, lambda: forget_old_keys(database)),
                "hear the bell": lambda: bell.listen(gardener.wake),
            }
            await bell.close()

    return create_worker("memory-worker", settings, open_loops)


if __name__ == "__main__":
    serve("memory-worker", MemorySettings, build)
