"""Embedding: what the cache knows, and the model for the rest."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from time import perf_counter
from typing import NamedTuple

import numpy as np

from tmws_contracts.embedding import CacheStats, EmbeddingStats, LatencyStats, QueueDepth
from tmws_embedding.artifacts import Artifact
from tmws_embedding.batcher import Batcher, Lane
from tmws_embedding.cache import Vector, VectorCache
from tmws_embedding.metrics import CACHE_LOOKUPS, TEXTS, TOKENS
from tmws_embedding.model import Embedded, Vectors
from tmws_shared.telemetry import tracer

LATENCY_WINDOW = 1000


class Known(NamedTuple):
    """Vectors in the order of the texts (float32 [n, dimension]), and those of them that were just computed."""

    vectors: Vectors
    computed: Mapping[str, Vector]


class EmbeddingService:
    """Texts to vectors, each text computed once."""

    def __init__(self, artifact: Artifact, dimension: int, batcher: Batcher, cache: VectorCache) -> None:
        self.model = artifact.name
        self.precision = artifact.precision
        self.dimension = dimension
        self._batcher = batcher
        self._cache = cache
        self._texts = self._tokens = self._hits = self._misses = 0
        self._latencies_ms: deque[float] = deque(maxlen=LATENCY_WINDOW)

    async def embed(self, texts: Sequence[str], *, use_cache: bool = True) -> Known:
        """Return a vector for each text, in their order, and what `remember` should be given afterwards.

        Raises:
            QueueFull: too many texts are waiting.
        """
        started = perf_counter()
        distinct = list(dict.fromkeys(texts))
        is_cached = use_cache and self._cache.is_on
        vectors = await self._look_up(distinct) if is_cached else {}
        missing = [text for text in distinct if text not in vectors]
        computed = dict(zip(missing, (await self._compute(missing)).vectors, strict=True)) if missing else {}
        vectors |= computed
        self._latencies_ms.append((perf_counter() - started) * 1000)
        return Known(np.stack([vectors[text] for text in texts]), computed if is_cached else {})

    async def remember(self, vectors: Mapping[str, Vector]) -> None:
        """Keep vectors in the cache: after the answer is sent, so that nobody waits for it."""
        if vectors:
            await self._cache.put(vectors)

    async def _look_up(self, texts: Sequence[str]) -> dict[str, Vector]:
        known = await self._cache.get(texts)
        self._hits += len(known)
        self._misses += len(texts) - len(known)
        CACHE_LOOKUPS.labels("hit").inc(len(known))
        CACHE_LOOKUPS.labels("miss").inc(len(texts) - len(known))
        return known

    async def _compute(self, texts: Sequence[str]) -> Embedded:
        with tracer.start_as_current_span(f"embeddings {self.model}") as span:
            embedded = await self._batcher.embed(texts)
            span.set_attributes(
                {
                    "gen_ai.operation.name": "embeddings",
                    "gen_ai.request.model": self.model,
                    "gen_ai.usage.input_tokens": embedded.tokens,
                    "gen_ai.embeddings.dimension.count": self.dimension,
                    "tmws.embedding.precision": self.precision,
                    "tmws.embedding.texts": len(texts),
                }
            )
        self._texts += len(texts)
        self._tokens += embedded.tokens
        TEXTS.inc(len(texts))
        TOKENS.inc(embedded.tokens)
        return embedded

    def stats(self) -> EmbeddingStats:
        """Return what was done since the start."""
        queued = self._batcher.queued
        return EmbeddingStats(
            model=self.model,
            precision=self.precision,
            dimension=self.dimension,
            texts=self._texts,
            tokens=self._tokens,
            cache=CacheStats(hits=self._hits, misses=self._misses),
            queue=QueueDepth(interactive=queued[Lane.INTERACTIVE], bulk=queued[Lane.BULK]),
            latency=self._latency(),
        )

    def _latency(self) -> LatencyStats:
        if not self._latencies_ms:
            return LatencyStats(p50_ms=None, p99_ms=None)
        p50, p99 = np.percentile(self._latencies_ms, [50, 99])
        return LatencyStats(p50_ms=round(float(p50), 3), p99_ms=round(float(p99), 3))
