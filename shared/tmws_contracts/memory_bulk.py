"""Memories in bulk on the wire: the lines of exports and imports, near duplicates, consolidations."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal, Self
from uuid import UUID

from pydantic import AfterValidator, Field, ValidationInfo, field_validator, model_validator

from tmws_contracts.common import FieldProblem, Metadata, Text, UtcTime, Wire
from tmws_contracts.memory import NewMemory, Tier, Visibility

EXPORT_FORMAT = "tmws-memories"
EXPORT_VERSION = 1
NDJSON = "application/x-ndjson"
MAX_PARTS = 1024
MAX_CLUSTERS = 50
MAX_MEMBERS = 100
LEAST_SIMILARITY = 0.85
LEAST_OVERLAP = 0.3


class ExportHeader(Wire):
    """The first line of an export."""

    format: Literal["tmws-memories"]
    version: Literal[1]
    exported_at: UtcTime
    vectors: bool = Field(description="whether each memory has its `embedding`")
    count_estimate: int | None = Field(description="about how many memories follow; null under filters")


class ExportTrailer(Wire):
    """The last line of an export; without it the file is cut off."""

    end: Literal["tmws-memories"]
    count: Annotated[int, Field(ge=0)]


class PackedVectors(Wire):
    """The vectors of a memory's parts (a long content has several), as they are stored."""

    model: Annotated[Text, Field(min_length=1, max_length=200)]
    precision: Annotated[Text, Field(min_length=1, max_length=50)]
    dtype: Literal["float16", "float32"] = Field(description="of each number, little-endian")
    vectors: Annotated[list[str], Field(min_length=1, max_length=MAX_PARTS)] = Field(
        description="base64 of 384 numbers each, L2-normalised"
    )


class MemoryRecord(NewMemory):
    """A line of an export, as an import reads it: what is not known there may be left out, but for the content.

    An imported memory gets an id, a version and counts of use of its own; who imports it is its `source`.
    """

    id: UUID | None = None
    namespace: str | None = None
    created_at: UtcTime | None = None
    updated_at: UtcTime | None = None
    expires_at: UtcTime | None = None
    last_accessed_at: UtcTime | None = None
    access_count: Annotated[int, Field(ge=0)] | None = None
    store_count: Annotated[int, Field(ge=1, lt=2**31)] = 1
    source: str | None = None
    version: int | None = None
    embedding: PackedVectors | None = None

    @field_validator("expires_at")
    @classmethod
    def _lives_on_otherwise(cls, value: UtcTime | None, info: ValidationInfo) -> UtcTime | None:
        if value is not None and info.data.get("tier") is Tier.LONG_TERM:
            raise ValueError("must be left out for a long_term memory")
        return value


class ExportedMemory(Wire):
    """A line of an export, as it is written."""

    id: UUID
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
    last_accessed_at: UtcTime | None
    access_count: int
    store_count: int
    source: str
    version: int
    created_at: UtcTime
    updated_at: UtcTime
    embedding: PackedVectors | None = None


class ImportFormat(StrEnum):
    """What a file of memories was written by; `auto` looks at each record."""

    AUTO = "auto"
    TMWS = "tmws"
    SERVER_MEMORY = "server-memory"
    MCP_MEMORY_SERVICE = "mcp-memory-service"
    MEM0 = "mem0"


class ImportStarted(Wire):
    """The first line of the answer to an import."""

    import_id: str = Field(description="send the same file again under it to go on where this import was broken off")
    resumed_after: int = Field(description="records that an earlier request has dealt with; 0 for a new import")


class ImportFault(Wire):
    """A record that could not be imported; the others are."""

    line: int = Field(description="the line of the file on which the record begins")
    errors: list[FieldProblem] = Field(description="pointers into the record, or into the document it is a part of")


class ImportProgress(Wire):
    """How far an import is: all of this is kept, whatever happens. `read` is the sum of the other three counts."""

    line: int
    read: int
    stored: int
    deduplicated: int = Field(description="the same content was known; it was left as it is")
    failed: int


class FileState(StrEnum):
    """Whether the end of the file was seen; only an export of ours, or a JSON document, tells."""

    WHOLE = "whole"
    TRUNCATED = "truncated"
    UNKNOWN = "unknown"


