"""The tables of the schema `task`."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    Column,
    Computed,
    DateTime,
    Double,
    Enum,
    ForeignKey,
    Identity,
    Index,
    Integer,
    MetaData,
    Sequence,
    SmallInteger,
    Text,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB, TSVECTOR
from sqlmodel import Field, SQLModel

from tmws_contracts.common import Priority
from tmws_contracts.task import TaskStatus

SCHEMA = "task"
metadata = MetaData(schema=SCHEMA)
OPEN = "('pending', 'in_progress', 'input_required')"
CLAIM_TOKENS = Sequence("task_claim_tokens", metadata=metadata)


def _enum(kind: type[StrEnum], name: str) -> Enum:
    return Enum(*(member.value for member in kind), name=name, schema=SCHEMA)


def _priority() -> Column[Any]:
    return Column(_enum(Priority, "task_priority"), nullable=False, server_default="medium")


def _status(*, nullable: bool = False) -> Column[Any]:
    return Column(_enum(TaskStatus, "task_status"), nullable=nullable)


def _names() -> Column[Any]:
    return Column(ARRAY(Text), nullable=False, server_default=text("'{}'"))


def _moment() -> Column[Any]:
    return Column(DateTime(timezone=True), nullable=False, server_default=func.now())


class TaskRow(SQLModel, table=True):
    """A task. `unmet` counts its dependencies that are not completed, `unblocks` the open tasks that wait for it.

    `turn` orders claims; `action` and `author` tell of its latest change, and a trigger puts them into its history.
    """

    metadata = metadata
    __tablename__ = "tasks"  # pyright: ignore[reportAssignmentType] -- SQLModel's own documented way
    __table_args__ = (
        Index("tasks_newest", "namespace", text("created_at DESC"), text("id DESC")),
        Index("tasks_updated", "namespace", text("updated_at DESC"), text("id DESC")),
        Index("tasks_urgency", "namespace", "turn", "id"),
        Index("tasks_open", "namespace", "status", postgresql_where=text(f"status IN {OPEN}")),
        Index("tasks_parent", "parent_id", postgresql_where=text("parent_id IS NOT NULL")),
        Index(
            "tasks_claimable",
            "namespace",
            "assigned_persona",
            "turn",
            "id",
            postgresql_where=text("status = 'pending' AND unmet = 0"),
        ),
        Index("tasks_leases", "lease_until", postgresql_where=text("lease_until IS NOT NULL")),
        Index(
            "tasks_claimed",
            "namespace",
            "claimed_by",
            "claim_request",
            postgresql_where=text("claim_request IS NOT NULL"),
        ),
        Index("tasks_words", "words", postgresql_using="gin"),
    )

    id: UUID = Field(primary_key=True)
    namespace: str = Field(sa_type=Text)
    title: str = Field(max_length=255)
    description: str | None = Field(default=None, sa_type=Text)
    status: TaskStatus = Field(
        sa_column=Column(_enum(TaskStatus, "task_status"), nullable=False, server_default="pending")
    )
    priority: Priority = Field(sa_column=_priority())
    effective_priority: Priority = Field(sa_column=_priority())
    assigned_persona: str | None = Field(default=None, max_length=100)
    capabilities: list[str] = Field(sa_column=_names())
    progress: int = Field(sa_column=Column(SmallInteger, nullable=False, server_default="0"))
    note: str | None = Field(default=None, sa_type=Text)
    details: dict[str, Any] = Field(sa_column=Column("metadata", JSONB, nullable=False, server_default=text("'{}'")))
    labels: list[str] = Field(sa_column=_names())
    due_at: datetime | None = Field(default=None, sa_type=DateTime(timezone=True))  # pyright: ignore[reportArgumentType] -- an instance is right
    parent_id: UUID | None = Field(default=None, foreign_key="task.tasks.id", ondelete="SET NULL")
    unmet: int = Field(sa_column=Column(Integer, nullable=False, server_default="0"))
    unblocks: int = Field(sa_column=Column(Integer, nullable=False, server_default="0"))
    turn: float = Field(
        sa_column=Column(
            Double,
            Computed("task.task_turn(effective_priority, created_at, due_at, unblocks)", persisted=True),
            nullable=False,
        )
    )
    words: str = Field(
        sa_column=Column(
            TSVECTOR, Computed("task.task_words(title, description, labels)", persisted=True), nullable=False
        )
    )
    output_schema: dict[str, Any] | None = Field(default=None, sa_type=JSONB)
    result: dict[str, Any] | None = Field(default=None, sa_type=JSONB)
    error: str | None = Field(default=None, sa_type=Text)
    question: str | None = Field(default=None, sa_type=Text)
    answer: str | None = Field(default=None, sa_type=Text)
    claimed_by: str | None = Field(default=None, sa_type=Text)
    claim_token: int | None = Field(default=None, sa_type=BigInteger)
    claim_request: str | None = Field(default=None, sa_type=Text)
    lease_seconds: int | None = None
    lease_until: datetime | None = Field(default=None, sa_type=DateTime(timezone=True))  # pyright: ignore[reportArgumentType] -- an instance is right
    lease_losses: int = Field(sa_column=Column(SmallInteger, nullable=False, server_default="0"))
    action: str = Field(sa_column=Column(Text, nullable=False, server_default="created"))
    author: str = Field(sa_column=Column(Text, nullable=False, server_default="tmws"))
    author_persona: str | None = Field(default=None, sa_type=Text)
    version: int = Field(sa_column=Column(Integer, nullable=False, server_default="1"))
    created_at: datetime = Field(sa_column=_moment())
    updated_at: datetime = Field(sa_column=_moment())


class DependencyRow(SQLModel, table=True):
    """`task_id` cannot be completed before `depends_on`."""

    metadata = metadata
    __tablename__ = "task_dependencies"  # pyright: ignore[reportAssignmentType] -- SQLModel's own documented way
    __table_args__ = (Index("task_dependencies_reverse", "depends_on"),)

    task_id: UUID = Field(sa_column=Column(ForeignKey("task.tasks.id", ondelete="CASCADE"), primary_key=True))
    depends_on: UUID = Field(sa_column=Column(ForeignKey("task.tasks.id", ondelete="CASCADE"), primary_key=True))


class EventRow(SQLModel, table=True):
    """A change of a task, written by a trigger and never changed."""

    metadata = metadata
    __tablename__ = "task_events"  # pyright: ignore[reportAssignmentType] -- SQLModel's own documented way
    __table_args__ = (Index("task_events_task", "task_id", "id"),)

    id: int = Field(sa_column=Column(BigInteger, Identity(always=True), primary_key=True))
    task_id: UUID
    version: int
    action: str = Field(sa_type=Text)
    author: str = Field(sa_type=Text)
    persona: str | None = Field(default=None, sa_type=Text)
    from_status: TaskStatus | None = Field(sa_column=_status(nullable=True))
    to_status: TaskStatus = Field(sa_column=_status())
    agent: str | None = Field(default=None, sa_type=Text)
    note: str | None = Field(default=None, sa_type=Text)
    changes: dict[str, Any] | None = Field(default=None, sa_type=JSONB)
    at: datetime = Field(sa_column=_moment())


class CommentRow(SQLModel, table=True):
    """What somebody said about a task; never changed."""

    metadata = metadata
    __tablename__ = "task_comments"  # pyright: ignore[reportAssignmentType] -- SQLModel's own documented way
    __table_args__ = (Index("task_comments_task", "task_id", "id"),)

    id: UUID = Field(primary_key=True)
    task_id: UUID = Field(sa_column=Column(ForeignKey("task.tasks.id", ondelete="CASCADE"), nullable=False))
    author: str = Field(sa_type=Text)
    persona: str | None = Field(default=None, sa_type=Text)
    body: str = Field(sa_type=Text)
    created_at: datetime = Field(sa_column=_moment())


class CountRow(SQLModel, table=True):
    """How many finished tasks a namespace has, as far as changes have been added up."""

    metadata = metadata
    __tablename__ = "task_counts"  # pyright: ignore[reportAssignmentType] -- SQLModel's own documented way

    namespace: str = Field(sa_type=Text, primary_key=True)
    status: TaskStatus = Field(sa_column=Column(_enum(TaskStatus, "task_status"), primary_key=True))
    tasks: int = Field(sa_type=BigInteger)


class CountChangeRow(SQLModel, table=True):
    """By how much a change of a task changed the counts; triggers write it."""

    metadata = metadata
    __tablename__ = "task_count_changes"  # pyright: ignore[reportAssignmentType] -- SQLModel's own documented way
    __table_args__ = (Index("task_count_changes_namespace", "namespace"),)
    # Rows have no key of their own; the mapper wants one.
    __mapper_args__ = {"primary_key": ["namespace"]}

    namespace: str = Field(sa_column=Column(Text, nullable=False))
    status: TaskStatus = Field(sa_column=_status())
    tasks: int
