"""The tables of the schema `workflow`."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    DateTime,
    Enum,
    Float,
    ForeignKey,
    ForeignKeyConstraint,
    Identity,
    Index,
    Integer,
    MetaData,
    SmallInteger,
    Table,
    Text,
    Uuid,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlmodel import Field, SQLModel

from tmws_contracts.approvals import ApprovalStatus
from tmws_contracts.common import Priority
from tmws_contracts.schedules import CatchUp, FireResult, Overlap
from tmws_contracts.workflow import ExecutionStatus, StepStatus, WorkflowType

SCHEMA = "workflow"
metadata = MetaData(schema=SCHEMA)
_OPEN = "status NOT IN ('completed', 'failed', 'cancelled', 'timed_out')"


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
        Index("executions_newest", "namespace", text("created_at DESC"), text("id DESC")),
        Index(
            "executions_unsuccessful",
            "namespace",
            text("created_at DESC"),
            text("id DESC"),
            postgresql_where=text("status IN ('failed', 'cancelled', 'timed_out')"),
        ),
        Index("executions_open", "workflow_id", postgresql_where=text(_OPEN)),
        Index("executions_cancelling", "id", postgresql_where=text("status = 'cancelling'")),
        Index(
            "executions_child", "parent_execution_id", "parent_path", "parent_run", unique=True,
            postgresql_where=text("parent_execution_id IS NOT NULL"),
        ),
        Index(
            "executions_open_child", "parent_execution_id",
            postgresql_where=text(f"parent_execution_id IS NOT NULL AND {_OPEN}"),
        ),
    )  # fmt: skip

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
    paused_at: datetime | None = Field(default=None, sa_column=_moment())
    retries: int = Field(sa_column=Column(Integer, nullable=False, server_default="0"))
    parent_execution_id: UUID | None = None
    parent_path: str | None = Field(default=None, sa_type=Text)
    parent_run: int | None = None
    root_execution_id: UUID | None = None
    depth: int = Field(sa_column=Column(SmallInteger, nullable=False, server_default="0"))


class StepRow(SQLModel, table=True):
    """A step of an execution. The rows with status `ready` are the queue.

    `fence` grows with every claim, so that a worker that lost its lease cannot write. `look_at` is when a waiting
    step is looked at again; a step that is cancelled keeps its `wait_key` until what it asked for is withdrawn.
    `run` grows when the step's effect is to happen anew. An item of a map has the map's path and its place in the list;
    the map's `unmet` counts the items that have not ended.
    """

    metadata = metadata
    __tablename__ = "step_executions"  # pyright: ignore[reportAssignmentType] -- SQLModel's own documented way
    __table_args__ = (
        Index("step_executions_ready", "sched_key", postgresql_where=text("status = 'ready'")),
        Index("step_executions_fair", "namespace", "sched_key", postgresql_where=text("status = 'ready'")),
        Index(
            "step_executions_next_item", "execution_id", "map_path", "item_no",
            postgresql_where=text("status = 'pending' AND map_path IS NOT NULL"),
        ),
        Index("step_executions_leased", "lease_until", postgresql_where=text("status = 'running'")),
        Index("step_executions_waiting", "look_at", postgresql_where=text("status = 'waiting'")),
        Index("step_executions_wait_key", "wait_key", postgresql_where=text("status = 'waiting'")),
        Index(
            "step_executions_deadline", "deadline_at",
            postgresql_where=text("status IN ('pending', 'ready', 'waiting') AND deadline_at IS NOT NULL"),
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
    namespace: str = Field(sa_column=Column(Text, nullable=False, server_default=""))
    run: int = Field(sa_column=Column(Integer, nullable=False, server_default="0"))
    map_path: str | None = Field(default=None, sa_type=Text)
    item_no: int | None = None
    input: dict[str, Any] | None = Field(default=None, sa_type=JSONB)


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


class ApprovalRow(SQLModel, table=True):
    """Something a person is to decide, asked by one run of a step."""

    metadata = metadata
    __tablename__ = "approvals"  # pyright: ignore[reportAssignmentType] -- SQLModel's own documented way
    __table_args__ = (
        Index("approvals_step", "execution_id", "path", "run", unique=True),
        Index("approvals_newest", "namespace", text("created_at DESC"), text("id DESC")),
        Index(
            "approvals_pending", "namespace", text("created_at DESC"), text("id DESC"),
            postgresql_where=text("status = 'pending'"),
        ),
    )  # fmt: skip

    id: UUID = Field(primary_key=True)
    namespace: str = Field(sa_type=Text)
    execution_id: UUID = Field(foreign_key="workflow.executions.id", ondelete="CASCADE")
    path: str = Field(sa_type=Text)
    run: int
    workflow_id: UUID
    workflow_version: int
    status: ApprovalStatus = Field(
        sa_column=Column(_enum(ApprovalStatus, "approval_status"), nullable=False, server_default="pending")
    )
    prompt: str = Field(sa_type=Text)
    show: dict[str, Any] | None = Field(default=None, sa_type=JSONB)
    digest: str = Field(sa_type=Text)
    approvers: list[str] | None = Field(default=None, sa_type=ARRAY(Text))
    allow_self: bool
    requested_by: str = Field(sa_type=Text)
    created_at: datetime = Field(sa_column=_moment(default_now=True))
    expires_at: datetime | None = Field(default=None, sa_column=_moment())
    decided_by: str | None = Field(default=None, sa_type=Text)
    decided_at: datetime | None = Field(default=None, sa_column=_moment())
    comment: str | None = Field(default=None, sa_type=Text)


class SignalRow(SQLModel, table=True):
    """A signal sent to an execution; it is taken by the one run of a step that it lets go on."""

    metadata = metadata
    __tablename__ = "signals"  # pyright: ignore[reportAssignmentType] -- SQLModel's own documented way
    __table_args__ = (Index("signals_in_order", "execution_id", "name", "position"),)

    id: UUID = Field(primary_key=True)
    position: int = Field(sa_column=Column(BigInteger, Identity(always=True), nullable=False))
    execution_id: UUID = Field(foreign_key="workflow.executions.id", ondelete="CASCADE")
    name: str = Field(sa_type=Text)
    payload: dict[str, Any] = Field(sa_column=Column(JSONB, nullable=False))
    sent_by: str = Field(sa_type=Text)
    sent_at: datetime = Field(sa_column=_moment(default_now=True))
    taken_by: str | None = Field(default=None, sa_type=Text)
    taken_run: int | None = None


class ResultSchemaRow(SQLModel, table=True):
    """What the result of an agent will be checked against."""

    metadata = metadata
    __tablename__ = "result_schemas"  # pyright: ignore[reportAssignmentType] -- SQLModel's own documented way

    execution_id: UUID = Field(
        sa_column=Column(ForeignKey("workflow.executions.id", ondelete="CASCADE"), primary_key=True)
    )
    path: str = Field(sa_column=Column(Text, primary_key=True))
    schema_: dict[str, Any] = Field(sa_column=Column("schema", JSONB, nullable=False))


class ScheduleRow(SQLModel, table=True):
    """When a workflow is executed by itself; `next_at` is None while it is paused and once it is over."""

    metadata = metadata
    __tablename__ = "schedules"  # pyright: ignore[reportAssignmentType] -- SQLModel's own documented way
    __table_args__ = (
        Index("schedules_due", "next_at", postgresql_where=text("next_at IS NOT NULL")),
        Index("schedules_newest", "workflow_id", text("created_at DESC"), text("id DESC")),
    )

    id: UUID = Field(primary_key=True)
    namespace: str = Field(sa_type=Text)
    workflow_id: UUID = Field(foreign_key="workflow.workflows.id", ondelete="CASCADE")
    cron: str = Field(sa_type=Text)
    timezone: str = Field(sa_type=Text)
    parameters: dict[str, Any] = Field(sa_column=Column(JSONB, nullable=False))
    priority: Priority | None = Field(
        default=None, sa_column=Column(_enum(Priority, "workflow_priority"), nullable=True)
    )
    overlap: Overlap = Field(sa_column=Column(_enum(Overlap, "schedule_overlap"), nullable=False))
    catch_up: CatchUp = Field(sa_column=Column(_enum(CatchUp, "schedule_catch_up"), nullable=False))
    catch_up_s: int
    is_paused: bool = Field(sa_column=Column(Boolean, nullable=False))
    starts_at: datetime | None = Field(default=None, sa_column=_moment())
    ends_at: datetime | None = Field(default=None, sa_column=_moment())
    next_at: datetime | None = Field(default=None, sa_column=_moment())
    principal: dict[str, Any] = Field(sa_column=Column(JSONB, nullable=False))
    version: int = Field(sa_column=Column(Integer, nullable=False, server_default="1"))
    created_at: datetime = Field(sa_column=_moment(default_now=True))
    updated_at: datetime = Field(sa_column=_moment(default_now=True))


class FireRow(SQLModel, table=True):
    """What became of a fire time. Its key makes it happen once, whoever crashes."""

    metadata = metadata
    __tablename__ = "schedule_fires"  # pyright: ignore[reportAssignmentType] -- SQLModel's own documented way
    __table_args__ = (Index("schedule_fires_at", "at"),)

    schedule_id: UUID = Field(
        sa_column=Column(ForeignKey("workflow.schedules.id", ondelete="CASCADE"), primary_key=True)
    )
    fire_time: datetime = Field(sa_column=Column(DateTime(timezone=True), primary_key=True))
    result: FireResult = Field(sa_column=Column(_enum(FireResult, "fire_result"), nullable=False))
    execution_id: UUID | None = None
    problem: dict[str, Any] | None = Field(default=None, sa_type=JSONB)
    at: datetime = Field(sa_column=_moment(default_now=True))


class WorkerRow(SQLModel, table=True):
    """A worker, and when it was last seen."""

    metadata = metadata
    __tablename__ = "workers"  # pyright: ignore[reportAssignmentType] -- SQLModel's own documented way

    id: UUID = Field(primary_key=True)
    host: str = Field(sa_type=Text)
    in_flight: int
    capacity: int
    started_at: datetime = Field(sa_column=_moment(default_now=True))
    seen_at: datetime = Field(sa_column=_moment(default_now=True))


class EndedCountRow(SQLModel, table=True):
    """How many executions of a namespace have ended so, without the changes that are not added up yet."""

    metadata = metadata
    __tablename__ = "ended_counts"  # pyright: ignore[reportAssignmentType] -- SQLModel's own documented way

    namespace: str = Field(sa_column=Column(Text, primary_key=True))
    status: ExecutionStatus = Field(sa_column=Column(_enum(ExecutionStatus, "execution_status"), primary_key=True))
    executions: int = Field(sa_column=Column(BigInteger, nullable=False))


# No key: triggers only ever append, and rows are taken away as they lie.
Table(
    "ended_count_changes",
    metadata,
    Column("namespace", Text, nullable=False),
    Column("status", _enum(ExecutionStatus, "execution_status"), nullable=False),
    Column("executions", Integer, nullable=False),
    Index("ended_count_changes_namespace", "namespace"),
)
