"""The embedding service as a process: `python -m tmws_embedding.app`."""

from __future__ import annotations

import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from fastapi import FastAPI

from tmws_embedding.artifacts import ModelUnavailable
from tmws_embedding.batcher import Batcher
from tmws_embedding.cache import VectorCache
from tmws_embedding.catalog import Catalog
from tmws_embedding.routes import router
from tmws_embedding.service import EmbeddingService
from tmws_embedding.settings import EmbeddingSettings, usable_cores
from tmws_shared.app import create_app, serve
from tmws_shared.redis import OptionalRedis


def build(settings: EmbeddingSettings) -> FastAPI:
    """Return the app. The models are loaded and warm before the process listens, so it is ready once it answers."""
    catalog = Catalog.load(settings.choices, settings.vector_dimension, settings.data_dir)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncGenerator[None]:
        redis = OptionalRedis.at(settings.redis_url.get_secret_value())
        batcher = Batcher(settings.embedding_threads or usable_cores(), settings.embedding_queue_texts)
        app.state.service = EmbeddingService(catalog, batcher, VectorCache(redis, settings.embedding_cache_seconds))
        yield
        batcher.close()
        await redis.close()

    return create_app("embedding", settings, routers=[router], lifespan=lifespan)


def main() -> None:
    """Serve until a signal."""
    try:
        serve("embedding", EmbeddingSettings, build)
    except ModelUnavailable as error:
        sys.exit(f"TMWS cannot start: {error}")


if __name__ == "__main__":
    main()
