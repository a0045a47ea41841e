"""The tables of the schema `workflow`."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    Column,
    DateTime,
    Enum,
    Float,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    MetaData,
    SmallInteger,
    Text,
    Uuid,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlmodel import Field, SQLModel

from tmws_contracts.common import Priority
from tmws_contracts.workflow import ExecutionStatus, StepStatus, WorkflowType

SCHEMA = "workflow"
metadata = MetaData(schema=SCHEMA)


def _enum(kind: type[StrEnum], name: str) -> Enum:
    return Enum(*(member.value for member in kind), name=name, schema=SCHEMA)


def _moment(*, default_now: bool = False) -> Column[datetime]:
    default = func.now() if default_now else None
    return Column(DateTime(timezone=True), nullable=not default_now, server_default=default)


class WorkflowRow(SQLModel, table=True):
    """A workflow. What its latest execution did is read from that execution, so that runs never queue for this row."""

    metadata = metadata
    __tablename__ = "workflows"  # pyright: ignore[reportAssignmentType] -- SQLModel's own documented way
    __table_args__ = (
        Index(
            "workflows_newest", "namespace", text("created_at DESC"), text("id DESC"),
            postgresql_where=text("deleted_at IS NULL"),
        ),
        Index("workflows_deleted", "deleted_at", postgresql_where=text("deleted_at IS NOT NULL")),
    )  # fmt: skip

    id: UUID = Field(primary_key=True)
    namespace: str = Field(sa_type=Text)
    name: str = Field(max_length=255)
    workflow_type: WorkflowType = Field(sa_column=Column(_enum(WorkflowType, "workflow_type"), nullable=False))
    priority: Priority = Field(
        sa_column=Column(_enum(Priority, "workflow_priority"), nullable=False, server_default="medium")
    )
    config: dict[str, Any] = Field(sa_column=Column(JSONB, nullable=False))
    config_version: int = Field(sa_column=Column(Integer, nullable=False, server_default="1"))
    version: int = Field(sa_column=Column(Integer, nullable=False, server_default="1"))
    created_at: datetime = Field(sa_column=_moment(default_now=True))
    updated_at: datetime = Field(sa_column=_moment(default_now=True))
    deleted_at: datetime | None = Field(default=None, sa_column=_moment())


class WorkflowVersionRow(SQLModel, table=True):
    """A definition as it was saved; it never changes."""

    metadata = metadata
    __tablename__ = "workflow_versions"  # pyright: ignore[reportAssignmentType] -- SQLModel's own documented way

    workflow_id: UUID = Field(
        sa_column=Column(ForeignKey("workflow.workflows.id", ondelete="CASCADE"), primary_key=True)
    )
    version: int = Field(primary_key=True)
    workflow_type: WorkflowType = Field(sa_column=Column(_enum(WorkflowType, "workflow_type"), nullable=False))
    config: dict[str, Any] = Field(sa_column=Column(JSONB, nullable=False))
    created_at: datetime = Field(sa_column=_moment(default_now=True))


class ExecutionRow(SQLModel, table=True):
    """One run. Its row lock orders everything that happens in it; `outcome` is set once it cannot end well."""

    metadata = metadata
    __tablename__ = "executions"  # pyright: ignore[reportAssignmentType] -- SQLModel's own documented way
    __table_args__ = (
        ForeignKeyConstraint(
            ["workflow_id", "workflow_version"],
            ["workflow.workflow_versions.workflow_id", "workflow.workflow_versions.version"],
        ),
        Index("executions_latest", "workflow_id", text("created_at DESC"), text("id DESC")),
        Index(
            "executions_open", "workflow_id", postgresql_where=text("status IN ('pending', 'running', 'cancelling')")
        ),
        Index("executions_cancelling", "id", postgresql_where=text("status = 'cancelling'")),
    )

    id: UUID = Field(primary_key=True)
    namespace: str = Field(sa_type=Text)
    workflow_id: UUID
    workflow_version: int
    status: ExecutionStatus = Field(
        sa_column=Column(_enum(ExecutionStatus, "execution_status"), nullable=False, server_default="pending")
    )
    outcome: ExecutionStatus | None = Field(
        default=None, sa_column=Column(_enum(ExecutionStatus, "execution_status"), nullable=True)
    )
    priority: Priority = Field(sa_column=Column(_enum(Priority, "workflow_priority"), nullable=False))
    parameters: dict[str, Any] = Field(sa_column=Column(JSONB, nullable=False))
    principal: dict[str, Any] = Field(sa_column=Column(JSONB, nullable=False))
    traceparent: str | None = Field(default=None, sa_type=Text)
    open_steps: int = Field(sa_column=Column(Integer, nullable=False))
    last_seq: int = Field(sa_column=Column(BigInteger, nullable=False))
    output: dict[str, Any] | None = Field(default=None, sa_type=JSONB)
    error: dict[str, Any] | None = Field(default=None, sa_type=JSONB)
    created_at: datetime = Field(sa_column=_moment(default_now=True))
    started_at: datetime | None = Field(default=None, sa_column=_moment())
    finished_at: datetime | None = Field(default=None, sa_column=_moment())
    cancel_requested_at: datetime | None = Field(default=None, sa_column=_moment())


class StepRow(SQLModel, table=True):
    """A step of an execution. The rows with status `ready` are the queue.

    `fence` grows with every claim, so that a worker that lost its lease cannot write. `look_at` is when a waiting
    step is looked at again; a step that is cancelled keeps its `wait_key` until what it asked for is withdrawn.
    """

    metadata = metadata
    __tablename__ = "step_executions"  # pyright: ignore[reportAssignmentType] -- SQLModel's own documented way
    __table_args__ = (
        Index("step_executions_ready", "sched_key", postgresql_where=text("status = 'ready'")),
        Index("step_executions_leased", "lease_until", postgresql_where=text("status = 'running'")),
        Index("step_executions_waiting", "look_at", postgresql_where=text("status = 'waiting'")),
        Index("step_executions_wait_key", "wait_key", postgresql_where=text("status = 'waiting'")),
        Index(
            "step_executions_deadline", "deadline_at",
            postgresql_where=text("status IN ('ready', 'waiting') AND deadline_at IS NOT NULL"),
        ),
        Index(
            "step_executions_withdraw", "look_at",
            postgresql_where=text("status IN ('cancelled', 'timed_out') AND wait_key IS NOT NULL"),
        ),
        {"postgresql_with": {"fillfactor": 70}},
    )  # fmt: skip

    execution_id: UUID = Field(
        sa_column=Column(ForeignKey("workflow.executions.id", ondelete="CASCADE"), primary_key=True)
    )
    path: str = Field(sa_column=Column(Text, primary_key=True))
    place: int = Field(sa_column=Column(SmallInteger, nullable=False))
    kind: str = Field(sa_type=Text)
    status: StepStatus = Field(sa_column=Column(_enum(StepStatus, "step_status"), nullable=False))
    unmet: int = Field(sa_column=Column(Integer, nullable=False))
    attempt: int = Field(sa_column=Column(Integer, nullable=False, server_default="0"))
    lease_losses: int = Field(sa_column=Column(Integer, nullable=False, server_default="0"))
    fence: int = Field(sa_column=Column(Integer, nullable=False, server_default="0"))
    sched_key: datetime | None = Field(default=None, sa_column=_moment())
    lease_owner: UUID | None = Field(default=None, sa_column=Column(Uuid))
    lease_until: datetime | None = Field(default=None, sa_column=_moment())
    wait_key: str | None = Field(default=None, sa_type=Text)
    look_at: datetime | None = Field(default=None, sa_column=_moment())
    timeout_s: float | None = Field(default=None, sa_column=Column(Float))
    deadline_at: datetime | None = Field(default=None, sa_column=_moment())
    started_at: datetime | None = Field(default=None, sa_column=_moment())
    finished_at: datetime | None = Field(default=None, sa_column=_moment())
    output: dict[str, Any] | None = Field(default=None, sa_type=JSONB)
    error: dict[str, Any] | None = Field(default=None, sa_type=JSONB)


class EventRow(SQLModel, table=True):
    """One line of an execution's journal; `seq` has no gaps."""

    metadata = metadata
    __tablename__ = "events"  # pyright: ignore[reportAssignmentType] -- SQLModel's own documented way

    # No foreign key: its check on every line would cost as much as the line.
    execution_id: UUID = Field(primary_key=True)
    seq: int = Field(sa_column=Column(BigInteger, primary_key=True))
    type: str = Field(sa_type=Text)
    path: str | None = Field(default=None, sa_type=Text)
    attempt: int | None = Field(default=None, sa_column=Column(Integer))
    data: dict[str, Any] = Field(sa_column=Column(JSONB, nullable=False))
    at: datetime = Field(sa_column=_moment(default_now=True))
