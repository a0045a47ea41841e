"""The tables of the schema `task`."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy import Column, DateTime, Enum, ForeignKey, Index, Integer, MetaData, SmallInteger, Text, func, text
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlmodel import Field, SQLModel

from tmws_contracts.common import Priority
from tmws_contracts.task import TaskStatus

SCHEMA = "task"
metadata = MetaData(schema=SCHEMA)


def _enum(kind: type[StrEnum], name: str) -> Enum:
    return Enum(*(member.value for member in kind), name=name, schema=SCHEMA)


class TaskRow(SQLModel, table=True):
    """A task. `unmet` counts its dependencies that are not completed."""

    metadata = metadata
    __tablename__ = "tasks"  # pyright: ignore[reportAssignmentType] -- SQLModel's own documented way
    __table_args__ = (
        Index("tasks_newest", "namespace", text("created_at DESC"), text("id DESC")),
        Index("tasks_open", "namespace", "status", postgresql_where=text("status IN ('pending', 'in_progress')")),
        Index("tasks_parent", "parent_id", postgresql_where=text("parent_id IS NOT NULL")),
    )

    id: UUID = Field(primary_key=True)
    namespace: str = Field(sa_type=Text)
    title: str = Field(max_length=255)
    description: str | None = Field(default=None, sa_type=Text)
    status: TaskStatus = Field(
        sa_column=Column(_enum(TaskStatus, "task_status"), nullable=False, server_default="pending")
    )
    priority: Priority = Field(
        sa_column=Column(_enum(Priority, "task_priority"), nullable=False, server_default="medium")
    )
    assigned_persona: str | None = Field(default=None, max_length=100)
    progress: int = Field(sa_column=Column(SmallInteger, nullable=False, server_default="0"))
    details: dict[str, Any] = Field(sa_column=Column("metadata", JSONB, nullable=False, server_default=text("'{}'")))
    labels: list[str] = Field(sa_column=Column(ARRAY(Text), nullable=False, server_default=text("'{}'")))
    due_at: datetime | None = Field(default=None, sa_type=DateTime(timezone=True))  # pyright: ignore[reportArgumentType] -- an instance is right
    parent_id: UUID | None = Field(default=None, foreign_key="task.tasks.id", ondelete="SET NULL")
    unmet: int = Field(sa_column=Column(Integer, nullable=False, server_default="0"))
    result: dict[str, Any] | None = Field(default=None, sa_type=JSONB)
    error: str | None = Field(default=None, sa_type=Text)
    version: int = Field(sa_column=Column(Integer, nullable=False, server_default="1"))
    created_at: datetime = Field(sa_column=Column(DateTime(timezone=True), nullable=False, server_default=func.now()))
    updated_at: datetime = Field(sa_column=Column(DateTime(timezone=True), nullable=False, server_default=func.now()))


class DependencyRow(SQLModel, table=True):
    """`task_id` cannot be completed before `depends_on`."""

    metadata = metadata
    __tablename__ = "task_dependencies"  # pyright: ignore[reportAssignmentType] -- SQLModel's own documented way
    __table_args__ = (Index("task_dependencies_reverse", "depends_on"),)

    task_id: UUID = Field(sa_column=Column(ForeignKey("task.tasks.id", ondelete="CASCADE"), primary_key=True))
    depends_on: UUID = Field(sa_column=Column(ForeignKey("task.tasks.id", ondelete="CASCADE"), primary_key=True))
