"""The tables of the schema `memory`."""

# pgvector's SQLAlchemy types are untyped.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from pgvector.sqlalchemy import HALFVEC
from sqlalchemy import (
    REAL,
    BigInteger,
    Boolean,
    Column,
    Computed,
    DateTime,
    Double,
    Enum,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Sequence,
    SmallInteger,
    String,
    Text,
    UniqueConstraint,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlmodel import Field, SQLModel

from tmws_contracts.memory import Tier, Visibility

SCHEMA = "memory"
DIMENSION = 384
# Vectors go to the database and come back as bytes (pgvector's wire form): no number of theirs is ours to look at.
RAW_TYPES = ("halfvec",)
metadata = MetaData(schema=SCHEMA)
# A memory's number is new whenever its text is indexed anew; postings hold it in 32 bits.
numbers = Sequence("memory_numbers", metadata=metadata, maxvalue=4_294_967_295)
shelves = Sequence("memory_shelves", metadata=metadata, data_type=Integer)


def _enum(kind: type[StrEnum], name: str) -> Enum:
    return Enum(*(member.value for member in kind), name=name, schema=SCHEMA)


def _time(*, required: bool = False) -> Column[datetime]:
    default = func.now() if required else None
    return Column(DateTime(timezone=True), nullable=not required, server_default=default)


class CollectionRow(SQLModel, table=True):
    """What is seen together: the memories that a namespace shares, or the private ones of one owner.

    `owner` is empty for the shared ones, else `persona:…` or `subject:…`. `folded` memories with `folded_length`
    terms lie in blocks; `shelf` holds the settled vectors, 0 is none.
    """

    metadata = metadata
    __tablename__ = "memory_collections"  # pyright: ignore[reportAssignmentType] -- SQLModel's own documented way
    __table_args__ = (UniqueConstraint("namespace", "owner"),)

    id: int = Field(primary_key=True)
    namespace: str = Field(sa_type=Text)
    owner: str = Field(sa_type=Text)
    folded: int = Field(sa_column=Column(BigInteger, nullable=False, server_default="0"))
    folded_length: int = Field(sa_column=Column(BigInteger, nullable=False, server_default="0"))
    shelf: int = Field(sa_column=Column(Integer, nullable=False, server_default="0"))
    settled: int = Field(sa_column=Column(BigInteger, nullable=False, server_default="0"))


class ModelRow(SQLModel, table=True):
    """A model, with its precision, that made vectors."""

    metadata = metadata
    __tablename__ = "memory_models"  # pyright: ignore[reportAssignmentType] -- SQLModel's own documented way
    __table_args__ = (UniqueConstraint("name", "precision"),)

    id: int = Field(sa_column=Column(SmallInteger, primary_key=True))
    name: str = Field(sa_type=Text)
    precision: str = Field(sa_type=Text)


class MemoryRow(SQLModel, table=True):
    """A memory. `model` is empty while it waits for its vectors."""

    metadata = metadata
    __tablename__ = "memories"  # pyright: ignore[reportAssignmentType] -- SQLModel's own documented way
    __table_args__ = (
        UniqueConstraint("number"),
        Index(
            "memories_content",
            "collection",
            "content_hash",
            unique=True,
            postgresql_where=text("deleted_at IS NULL"),
        ),
        Index("memories_newest", "namespace", text("created_at DESC"), text("id DESC")),
        Index("memories_importance", "namespace", text("importance DESC"), text("created_at DESC"), text("id DESC")),
        Index(
            "memories_session",
            "collection",
            "session_id",
            "happened_at",
            "id",
            postgresql_where=text("session_id IS NOT NULL"),
        ),
        Index(
            "memories_persona",
            "namespace",
            "persona_id",
            text("created_at DESC"),
            text("id DESC"),
            postgresql_where=text("persona_id IS NOT NULL"),
        ),
        Index("memories_tags", "tags", postgresql_using="gin"),
        Index("memories_metadata", "metadata", postgresql_using="gin", postgresql_ops={"metadata": "jsonb_path_ops"}),
        Index("memories_expiring", "expires_at", postgresql_where=text("expires_at IS NOT NULL")),
        Index("memories_deleted", "deleted_at", postgresql_where=text("deleted_at IS NOT NULL")),
        Index(
            "memories_trash",
            "namespace",
            text("deleted_at DESC"),
            text("id DESC"),
            postgresql_where=text("deleted_at IS NOT NULL"),
        ),
        Index("memories_model", "model", "number", postgresql_where=text("deleted_at IS NULL")),
        Index("memories_unread", "terms_version", "number", postgresql_where=text("deleted_at IS NULL")),
    )

    id: UUID = Field(primary_key=True)
    number: int = Field(sa_column=Column(BigInteger, nullable=False, server_default=numbers.next_value()))
    collection: int = Field(sa_column=Column(Integer, ForeignKey("memory.memory_collections.id"), nullable=False))
    created_at: datetime = Field(sa_column=_time(required=True))
    occurred_at: datetime | None = Field(default=None, sa_column=_time())
    happened_at: datetime = Field(
        sa_column=Column(DateTime(timezone=True), Computed("coalesce(occurred_at, created_at)", persisted=True))
    )
    expires_at: datetime | None = Field(default=None, sa_column=_time())
    deleted_at: datetime | None = Field(default=None, sa_column=_time())
    updated_at: datetime = Field(sa_column=_time(required=True))
    importance: float = Field(sa_column=Column(Double, nullable=False, server_default="0.5"))
    version: int = Field(sa_column=Column(Integer, nullable=False, server_default="1"))
    store_count: int = Field(sa_column=Column(Integer, nullable=False, server_default="1"))
    model: int | None = Field(default=None, sa_column=Column(SmallInteger, ForeignKey("memory.memory_models.id")))
    terms_version: int = Field(sa_column=Column(SmallInteger, nullable=False, server_default="0"))
    tier: Tier = Field(sa_column=Column(_enum(Tier, "memory_tier"), nullable=False))
    visibility: Visibility = Field(sa_column=Column(_enum(Visibility, "memory_visibility"), nullable=False))
    namespace: str = Field(sa_type=Text)
    session_id: str | None = Field(default=None, sa_type=Text)
    persona_id: str | None = Field(default=None, sa_column=Column(String(100)))
    tags: list[str] = Field(sa_column=Column(ARRAY(Text), nullable=False, server_default=text("'{}'")))
    details: dict[str, Any] = Field(sa_column=Column("metadata", JSONB, nullable=False, server_default=text("'{}'")))
    content: str = Field(sa_type=Text)
    content_hash: bytes = Field(sa_column=Column(LargeBinary, nullable=False))
    source: str = Field(sa_type=Text)


class UseRow(SQLModel, table=True):
    """How often searches found a memory; none for one that was never found."""

    metadata = metadata
    __tablename__ = "memory_uses"  # pyright: ignore[reportAssignmentType] -- SQLModel's own documented way
    __table_args__ = (Index("memory_uses_most", "namespace", text("uses DESC"), text("memory_id DESC")),)

    memory_id: UUID = Field(primary_key=True, foreign_key="memory.memories.id", ondelete="CASCADE")
    namespace: str = Field(sa_type=Text)
    uses: int = Field(sa_column=Column(Integer, nullable=False))
    last_used_at: datetime = Field(sa_column=Column(DateTime(timezone=True), nullable=False))


class VectorRow(SQLModel, table=True):
    """The vector of a part of a memory; a long content has several. Partitioned by shelf, 0 has the fresh ones."""

    metadata = metadata
    __tablename__ = "memory_vectors"  # pyright: ignore[reportAssignmentType] -- SQLModel's own documented way
    __table_args__ = (Index("memory_vectors_number", "number"),)
    # Rows have no key of their own; the mapper wants one.
    __mapper_args__ = {"primary_key": ["number", "position"]}

    shelf: int = Field(sa_column=Column(Integer, nullable=False))
    collection: int = Field(sa_column=Column(Integer, nullable=False))
    number: int = Field(sa_column=Column(BigInteger, nullable=False))
    position: int = Field(sa_column=Column(SmallInteger, nullable=False))
    model: int = Field(sa_column=Column(SmallInteger, nullable=False))
    embedding: Any = Field(sa_column=Column(HALFVEC(DIMENSION), nullable=False))


class WordsRow(SQLModel, table=True):
    """The terms of a memory and how often each occurs, packed (words.py)."""

    metadata = metadata
    __tablename__ = "memory_words"  # pyright: ignore[reportAssignmentType] -- SQLModel's own documented way

    number: int = Field(sa_column=Column(BigInteger, primary_key=True, autoincrement=False))
    collection: int = Field(sa_column=Column(Integer, nullable=False))
    words: bytes = Field(sa_column=Column(LargeBinary, nullable=False))


class FreshRow(SQLModel, table=True):
    """A memory whose words have not been folded into blocks."""

    metadata = metadata
    __tablename__ = "memory_fresh"  # pyright: ignore[reportAssignmentType] -- SQLModel's own documented way

    collection: int = Field(sa_column=Column(Integer, primary_key=True, autoincrement=False))
    number: int = Field(sa_column=Column(BigInteger, primary_key=True, autoincrement=False))


class BlockRow(SQLModel, table=True):
    """Some hundred memories of a collection that have a term, packed; their numbers are between `low` and `high`."""

    metadata = metadata
    __tablename__ = "memory_blocks"  # pyright: ignore[reportAssignmentType] -- SQLModel's own documented way

    collection: int = Field(sa_column=Column(Integer, primary_key=True, autoincrement=False))
    term: int = Field(sa_column=Column(BigInteger, primary_key=True, autoincrement=False))
    block: int = Field(sa_column=Column(Integer, primary_key=True, autoincrement=False))
    low: int = Field(sa_column=Column(BigInteger, nullable=False))
    high: int = Field(sa_column=Column(BigInteger, nullable=False))
    postings: bytes = Field(sa_column=Column(LargeBinary, nullable=False))


class ForgottenRow(SQLModel, table=True):
    """A number that is gone, until blocks and shelves have been swept of it."""

    metadata = metadata
    __tablename__ = "memory_forgotten"  # pyright: ignore[reportAssignmentType] -- SQLModel's own documented way

    collection: int = Field(sa_column=Column(Integer, primary_key=True, autoincrement=False))
    number: int = Field(sa_column=Column(BigInteger, primary_key=True, autoincrement=False))
    words: bytes | None = Field(default=None, sa_column=Column(LargeBinary))


class ShareRow(SQLModel, table=True):
    """A memory shown to a persona of a namespace, or to all of it (persona empty)."""

    metadata = metadata
    __tablename__ = "memory_shares"  # pyright: ignore[reportAssignmentType] -- SQLModel's own documented way
    __table_args__ = (
        Index("memory_shares_memory", "memory_id"),
        Index("memory_shares_grantee", "namespace", "persona", postgresql_where=text("revoked_at IS NULL")),
        Index(
            "memory_shares_active",
            "memory_id",
            "namespace",
            "persona",
            unique=True,
            postgresql_where=text("revoked_at IS NULL"),
        ),
    )

    id: UUID = Field(primary_key=True)
    memory_id: UUID = Field(foreign_key="memory.memories.id", ondelete="CASCADE")
    namespace: str = Field(sa_type=Text)
    persona: str = Field(sa_column=Column(Text, nullable=False, server_default=""))
    created_at: datetime = Field(sa_column=_time(required=True))
    created_by: str = Field(sa_type=Text)
    expires_at: datetime | None = Field(default=None, sa_column=_time())
    revoked_at: datetime | None = Field(default=None, sa_column=_time())


class HistoryRow(SQLModel, table=True):
    """What was done to a memory; each row made one version of it."""

    metadata = metadata
    __tablename__ = "memory_history"  # pyright: ignore[reportAssignmentType] -- SQLModel's own documented way

    memory_id: UUID = Field(primary_key=True, foreign_key="memory.memories.id", ondelete="CASCADE")
    version: int = Field(sa_column=Column(Integer, primary_key=True, autoincrement=False))
    action: str = Field(sa_type=Text)
    author: str = Field(sa_type=Text)
    persona: str | None = Field(default=None, sa_type=Text)
    changed_at: datetime = Field(sa_column=_time(required=True))
    is_opening: bool = Field(sa_column=Column(Boolean, nullable=False, server_default=text("false")))
    changes: dict[str, Any] = Field(sa_column=Column(JSONB, nullable=False, server_default=text("'{}'")))


def _count() -> Column[int]:
    return Column(BigInteger, nullable=False)


class CountsRow(SQLModel, table=True):
    """How many memories a collection has, without the changes that have not been added up."""

    metadata = metadata
    __tablename__ = "memory_counts"  # pyright: ignore[reportAssignmentType] -- SQLModel's own documented way

    collection: int = Field(
        sa_column=Column(Integer, ForeignKey("memory.memory_collections.id"), primary_key=True, autoincrement=False)
    )
    short_term: int = Field(sa_column=_count())
    long_term: int = Field(sa_column=_count())
    deleted: int = Field(sa_column=_count())
    pending: int = Field(sa_column=_count())
    bytes: int = Field(sa_column=_count())


class CountChangeRow(SQLModel, table=True):
    """By how much a write changed the counts of a collection; triggers write it."""

    metadata = metadata
    __tablename__ = "memory_count_changes"  # pyright: ignore[reportAssignmentType] -- SQLModel's own documented way
    __table_args__ = (Index("memory_count_changes_collection", "collection"),)
    # Rows have no key of their own; the mapper wants one.
    __mapper_args__ = {"primary_key": ["collection"]}

    collection: int = Field(sa_column=Column(Integer, nullable=False))
    short_term: int = Field(sa_column=_count())
    long_term: int = Field(sa_column=_count())
    deleted: int = Field(sa_column=_count())
    pending: int = Field(sa_column=_count())
    bytes: int = Field(sa_column=_count())


class ImportRow(SQLModel, table=True):
    """How far an import is."""

    metadata = metadata
    __tablename__ = "memory_imports"  # pyright: ignore[reportAssignmentType] -- SQLModel's own documented way
    __table_args__ = (UniqueConstraint("namespace", "owner", "key"), Index("memory_imports_updated_at", "updated_at"))

    id: UUID = Field(primary_key=True)
    namespace: str = Field(sa_type=Text)
    owner: str = Field(sa_type=Text)
    key: str = Field(sa_type=Text)
    records: int = Field(sa_column=Column(BigInteger, nullable=False))
    line: int = Field(sa_column=Column(BigInteger, nullable=False))
    digest: bytes = Field(sa_column=Column(LargeBinary, nullable=False))
    stored: int = Field(sa_column=Column(BigInteger, nullable=False))
    deduplicated: int = Field(sa_column=Column(BigInteger, nullable=False))
    failed: int = Field(sa_column=Column(BigInteger, nullable=False))
    unnamed: int = Field(sa_column=Column(BigInteger, nullable=False))
    faults: list[Any] = Field(sa_column=Column(JSONB, nullable=False))
    created_at: datetime = Field(sa_column=_time(required=True))
    updated_at: datetime = Field(sa_column=_time(required=True))


class PairRow(SQLModel, table=True):
    """Two memories of a collection, by number, that say nearly the same; `first` is the lower number."""

    metadata = metadata
    __tablename__ = "memory_pairs"  # pyright: ignore[reportAssignmentType] -- SQLModel's own documented way
    __table_args__ = (Index("memory_pairs_second", "collection", "second"),)

    collection: int = Field(sa_column=Column(Integer, primary_key=True, autoincrement=False))
    first: int = Field(sa_column=Column(BigInteger, primary_key=True, autoincrement=False))
    second: int = Field(sa_column=Column(BigInteger, primary_key=True, autoincrement=False))
    similarity: float = Field(sa_column=Column(REAL, nullable=False))
    overlap: float = Field(sa_column=Column(REAL, nullable=False))


class UncomparedRow(SQLModel, table=True):
    """A memory with vectors that was not compared with the others of its collection yet."""

    metadata = metadata
    __tablename__ = "memory_uncompared"  # pyright: ignore[reportAssignmentType] -- SQLModel's own documented way

    collection: int = Field(sa_column=Column(Integer, primary_key=True, autoincrement=False))
    number: int = Field(sa_column=Column(BigInteger, primary_key=True, autoincrement=False))


class ConsolidationRow(SQLModel, table=True):
    """Some memories made one."""

    metadata = metadata
    __tablename__ = "memory_consolidations"  # pyright: ignore[reportAssignmentType] -- SQLModel's own documented way
    __table_args__ = (
        Index("memory_consolidations_kept", "kept"),
        Index("memory_consolidations_latest", "collection", text("created_at DESC"), text("id DESC")),
    )

    id: UUID = Field(primary_key=True)
    collection: int = Field(sa_column=Column(Integer, ForeignKey("memory.memory_collections.id"), nullable=False))
    kept: UUID = Field(foreign_key="memory.memories.id", ondelete="CASCADE")
    kept_version: int
    before: dict[str, Any] = Field(sa_column=Column(JSONB, nullable=False))
    after: dict[str, Any] = Field(sa_column=Column(JSONB, nullable=False))
    created_at: datetime = Field(sa_column=_time(required=True))
    created_by: str = Field(sa_type=Text)
    undone_at: datetime | None = Field(default=None, sa_column=_time())
    undone_by: str | None = Field(default=None, sa_type=Text)


class ConsolidatedRow(SQLModel, table=True):
    """A memory that a consolidation deleted, and its version before."""

    metadata = metadata
    __tablename__ = "memory_consolidated"  # pyright: ignore[reportAssignmentType] -- SQLModel's own documented way

    consolidation: UUID = Field(primary_key=True, foreign_key="memory.memory_consolidations.id", ondelete="CASCADE")
    memory_id: UUID = Field(primary_key=True)
    version: int
