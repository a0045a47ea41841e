"""Embedding: what the cache knows, and the model for the rest."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from time import perf_counter
from typing import NamedTuple

import numpy as np

from tmws_contracts.embedding import CacheStats, EmbeddingStats, LatencyStats, QueueDepth, ServedModels
from tmws_embedding.artifacts import Artifact
from tmws_embedding.batcher import Batcher, Lane, lane_of
from tmws_embedding.cache import Vector, VectorCache
from tmws_embedding.catalog import Catalog
from tmws_embedding.metrics import CACHE_LOOKUPS, TEXTS, TOKENS
from tmws_embedding.model import Embedded, Embedder, Vectors
from tmws_shared.telemetry import tracer

LATENCY_WINDOW = 1000


class Known(NamedTuple):
    """Vectors in the order of the texts (float32 [n, dimension]), their model, and those that were just computed."""

    vectors: Vectors
    artifact: Artifact
    computed: Mapping[str, Vector]


class EmbeddingService:
    """Texts to vectors, each text computed once."""

    def __init__(self, catalog: Catalog, batcher: Batcher, cache: VectorCache) -> None:
        self._catalog = catalog
        self._batcher = batcher
        self._cache = cache
        self._texts = self._tokens = self._hits = self._misses = 0
        self._latencies_ms: deque[float] = deque(maxlen=LATENCY_WINDOW)

    async def embed(
        self,
        texts: Sequence[str],
        *,
        model: str | None = None,
        precision: str | None = None,
        use_cache: bool = True,
    ) -> Known:
        """Return a vector for each text, in their order, and what `remember` should be given afterwards.

        Raises:
            ModelNotServed: there is no such model.
            QueueFull: too many texts are waiting.
        """
        started = perf_counter()
        embedder = self._catalog.find(model, precision)
        distinct = list(dict.fromkeys(texts))
        is_cached = use_cache and self._cache.is_on
        vectors = await self._look_up(embedder, distinct) if is_cached else {}
        missing = [text for text in distinct if text not in vectors]
        computed = await self._compute(embedder, missing) if missing else {}
        if is_cached and lane_of(missing) is Lane.INTERACTIVE:
            self._cache.keep_recent(embedder.artifact, computed)
        vectors |= computed
        self._latencies_ms.append((perf_counter() - started) * 1000)
        return Known(np.stack([vectors[text] for text in texts]), embedder.artifact, computed if is_cached else {})

    async def remember(self, known: Known) -> None:
        """Keep vectors in the cache: after the answer is sent, so that nobody waits for it."""
        if known.computed:
            await self._cache.put(known.artifact, known.computed)

    def models(self) -> ServedModels:
        """Return what is served."""
        return self._catalog.listing()

    def stats(self) -> EmbeddingStats:
        """Return what was done since the start."""
        current, queued = self._catalog.current, self._batcher.queued
        return EmbeddingStats(
            model=current.artifact.name,
            precision=current.artifact.precision,
            dimension=current.dimension,
            texts=self._texts,
            tokens=self._tokens,
            cache=CacheStats(hits=self._hits, misses=self._misses),
            queue=QueueDepth(interactive=queued[Lane.INTERACTIVE], bulk=queued[Lane.BULK]),
            latency=self._latency(),
        )

    async def _look_up(self, embedder: Embedder, texts: Sequence[str]) -> dict[str, Vector]:
        known = await self._cache.get(embedder.artifact, embedder.dimension, texts)
        self._hits += len(known)
        self._misses += len(texts) - len(known)
        CACHE_LOOKUPS.labels("hit").inc(len(known))
        CACHE_LOOKUPS.labels("miss").inc(len(texts) - len(known))
        return known

    async def _compute(self, embedder: Embedder, texts: Sequence[str]) -> dict[str, Vector]:
        with tracer.start_as_current_span(f"embeddings {embedder.artifact.name}") as span:
            embedded = await self._batcher.embed(embedder, texts)
            if span.is_recording():
                span.set_attributes(_span_attributes(embedder, embedded))
        self._texts += len(texts)
        self._tokens += embedded.tokens
        TEXTS.inc(len(texts))
        TOKENS.inc(embedded.tokens)
        return dict(zip(texts, embedded.vectors, strict=True))

    def _latency(self) -> LatencyStats:
        if not self._latencies_ms:
            return LatencyStats(p50_ms=None, p99_ms=None)
        p50, p99 = np.percentile(self._latencies_ms, [50, 99])
        return LatencyStats(p50_ms=round(float(p50), 3), p99_ms=round(float(p99), 3))


def _span_attributes(embedder: Embedder, embedded: Embedded) -> dict[str, str | int]:
    return {
        "gen_ai.operation.name": "embeddings",
        "gen_ai.request.model": embedder.artifact.name,
        "gen_ai.usage.input_tokens": embedded.tokens,
        "gen_ai.embeddings.dimension.count": embedder.dimension,
        "tmws.embedding.precision": embedder.artifact.precision,
        "tmws.embedding.texts": len(embedded.vectors),
    }
