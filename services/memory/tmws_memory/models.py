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
    BigInteger,
    Column,
    Computed,
    DateTime,
    Double,
    Enum,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    SmallInteger,
    String,
    Text,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlmodel import Field, SQLModel

from tmws_contracts.memory import Tier, Visibility

SCHEMA = "memory"
DIMENSION = 384
metadata = MetaData(schema=SCHEMA)


def _enum(kind: type[StrEnum], name: str) -> Enum:
    return Enum(*(member.value for member in kind), name=name, schema=SCHEMA)


def _time(*, required: bool = False) -> Column[datetime]:
    default = func.now() if required else None
    return Column(DateTime(timezone=True), nullable=not required, server_default=default)


class MemoryRow(SQLModel, table=True):
    """A memory with the vector of its content (of a long one: of its first part).

    `owner` is empty for what the whole namespace may see, else `persona:…` or `subject:…`.
    """

    metadata = metadata
    __tablename__ = "memory_embeddings"  # pyright: ignore[reportAssignmentType] -- SQLModel's own documented way
    __table_args__ = (
        Index(
            "memory_embeddings_content",
            "namespace",
            "owner",
            "content_hash",
            unique=True,
            postgresql_where=text("deleted_at IS NULL"),
        ),
        Index("memory_embeddings_newest", "namespace", text("created_at DESC"), text("id DESC")),
        Index(
            "memory_embeddings_session",
            "namespace",
            "session_id",
            "happened_at",
            "id",
            postgresql_where=text("session_id IS NOT NULL"),
        ),
        Index("memory_embeddings_expiring", "expires_at", postgresql_where=text("expires_at IS NOT NULL")),
        Index("memory_embeddings_deleted", "deleted_at", postgresql_where=text("deleted_at IS NOT NULL")),
    )

    id: UUID = Field(primary_key=True)
    namespace: str = Field(sa_type=Text)
    owner: str = Field(sa_column=Column(Text, nullable=False))
    importance: float = Field(sa_column=Column(Double, nullable=False, server_default="0.5"))
    created_at: datetime = Field(sa_column=_time(required=True))
    occurred_at: datetime | None = Field(default=None, sa_column=_time())
    happened_at: datetime = Field(
        sa_column=Column(DateTime(timezone=True), Computed("coalesce(occurred_at, created_at)", persisted=True))
    )
    expires_at: datetime | None = Field(default=None, sa_column=_time())
    deleted_at: datetime | None = Field(default=None, sa_column=_time())
    length: int = Field(sa_column=Column(Integer, nullable=False))
    embedding: Any = Field(sa_column=Column(HALFVEC(DIMENSION), nullable=False))
    embedding_model: str = Field(sa_type=Text)
    embedding_precision: str = Field(sa_type=Text)
    session_id: str | None = Field(default=None, sa_type=Text)
    persona_id: str | None = Field(default=None, sa_column=Column(String(100)))
    tier: Tier = Field(sa_column=Column(_enum(Tier, "memory_tier"), nullable=False))
    visibility: Visibility = Field(sa_column=Column(_enum(Visibility, "memory_visibility"), nullable=False))
    tags: list[str] = Field(sa_column=Column(ARRAY(Text), nullable=False, server_default=text("'{}'")))
    details: dict[str, Any] = Field(sa_column=Column("metadata", JSONB, nullable=False, server_default=text("'{}'")))
    content: str = Field(sa_type=Text)
    content_hash: bytes = Field(sa_column=Column(LargeBinary, nullable=False))
    source: str = Field(sa_type=Text)
    store_count: int = Field(sa_column=Column(Integer, nullable=False, server_default="1"))
    access_count: int = Field(sa_column=Column(Integer, nullable=False, server_default="0"))
    last_accessed_at: datetime | None = Field(default=None, sa_column=_time())
    version: int = Field(sa_column=Column(Integer, nullable=False, server_default="1"))
    updated_at: datetime = Field(sa_column=_time(required=True))


class ChunkRow(SQLModel, table=True):
    """The vector of a later part of a long content; the first part's is in its memory's row."""

    metadata = metadata
    __tablename__ = "memory_chunks"  # pyright: ignore[reportAssignmentType] -- SQLModel's own documented way
    __table_args__ = (Index("memory_chunks_namespace", "namespace"),)

    memory_id: UUID = Field(primary_key=True, foreign_key="memory.memory_embeddings.id", ondelete="CASCADE")
    position: int = Field(sa_column=Column(SmallInteger, primary_key=True))
    namespace: str = Field(sa_type=Text)
    embedding: Any = Field(sa_column=Column(HALFVEC(DIMENSION), nullable=False))


class PostingRow(SQLModel, table=True):
    """How often a term occurs in a memory; `term` is a hash of namespace and term."""

    metadata = metadata
    __tablename__ = "memory_postings"  # pyright: ignore[reportAssignmentType] -- SQLModel's own documented way
    __table_args__ = (Index("memory_postings_memory", "memory_id"),)

    term: int = Field(sa_column=Column(BigInteger, primary_key=True, autoincrement=False))
    memory_id: UUID = Field(primary_key=True)
    frequency: int = Field(sa_column=Column(SmallInteger, nullable=False))
    length: int = Field(sa_column=Column(Integer, nullable=False))
