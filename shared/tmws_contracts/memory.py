"""Memories on the wire."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated
from uuid import UUID

from pydantic import AfterValidator, Field, ValidationInfo, field_validator

from tmws_contracts.common import (
    Label,
    Metadata,
    Slug,
    Text,
    UtcTime,
    Wire,
    refuse_blank,
)

CONTENT_MAX_BYTES = 64 * 1024
QUERY_MAX_LENGTH = 8192
MAX_TAGS = 50
MAX_RESULTS = 100
MIN_TTL_S = 60
MAX_TTL_S = 10 * 365 * 86_400


def check_content_size(text: str) -> str:
    """Return `text` when it is at most 64 KiB of UTF-8.

    Raises:
        ValueError: it is longer.
    """
    if len(text.encode()) > CONTENT_MAX_BYTES:
        raise ValueError(f"must not be longer than {CONTENT_MAX_BYTES} bytes")
    return text


Content = Annotated[Text, AfterValidator(refuse_blank), AfterValidator(check_content_size)]
Query = Annotated[Text, Field(max_length=QUERY_MAX_LENGTH), AfterValidator(refuse_blank)]
Importance = Annotated[float, Field(ge=0, le=1, strict=True)]
Tags = Annotated[list[Label], Field(max_length=MAX_TAGS)]
SessionId = Annotated[Label, Field(max_length=100, description="the conversation a memory belongs to")]
LifetimeSeconds = Annotated[int, Field(ge=MIN_TTL_S, le=MAX_TTL_S, strict=True)]
Threshold = Annotated[float, Field(ge=-1, le=1, strict=True, description="least similarity of a result")]


class Tier(StrEnum):
    """How long a memory is kept: until it expires or is promoted, or until somebody deletes it."""

    SHORT_TERM = "short_term"
    LONG_TERM = "long_term"


class Visibility(StrEnum):
    """Who of the namespace sees a memory: its persona (without one, who stored it), or everybody."""

    PRIVATE = "private"
    NAMESPACE = "namespace"


class SearchMode(StrEnum):
    """By meaning and by words, by meaning only, or by words only."""

    HYBRID = "hybrid"
    SEMANTIC = "semantic"
    KEYWORD = "keyword"


class NewMemory(Wire):
    """What `POST /memory/store` takes."""

    content: Content
    importance: Importance = 0.5
    metadata: Metadata = {}
    persona_id: Slug | None = Field(None, description="whose memory it is; the caller's persona when left out")
    tags: Tags = []
    session_id: SessionId | None = None
    occurred_at: UtcTime | None = Field(None, description="when it happened, when that is not now")
    tier: Tier | None = Field(None, description="long_term when left out, short_term with a ttl_seconds")
    ttl_seconds: LifetimeSeconds | None = Field(None, description="life of a short_term memory, 24 h when left out")
    visibility: Visibility = Visibility.NAMESPACE

    @field_validator("ttl_seconds")
    @classmethod
    def _expires_only_when_short_term(cls, value: int | None, info: ValidationInfo) -> int | None:
        if value is not None and info.data.get("tier") is Tier.LONG_TERM:
            raise ValueError("must be left out for a long_term memory")
        return value

    @property
    def kept_as(self) -> Tier:
        """The tier it is stored in."""
        return self.tier or (Tier.SHORT_TERM if self.ttl_seconds else Tier.LONG_TERM)


class SearchFilters(Wire):
    """What a result must satisfy besides the query; fields left out say nothing."""

    tags: Tags = Field(default=[], description="has all of these")
    persona_id: Slug | None = None
    session_id: SessionId | None = None
    metadata: Metadata = Field(default={}, description="contains these members")
    importance_min: Importance | None = None
    created_after: UtcTime | None = None
    created_before: UtcTime | None = None
    tier: Tier | None = None


class MemorySearch(Wire):
    """What `POST /memory/search` takes."""

    query: Query
    limit: Annotated[int, Field(ge=1, le=MAX_RESULTS, strict=True)] = 10
    mode: SearchMode = SearchMode.HYBRID
    threshold: Threshold | None = Field(None, description="no cut-off when left out")
    filters: SearchFilters = SearchFilters()
    explain: bool = Field(default=False, strict=True, description="say of each result how its score came about")

    @field_validator("threshold")
    @classmethod
    def _needs_vectors(cls, value: float | None, info: ValidationInfo) -> float | None:
        if value is not None and info.data.get("mode") is SearchMode.KEYWORD:
            raise ValueError("must be left out in mode keyword, which knows no similarity")
        return value


class Memory(Wire):
    """A memory as the API shows it."""

    id: UUID
    namespace: str
    content: str
    importance: float
    metadata: Metadata
    persona_id: str | None
    tags: list[str]
    session_id: str | None
    occurred_at: UtcTime | None
    tier: Tier
    visibility: Visibility
    expires_at: UtcTime | None
    last_accessed_at: UtcTime | None = Field(description="when a search found it last")
    access_count: int = Field(description="how many searches found it")
    store_count: int = Field(description="how often the same content was stored")
    source: str = Field(description="who stored it first")
    embedding_model: str | None = Field(description="null until it is embedded; words find it already")
    embedding_precision: str | None
    version: int = Field(description="grows by one with every change; the ETag")
    created_at: UtcTime
    updated_at: UtcTime
    deleted_at: UtcTime | None = Field(default=None, description="only the list of deleted ones shows it")


class StoredMemory(Memory):
    """What `POST /memory/store` answers."""

    deduplicated: bool = Field(description="the content was known already; nothing new was kept")


class Signals(Wire):
    """What each signal adds to a score; they sum up to it."""

    semantic: float = Field(description="nearness of meaning (cosine)")
    keyword: float = Field(description="words in common (BM25 over the best one's)")
    neighbour: float = Field(description="a strong match right before or after it in its session")
    importance: float
    recency: float


class Signal(Wire):
    """One signal of one result: `value` is what was seen, `share` what it adds to the score."""

    value: float | None = Field(description="null where the signal saw nothing")
    weight: float
    share: float


class Explanation(Wire):
    """How a score came about; the shares sum up to it."""

    semantic: Signal = Field(description="cosine of query and memory")
    keyword: Signal = Field(description="BM25 over the best one's of this search")
    neighbour: Signal = Field(description="relevance of the better neighbour in its session")
    importance: Signal = Field(description="importance from -1 to 1; counts as a share of what the first three found")
    recency: Signal = Field(description="1 for now, half of it after each half-life; counts like importance")


class FoundMemory(Memory):
    """One result of a search."""

    score: float = Field(description="what results are ordered by; comparable within one answer only")
    similarity: float | None = Field(description="cosine of query and memory (its best part); null without vectors")
    signals: Signals
    explain: Explanation | None = Field(None, description="only when it was asked for")


class SearchResults(Wire):
    """What `POST /memory/search` answers, best first."""

    results: list[FoundMemory]
    mode: SearchMode
    degraded: list[str] = Field(description="signals that could not be used now, such as `semantic`")


class MemoryStats(Wire):
    """How many memories the caller's namespace has, as far as the caller may see them."""

    by_tier: dict[Tier, int]
    deleted: int = Field(description="deleted or expired, not purged yet")
    pending: int = Field(description="stored and found by words, not embedded yet")
    shared: int = Field(description="memories that others share with the caller; not among those of by_tier")
    collections: int = Field(
        description="what is kept apart: the namespace's shared memories, each owner's private ones"
    )
    bytes: int = Field(description="UTF-8 bytes of the contents")
    folded: int = Field(description="memories whose words the worker has indexed in bulk; the others are found as well")
    settled: int = Field(description="vectors that lie in a graph; the others are compared one by one")
