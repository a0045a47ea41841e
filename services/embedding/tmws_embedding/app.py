"""The embedding service as a process: `python -m tmws_embedding.app`."""

from __future__ import annotations

import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from fastapi import FastAPI

from tmws_embedding.artifacts import ModelUnavailable, prepare_model
from tmws_embedding.batcher import Batcher
from tmws_embedding.cache import VectorCache
from tmws_embedding.model import Embedder
from tmws_embedding.routes import router
from tmws_embedding.service import EmbeddingService
from tmws_embedding.settings import EmbeddingSettings, usable_cores
from tmws_shared.app import create_app, serve
from tmws_shared.redis import OptionalRedis
from tmws_shared.settings import ConfigurationError


def load_embedder(settings: EmbeddingSettings) -> Embedder:
    """Return the configured model, loaded and warm.

    Raises:
        ConfigurationError: there is no such model, or its vectors have another dimension than configured.
        ModelUnavailable: its files cannot be made or read.
    """
    model = settings.embedding_model
    embedder = Embedder(prepare_model(model, settings.embedding_precision, settings.data_dir))
    if embedder.dimension != settings.vector_dimension:
        raise ConfigurationError(
            [f"TMWS_VECTOR_DIMENSION must be {embedder.dimension}, the dimension of {embedder.artifact.name}"]
        )
    return embedder


def build(settings: EmbeddingSettings) -> FastAPI:
    """Return the app. The model is loaded and warm before the process listens, so it is ready once it answers."""
    embedder = load_embedder(settings)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncGenerator[None]:
        redis = OptionalRedis.at(settings.redis_url.get_secret_value())
        threads = settings.embedding_threads or usable_cores()
        batcher = Batcher(embedder, threads, settings.embedding_queue_texts)
        cache = VectorCache(redis, embedder.artifact, embedder.dimension, settings.embedding_cache_seconds)
        app.state.service = EmbeddingService(embedder.artifact, embedder.dimension, batcher, cache)
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
