"""The tables of the schema `persona`."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import Column, DateTime, ForeignKeyConstraint, Integer, LargeBinary, MetaData, String, Text, func, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlmodel import Field, SQLModel

SCHEMA = "persona"
metadata = MetaData(schema=SCHEMA)


class PersonaRow(SQLModel, table=True):
    """A persona of a namespace; `version` 1 means that nobody has edited it."""

    metadata = metadata
    __tablename__ = "personas"  # pyright: ignore[reportAssignmentType] -- SQLModel's own documented way

    namespace: str = Field(sa_column=Column(Text, primary_key=True))
    id: str = Field(sa_column=Column(String(100), primary_key=True))
    name: str = Field(max_length=255)
    description: str | None = Field(default=None, sa_type=Text)
    capabilities: list[str] = Field(sa_column=Column(JSONB, nullable=False, server_default=text("'[]'")))
    configuration: dict[str, Any] = Field(sa_column=Column(JSONB, nullable=False, server_default=text("'{}'")))
    instructions: str | None = Field(default=None, sa_type=Text)
    version: int = Field(sa_column=Column(Integer, nullable=False, server_default="1"))
    created_at: datetime = Field(sa_column=Column(DateTime(timezone=True), nullable=False, server_default=func.now()))
    updated_at: datetime = Field(sa_column=Column(DateTime(timezone=True), nullable=False, server_default=func.now()))


class SeedRow(SQLModel, table=True):
    """A built-in persona that a namespace was given; it stays when the persona is deleted."""

    metadata = metadata
    __tablename__ = "persona_seeds"  # pyright: ignore[reportAssignmentType] -- SQLModel's own documented way

    namespace: str = Field(sa_column=Column(Text, primary_key=True))
    id: str = Field(sa_column=Column(String(100), primary_key=True))
    digest: bytes = Field(sa_column=Column(LargeBinary, nullable=False))


class VectorRow(SQLModel, table=True):
    """What a persona means to one model; `digest` is that of the text it was made of, `embedding` float32."""

    metadata = metadata
    __tablename__ = "persona_vectors"  # pyright: ignore[reportAssignmentType] -- SQLModel's own documented way
    __table_args__ = (
        ForeignKeyConstraint(
            ["namespace", "persona_id"], [f"{SCHEMA}.personas.namespace", f"{SCHEMA}.personas.id"], ondelete="CASCADE"
        ),
    )

    namespace: str = Field(sa_column=Column(Text, primary_key=True))
    persona_id: str = Field(sa_column=Column(String(100), primary_key=True))
    model: str = Field(sa_column=Column(Text, primary_key=True))
    precision: str = Field(sa_column=Column(Text, primary_key=True))
    digest: bytes = Field(sa_column=Column(LargeBinary, nullable=False))
    embedding: bytes = Field(sa_column=Column(LargeBinary, nullable=False))
