"""The memory service's background process: memories expire, are promoted, are purged, are indexed and embedded."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import timedelta

from fastapi import FastAPI

from tmws_memory.accesses import BELL
from tmws_memory.alike.comparing import Comparer
from tmws_memory.bulk.loading import forget_old_imports
from tmws_memory.counts import TALLY
from tmws_memory.directory import Directory
from tmws_memory.embedding_client import EmbeddingClient
from tmws_memory.folding import Folder
from tmws_memory.keeping import MemoryKeeping
from tmws_memory.models import RAW_TYPES, SCHEMA
from tmws_memory.pending import Backlog
from tmws_memory.settings import MemorySettings
from tmws_memory.settling import Settler
from tmws_shared.app import open_database, serve
from tmws_shared.auth import InternalTokens
from tmws_shared.background import Loop, create_worker, every
from tmws_shared.database import Database
from tmws_shared.events import relaying
from tmws_shared.http import ServiceClient
from tmws_shared.idempotency import forget_old_keys
from tmws_shared.jobs import Doorbell

TEND_EVERY_S = 60.0
INDEX_EVERY_S = 3.0
EMBED_EVERY_S = 3.0
COMPARE_EVERY_S = 5.0
CLEAN_EVERY_S = 600.0
COUNT_EVERY_S = 10.0


class Indexer:
    """Keeps what finds memories in shape: folds words, settles vectors, in the collections that have changed."""

    def __init__(self, database: Database, settings: MemorySettings) -> None:
        self._folder = Folder(database)
        self._settler = Settler(database, settings)
        self._seen = 0

    async def tend(self) -> None:
        """Look after every collection that got new memories since the last time."""
        changed = await self._folder.changed_since(self._seen)
        for collection in changed:
            await self._folder.fold_when_due(collection)
            await self._settler.settle(collection)
        await self._folder.sweep_due()
        self._seen = max(changed.values(), default=self._seen)

    async def clean(self) -> None:
        """Sweep the last of what is gone, drop what is unused; look at every collection again the next time.

        A number is taken before its transaction ends, so that a lower one may have appeared since.
        """
        await self._folder.sweep_due(least=1)
        await self._settler.drop_unused()
        self._seen = 0


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
        tokens = InternalTokens(settings.secret_key.get_secret_value())
        embedding = EmbeddingClient(ServiceClient(settings.embedding_url, "embedding", tokens))
        redis_url = settings.redis_url.get_secret_value()
        async with (
            open_database(settings, "tmws_memory", SCHEMA, max_size=5, raw_types=RAW_TYPES) as database,
            relaying(database, redis_url) as (relay, _),
        ):
            app.state.checks["database"] = database.check
            indexer = Indexer(database, settings)
            backlog = Backlog(database, Directory(database), embedding)
            gardener = Gardener(MemoryKeeping(database), settings)
            comparer = Comparer(database)
            bell = Doorbell(redis_url, BELL)
            yield relay | {
                "tend memories": gardener.run,
                "index memories": lambda: every(INDEX_EVERY_S, indexer.tend),
                "clean indexes": lambda: every(CLEAN_EVERY_S, indexer.clean),
                "embed what is pending": lambda: every(EMBED_EVERY_S, backlog.work_off),
                "purge memories": lambda: every(CLEAN_EVERY_S, gardener.purge),
                "add up counts": lambda: every(COUNT_EVERY_S, lambda: TALLY.add_up(database)),
                "compare memories": lambda: every(COMPARE_EVERY_S, comparer.compare_all),
                "forget pairs": lambda: every(CLEAN_EVERY_S, comparer.sweep),
                "forget old imports": lambda: every(CLEAN_EVERY_S, lambda: forget_old_imports(database)),
                "forget old answers": lambda: every(CLEAN_EVERY_S, lambda: forget_old_keys(database)),
                "hear the bell": lambda: bell.listen(gardener.wake),
            }
            await bell.close()
        await embedding.close()

    return create_worker("memory-worker", settings, open_loops)


if __name__ == "__main__":
    serve("memory-worker", MemorySettings, build)