class ImportSummary(ImportProgress):
    """The last line of the answer to an import that came to the end of the file."""

    done: Literal[True] = True
    file: FileState
    pending: int = Field(description="stored by this request without vectors; embedded in the background")
    faults_left_off: int = Field(description="faults beyond the 10,000 that are named")


class DuplicateMember(Wire):
    """A memory that nearly says what another one says."""

    id: UUID
    excerpt: str = Field(description="the first 300 characters of its content")
    importance: float
    store_count: int
    tags: list[str]
    persona_id: str | None
    visibility: Visibility
    created_at: UtcTime
    version: int


class DuplicatePair(Wire):
    """How much two memories of a cluster are alike."""

    first: UUID
    second: UUID
    similarity: float = Field(description="cosine of their meanings")
    overlap: float = Field(description="share of their words that both have (Jaccard)")


class DuplicateCluster(Wire):
    """Memories that are near duplicates of each other, directly or through others."""

    memories: list[DuplicateMember] = Field(description=f"oldest first, at most {MAX_MEMBERS}")
    pairs: list[DuplicatePair]
    keep: UUID = Field(description="which one a consolidation would keep unless told otherwise")
    is_truncated: bool = Field(description=f"there are more than {MAX_MEMBERS}")


class DuplicateScan(Wire):
    """How far the search for near duplicates is; it goes on in the background."""

    waiting: int = Field(description="memories not compared yet (counted up to 10,000)")
    unembedded: int = Field(description="memories that have to be embedded first (counted up to 10,000)")
    is_complete: bool


class Duplicates(Wire):
    """One page of near duplicates."""

    items: list[DuplicateCluster]
    next_cursor: str | None = None
    scan: DuplicateScan


def refuse_repeated(ids: list[UUID]) -> list[UUID]:
    """Return `ids` when none of them comes twice.

    Raises:
        ValueError: one does.
    """
    if len(set(ids)) < len(ids):
        raise ValueError("must not name a memory twice")
    return ids


def _keep_one_of_them(value: UUID | None, info: ValidationInfo) -> UUID | None:
    if value is not None and value not in (info.data.get("memory_ids") or [value]):
        raise ValueError("must be one of memory_ids")
    return value


ClusterIds = Annotated[list[UUID], Field(min_length=2, max_length=MAX_MEMBERS), AfterValidator(refuse_repeated)]
Keep = Annotated[
    UUID | None,
    AfterValidator(_keep_one_of_them),
    Field(description="the one that stays; left out: a long-term, important, often stored, long, old one"),
]


class ClusterChoice(Wire):
    """Which memories to make one of."""

    memory_ids: ClusterIds
    keep: Keep = None


class ConsolidationRequest(Wire):
    """What `POST /memory/consolidate` takes: one cluster, or several at once."""

    memory_ids: ClusterIds | None = None
    keep: Keep = None
    clusters: Annotated[list[ClusterChoice], Field(min_length=1, max_length=MAX_CLUSTERS)] | None = None
    dry_run: Annotated[bool, Field(strict=True)] = Field(True, description="false to do it")

    @model_validator(mode="after")
    def _names_clusters_in_one_way(self) -> Self:
        if (self.memory_ids is None) == (self.clusters is None) or (self.clusters and self.keep):
            raise ValueError("must have either memory_ids (and keep) or clusters")
        return self

    @property
    def choices(self) -> list[ClusterChoice]:
        """The clusters, however they are given."""
        if self.memory_ids is None:
            return self.clusters or []
        return [ClusterChoice.model_construct(memory_ids=self.memory_ids, keep=self.keep)]


class KeptState(Wire):
    """What a consolidation changes of the memory that stays."""

    tags: list[str]
    importance: float
    store_count: int
    tier: Tier
    expires_at: UtcTime | None


class RemovedMemory(Wire):
    """A memory that a consolidation deletes; it can be brought back for 30 days."""

    id: UUID
    version: int = Field(description="before")


class Consolidation(Wire):
    """Some memories made one, or what that would do."""

    id: UUID | None = Field(description="null in a dry run")
    keep: UUID
    before: KeptState
    after: KeptState
    removed: list[RemovedMemory]
    created_at: UtcTime | None = Field(description="null in a dry run")
    created_by: str | None
    undone_at: UtcTime | None
    undone_by: str | None


class ConsolidationResult(Wire):
    """What `POST /memory/consolidate` answers."""

    dry_run: bool
    consolidations: list[Consolidation]
