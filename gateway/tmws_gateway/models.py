"""The tables of the schema `gateway`."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    Column,
    DateTime,
    Double,
    Identity,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    SmallInteger,
    Text,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY
from sqlmodel import Field, SQLModel

SCHEMA = "gateway"
metadata = MetaData(schema=SCHEMA)


def _moment(*, nullable: bool = True) -> Column[datetime]:
    return Column(DateTime(timezone=True), nullable=nullable)


class ApiKeyRow(SQLModel, table=True):
    """An API key. Its secret is kept as an HMAC only."""

    metadata = metadata
    __tablename__ = "api_keys"  # pyright: ignore[reportAssignmentType] -- SQLModel's own documented way
    __table_args__ = (
        Index("api_keys_name", "namespace", "name", unique=True, postgresql_where=text("revoked_at IS NULL")),
        Index("api_keys_newest", text("created_at DESC"), text("id DESC")),
    )

    id: str = Field(primary_key=True, sa_type=Text)
    name: str = Field(max_length=255)
    digest: bytes = Field(sa_type=LargeBinary)
    scopes: list[str] = Field(sa_column=Column(ARRAY(Text), nullable=False))
    namespace: str = Field(max_length=100)
    persona: str | None = Field(default=None, max_length=100)
    created_by: str = Field(sa_type=Text)
    created_at: datetime = Field(sa_column=Column(DateTime(timezone=True), nullable=False, server_default=func.now()))
    expires_at: datetime | None = Field(default=None, sa_column=_moment())
    last_used_at: datetime | None = Field(default=None, sa_column=_moment())
    revoked_at: datetime | None = Field(default=None, sa_column=_moment())
    version: int = Field(sa_column=Column(Integer, nullable=False, server_default="1"))
    previous_digest: bytes | None = Field(default=None, sa_type=LargeBinary)
    previous_until: datetime | None = Field(default=None, sa_column=_moment())


class RevokedTokenRow(SQLModel, table=True):
    """An access token that was revoked before its end."""

    metadata = metadata
    __tablename__ = "revoked_tokens"  # pyright: ignore[reportAssignmentType] -- SQLModel's own documented way
    __table_args__ = (Index("revoked_tokens_expires_at", "expires_at"),)

    issuer: str = Field(primary_key=True, sa_type=Text)
    jti: str = Field(primary_key=True, sa_type=Text)
    expires_at: datetime = Field(sa_column=_moment(nullable=False))


class AuditEventRow(SQLModel, table=True):
    """Something that was done or tried, until it is in the chain. The release before adds its own here, too."""

    metadata = metadata
    __tablename__ = "audit_events"  # pyright: ignore[reportAssignmentType] -- SQLModel's own documented way

    seq: int = Field(sa_column=Column(BigInteger, Identity(always=True), primary_key=True))
    id: UUID = Field(unique=True)
    occurred_at: datetime = Field(sa_column=_moment(nullable=False))
    namespace: str = Field(sa_type=Text)
    subject: str | None = Field(default=None, sa_type=Text)
    key_id: str | None = Field(default=None, sa_type=Text)
    persona: str | None = Field(default=None, sa_type=Text)
    address: str = Field(sa_type=Text)
    action: str = Field(sa_type=Text)
    resource: str = Field(sa_type=Text)
    decision: str = Field(sa_type=Text)
    status: int = Field(sa_column=Column(SmallInteger, nullable=False))
    request_id: str = Field(sa_type=Text)
    trace_id: str | None = Field(default=None, sa_type=Text)
    changed_fields: list[str] = Field(sa_column=Column(ARRAY(Text), nullable=False, server_default=text("'{}'")))
    duration_ms: float = Field(sa_column=Column(Double, nullable=False))
    repeats: int = Field(sa_column=Column(Integer, nullable=False, server_default="1"))


class AuditRecordRow(SQLModel, table=True):
    """An event in the chain. Rows can be added only: a trigger and the grants refuse everything else."""

    metadata = metadata
    __tablename__ = "audit_records"  # pyright: ignore[reportAssignmentType] -- SQLModel's own documented way
    __table_args__ = (
        Index("audit_records_newest", "namespace", text("seq DESC")),
        Index("audit_records_subject", "namespace", "subject", text("seq DESC")),
    )

    seq: int = Field(sa_column=Column(BigInteger, primary_key=True, autoincrement=False))
    hash: bytes = Field(sa_type=LargeBinary)
    version: int = Field(sa_column=Column(SmallInteger, nullable=False))
    id: UUID = Field(unique=True)
    occurred_at: datetime = Field(sa_column=_moment(nullable=False))
    namespace: str = Field(sa_type=Text)
    subject: str | None = Field(default=None, sa_type=Text)
    key_id: str | None = Field(default=None, sa_type=Text)
    persona: str | None = Field(default=None, sa_type=Text)
    address: str = Field(sa_type=Text)
    action: str = Field(sa_type=Text)
    resource: str = Field(sa_type=Text)
    decision: str = Field(sa_type=Text)
    status: int = Field(sa_column=Column(SmallInteger, nullable=False))
    request_id: str = Field(sa_type=Text)
    trace_id: str | None = Field(default=None, sa_type=Text)
    changed_fields: list[str] = Field(sa_column=Column(ARRAY(Text), nullable=False))
    field_digests: list[str] = Field(sa_column=Column(ARRAY(Text), nullable=False))
    duration_us: int = Field(sa_column=Column(BigInteger, nullable=False))
    repeats: int


class AuditCheckpointRow(SQLModel, table=True):
    """What the chain was at one record, signed. Rows can be added only."""

    metadata = metadata
    __tablename__ = "audit_checkpoints"  # pyright: ignore[reportAssignmentType] -- SQLModel's own documented way

    seq: int = Field(sa_column=Column(BigInteger, primary_key=True, autoincrement=False))
    hash: bytes = Field(sa_type=LargeBinary)
    made_at: datetime = Field(sa_column=_moment(nullable=False))
    public_key: bytes = Field(sa_type=LargeBinary)
    signature: bytes = Field(sa_type=LargeBinary)


class AuditBeginningRow(SQLModel, table=True):
    """Up to which record all were old enough to be removed, and its hash, signed. Rows can be added only."""

    metadata = metadata
    __tablename__ = "audit_beginnings"  # pyright: ignore[reportAssignmentType] -- SQLModel's own documented way

    seq: int = Field(sa_column=Column(BigInteger, primary_key=True, autoincrement=False))
    hash: bytes = Field(sa_type=LargeBinary)
    made_at: datetime = Field(sa_column=_moment(nullable=False))
    public_key: bytes = Field(sa_type=LargeBinary)
    signature: bytes = Field(sa_type=LargeBinary)
