"""Each text is computed once and answered in place."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

import tmws_embedding.service
from tmws_embedding.artifacts import Artifact
from tmws_embedding.batcher import Batcher
from tmws_embedding.cache import VectorCache
from tmws_embedding.model import Embedded
from tmws_embedding.service import EmbeddingService
from tmws_shared.redis import OptionalRedis

ARTIFACT = Artifact("model", "int8", "int8-1", Path())


class LengthEncoder:
    """Embeds a text as its length."""

    def __init__(self) -> None:
        self.seen: list[str] = []

    def embed(self, texts: Sequence[str]) -> Embedded:
        self.seen += texts
        return Embedded(np.array([[len(text)] for text in texts], np.float32), 3 * len(texts))


@pytest.fixture
def encoder() -> LengthEncoder:
    return LengthEncoder()


@pytest.fixture
async def service(encoder: LengthEncoder) -> AsyncIterator[EmbeddingService]:
    batcher = Batcher(encoder, threads=1, max_queued=256)
    yield EmbeddingService(ARTIFACT, 1, batcher, VectorCache(OptionalRedis.at(""), ARTIFACT, 1, 60))
    batcher.close()


async def test_repeated_text_is_computed_once(service: EmbeddingService, encoder: LengthEncoder) -> None:
    await service.embed(["same", "other", "same"])

    assert encoder.seen == ["same", "other"]


async def test_repeated_text_has_its_vector_at_each_place(service: EmbeddingService) -> None:
    vectors = (await service.embed(["same", "longer", "same"])).vectors

    assert vectors[:, 0].tolist() == [4, 6, 4]


async def test_stats_count_what_went_through_the_model(service: EmbeddingService) -> None:
    await service.embed(["one", "two", "two"])

    stats = service.stats()

    assert (stats.texts, stats.tokens) == (2, 6)


async def test_span_names_model_texts_and_tokens(service: EmbeddingService, monkeypatch: pytest.MonkeyPatch) -> None:
    spans = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(spans))
    monkeypatch.setattr(tmws_embedding.service, "tracer", provider.get_tracer("test"))

    await service.embed(["one", "two"])

    (span,) = spans.get_finished_spans()
    assert span.attributes is not None
    assert span.attributes["gen_ai.request.model"] == "model"
    assert span.attributes["gen_ai.usage.input_tokens"] == 6
    assert span.attributes["tmws.embedding.texts"] == 2


async def test_latency_is_null_before_the_first_request(service: EmbeddingService) -> None:
    assert service.stats().latency.p50_ms is None


async def test_latency_is_told_after_the_first_request(service: EmbeddingService) -> None:
    await service.embed(["one"])

    assert service.stats().latency.p99_ms is not None
