"""Metrics of the embedding service."""

from __future__ import annotations

from tmws_shared.telemetry import Counter, Gauge, Histogram

QUEUED_TEXTS = Gauge("tmws_embedding_queued_texts", "Texts accepted and not embedded yet", ["lane"])
TEXTS = Counter("tmws_embedding_texts", "Texts run through the model")
TOKENS = Counter("tmws_embedding_tokens", "Tokens run through the model")
CACHE_LOOKUPS = Counter("tmws_embedding_cache_lookups", "Texts looked up in the cache", ["result"])
INFERENCE_SECONDS = Histogram(
    "tmws_embedding_inference_seconds",
    "Time from taking a request's texts to having their vectors, waiting included",
    ["lane"],
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
)
