"""Embeddings on the wire."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field

from tmws_contracts.common import Wire

MAX_TEXTS = 256
MAX_TEXT_BYTES = 64 * 1024
MAX_NAME = 256

# With `Accept: application/octet-stream` the answer's body is the vectors alone, float32 little-endian,
# in the order of the texts; the headers say what the JSON would.
RAW_VECTORS = "application/octet-stream"
MODEL_HEADER = "x-tmws-embedding-model"
PRECISION_HEADER = "x-tmws-embedding-precision"
DIMENSION_HEADER = "x-tmws-embedding-dimension"


def check_text_size(text: str) -> str:
    """Return `text` when it is at most MAX_TEXT_BYTES of UTF-8.

    Raises:
        ValueError: it is longer, or cannot be written as UTF-8.
    """
    try:
        size_bytes = len(text.encode())
    except UnicodeEncodeError:
        raise ValueError("must not contain a lone surrogate") from None
    if size_bytes > MAX_TEXT_BYTES:
        raise ValueError(f"must not be longer than {MAX_TEXT_BYTES} bytes")
    return text


EmbeddableText = Annotated[str, Field(min_length=1), AfterValidator(check_text_size)]


class EmbeddingRequest(Wire):
    """What `POST /embed` takes."""

    texts: Annotated[list[EmbeddableText], Field(min_length=1, max_length=MAX_TEXTS)]
    cache: bool = Field(
        default=True,
        description="false: the vectors are neither looked up nor kept, for text that must be erasable at once",
    )
    model: str | None = Field(
        default=None, min_length=1, max_length=MAX_NAME, description="one of `GET /models`; without it the current one"
    )
    precision: str | None = Field(
        default=None,
        min_length=1,
        max_length=MAX_NAME,
        description="without it the first that the model is served in",
    )


class Embeddings(Wire):
    """Vectors in the order of the texts; those of another model or precision must not be mixed with them."""

    model: str
    precision: str = Field(description="int8 or fp32 for the built-in model, `file` for one from a folder")
    dimension: int
    vectors: list[list[float]] = Field(description="L2-normalised")


class ServedModel(Wire):
    """A model that `POST /embed` can use; vectors of two revisions of one precision are close but not the same."""

    model: str
    precision: str
    dimension: int
    revision: str
    is_current: bool = Field(description="used when a request names no model")


class ServedModels(Wire):
    """All models that are served, the current one first."""

    models: list[ServedModel]


class CacheStats(Wire):
    """How often a vector was already known."""

    hits: int
    misses: int


class QueueDepth(Wire):
    """Texts accepted and not embedded yet."""

    interactive: int
    bulk: int


class LatencyStats(Wire):
    """Milliseconds of the latest requests, at most 1,000 of them; null before the first."""

    p50_ms: float | None
    p99_ms: float | None


class EmbeddingStats(Wire):
    """What the embedding service has done since it started, with all its models; those named are the current one's."""

    model: str
    precision: str
    dimension: int
    texts: int = Field(description="texts run through the model")
    tokens: int
    cache: CacheStats
    queue: QueueDepth
    latency: LatencyStats
