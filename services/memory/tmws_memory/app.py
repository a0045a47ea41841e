"""The memory service's process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from fastapi import FastAPI

from tmws_memory.accesses import BELL, AccessLog
from tmws_memory.alike.clusters import DuplicateFinder
from tmws_memory.alike.consolidating import Consolidator
from tmws_memory.batches import Batches
from tmws_memory.bulk.exporting import Exporter
from tmws_memory.bulk.importer import Importer
from tmws_memory.changes import MemoryChanges
from tmws_memory.directory import Directory
from tmws_memory.drafts import Drafts
from tmws_memory.embedding_client import EmbeddingClient
from tmws_memory.keeping import MemoryKeeping
from tmws_memory.models import RAW_TYPES, SCHEMA
from tmws_memory.nearest import VECTOR_OPTIONS
from tmws_memory.query_vectors import QueryVectors
from tmws_memory.routes import ROUTERS
from tmws_memory.search import Searcher
from tmws_memory.service import MemoryService
from tmws_memory.settings import MemorySettings
from tmws_memory.sharing import Sharing
from tmws_shared.app import create_app, open_database, serve
from tmws_shared.auth import InternalTokens
from tmws_shared.background import keep_running
from tmws_shared.database import Database
from tmws_shared.http import ServiceClient
from tmws_shared.jobs import Doorbell
from tmws_shared.pagination import Cursors


@asynccontextmanager
async def open_accesses(database: Database, redis_url: str) -> AsyncGenerator[AccessLog]:
    """Yield a log that is written while it is open, and once more when it closes."""
    bell = Doorbell(redis_url, BELL)
    accesses = AccessLog(MemoryKeeping(database), bell)
    writing = asyncio.create_task(keep_running("count accesses", accesses.run))
    try:
        yield accesses
    finally:
        writing.cancel()
        await asyncio.gather(writing, return_exceptions=True)
        await accesses.flush()
        await bell.close()


def build(settings: MemorySettings) -> FastAPI:
    """Return the memory service's app."""
    secret = settings.secret_key.get_secret_value()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncGenerator[None]:
        embedding = EmbeddingClient(ServiceClient(settings.embedding_url, "embedding", InternalTokens(secret)))
        async with (
            open_database(settings, "tmws_memory", SCHEMA, options=VECTOR_OPTIONS, raw_types=RAW_TYPES) as database,
            open_accesses(database, settings.redis_url.get_secret_value()) as accesses,
        ):
            directory = Directory(database)
            drafts, cursors = Drafts(directory, embedding, settings), Cursors(secret)
            app.state.memories = MemoryService(database, drafts, cursors)
            app.state.batches = Batches(database, drafts)
            app.state.changes = MemoryChanges(database, drafts, cursors, settings)
            app.state.sharing = Sharing(database, cursors)
            app.state.searcher = Searcher(database, QueryVectors(database, directory, embedding), accesses, settings)
            app.state.exporter = Exporter(database)
            app.state.duplicates = DuplicateFinder(database, cursors)
            app.state.consolidator = Consolidator(database, drafts, cursors)
            app.state.importer = Importer(database, directory, settings)
            app.state.checks["database"] = database.check
            yield
        await embedding.close()

    return create_app("memory", settings, routers=ROUTERS, lifespan=lifespan)


if __name__ == "__main__":
    serve("memory", MemorySettings, build)
