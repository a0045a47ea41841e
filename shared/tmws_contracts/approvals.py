"""Approvals that steps wait for, and signals that executions are sent, on the wire."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any
from uuid import UUID

from pydantic import Field, StringConstraints

from tmws_contracts.common import Metadata, Text, UtcTime, Wire

SIGNAL_NAME = r"^[A-Za-z_][A-Za-z0-9_.-]{0,63}$"

Digest = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
Comment = Annotated[Text, Field(max_length=4_096)]
SignalName = Annotated[str, StringConstraints(pattern=SIGNAL_NAME)]


class ApprovalStatus(StrEnum):
    """Where an approval stands; all but the first are final."""

    PENDING = "pending"
    APPROVED = "approved"
    REJECTED = "rejected"
    EXPIRED = "expired"
    WITHDRAWN = "withdrawn"


class Approval(Wire):
    """Something that a person is to decide before a workflow goes on."""

    id: UUID
    namespace: str
    status: ApprovalStatus
    workflow_id: UUID
    workflow_version: int
    execution_id: UUID
    step: str
    prompt: str
    show: Any = Field(description="what is to be approved")
    digest: str = Field(
        description="SHA-256, in hex, of workflow_id, workflow_version, execution_id, step, prompt and show as one "
        "JSON object without spaces, its keys sorted"
    )
    approvers: list[str] | None = Field(description="slugs of the personas that may decide; null for everybody")
    allow_self: bool = Field(description="whether whoever started the execution may decide")
    requested_by: str = Field(description="the subject that started the execution")
    created_at: UtcTime
    expires_at: UtcTime | None
    decided_by: str | None
    decided_at: UtcTime | None
    comment: str | None


class ApprovalDecision(Wire):
    """What `POST /approvals/{id}/approve` and `…/reject` take."""

    digest: Digest = Field(description="that of the approval as it was read, so that nobody decides on something else")
    comment: Comment | None = None


class NewSignal(Wire):
    """What `POST /executions/{id}/signals` takes."""

    name: SignalName
    payload: Metadata = {}


class Signal(Wire):
    """A signal that is kept until a step waits for it."""

    id: UUID
    execution_id: UUID
    name: str
    payload: dict[str, Any]
    by: str = Field(description="the subject that sent it")
    at: UtcTime
