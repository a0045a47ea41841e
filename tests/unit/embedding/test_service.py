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
from tmws_embedding.catalog import Catalog
from tmws_embedding.errors import ModelNotServed
from tmws_embedding.model import Embedded, Tokens, Vectors
from tmws_embedding.service import EmbeddingService
from tmws_shared.redis import OptionalRedis


class LengthEmbedder:
    """Embeds a text as its length times a factor."""

    dimension = 1

    def __init__(self, name: str = "model", precision: str = "int8", factor: int = 1) -> None:
        self.artifact = Artifact(name, precision, f"{precision}-1", Path())
        self.seen: list[str] = []
        self._factor = factor

    def embed(self, texts: Sequence[str]) -> Embedded:
        self.seen += texts
        return Embedded(self.infer(self.tokenize(texts)), 3 * len(texts))

    def tokenize(self, texts: Sequence[str]) -> list[Tokens]:
        return [[0] * len(text) for text in texts]

    def batches(self, lengths: Sequence[int]) -> list[list[int]]:
        return [list(range(len(lengths)))]

    def infer(self, tokens: Sequence[Tokens]) -> Vectors:
        return np.array([[len(ids) * self._factor] for ids in tokens], np.float32)


@pytest.fixture
def encoder() -> LengthEmbedder:
    return LengthEmbedder()


@pytest.fixture
def catalog(encoder: LengthEmbedder) -> Catalog:
    return Catalog([encoder, LengthEmbedder("model", "fp32", 10), LengthEmbedder("older", "file", 100)])


@pytest.fixture
async def service(catalog: Catalog) -> AsyncIterator[EmbeddingService]:
    batcher = Batcher(threads=1, max_queued=256)
    yield EmbeddingService(catalog, batcher, VectorCache(OptionalRedis.at(""), 60))
    batcher.close()


async def test_repeated_text_is_computed_once(service: EmbeddingService, encoder: LengthEmbedder) -> None:
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


async def test_recently_embedded_text_is_not_computed_again(service: EmbeddingService, encoder: LengthEmbedder) -> None:
    await service.embed(["same"])

    known = await service.embed(["same"])

    assert (encoder.seen, known.vectors.tolist()) == (["same"], [[4]])


async def test_text_that_must_be_erasable_is_computed_each_time(
    service: EmbeddingService, encoder: LengthEmbedder
) -> None:
    await service.embed(["same"], use_cache=False)

    await service.embed(["same"], use_cache=False)

    assert encoder.seen == ["same", "same"]


@pytest.mark.parametrize(
    ("model", "precision", "factor"),
    [
        (None, None, 1),
        ("model", None, 1),
        ("model", "int8", 1),
        (None, "fp32", 10),
        ("model", "fp32", 10),
        ("older", None, 100),
        ("older", "file", 100),
    ],
)
async def test_request_gets_the_model_it_names(
    service: EmbeddingService, model: str | None, precision: str | None, factor: int
) -> None:
    known = await service.embed(["four"], model=model, precision=precision)

    assert known.vectors.tolist() == [[4 * factor]]


@pytest.mark.parametrize(
    ("model", "precision", "pointer"),
    [
        ("unknown", None, "/model"),
        ("unknown", "int8", "/model"),
        ("older", "int8", "/precision"),
        (None, "int4", "/precision"),
    ],
)
async def test_model_that_is_not_served_is_refused_with_what_is(
    service: EmbeddingService, model: str | None, precision: str | None, pointer: str
) -> None:
    with pytest.raises(ModelNotServed) as refused:
        await service.embed(["four"], model=model, precision=precision)

    (error,) = refused.value.errors
    assert error.pointer == pointer
    assert error.detail == "must be one of model in int8, model in fp32, older in file"


async def test_vectors_of_two_models_are_cached_apart(service: EmbeddingService) -> None:
    await service.embed(["four"])

    known = await service.embed(["four"], model="older")

    assert known.vectors.tolist() == [[400]]


def test_listing_begins_with_the_current_model(catalog: Catalog) -> None:
    listed = [(item.model, item.precision, item.is_current) for item in catalog.listing().models]

    assert listed == [("model", "int8", True), ("model", "fp32", False), ("older", "file", False)]
