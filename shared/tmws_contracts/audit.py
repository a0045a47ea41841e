"""What the audit log says: its records, and whether they are still as they were written."""

from __future__ import annotations

from enum import StrEnum
from uuid import UUID

from pydantic import Field

from tmws_contracts.common import UtcTime, Wire

MAX_VERIFIED = 10_000


class Decision(StrEnum):
    """Whether a request was let in; its status says how it went on from there."""

    ALLOWED = "allowed"
    DENIED = "denied"


class AuditEvent(Wire):
    """Who did or tried what, and what came of it; never the content."""

    seq: int = Field(description="place in the chain, from 1, without a gap; all namespaces share one chain")
    hash: str = Field(description="SHA-256, hex, over the hash of the record before, `seq` and what happened")
    id: UUID
    occurred_at: UtcTime
    namespace: str
    subject: str | None = Field(description="null when nobody was signed in")
    key_id: str | None
    persona: str | None
    address: str = Field(description="network address of the caller")
    action: str = Field(description="method and route", examples=["POST /api/v1/tasks"])
    resource: str = Field(
        description="what it was about", examples=["/api/v1/tasks/0199c0de-0000-7000-8000-000000000000"]
    )
    decision: Decision
    status: int = Field(description="HTTP status of the answer")
    request_id: str
    trace_id: str | None
    changed_fields: list[str] = Field(description="names of the top-level fields the request gave")
    field_digests: list[str] = Field(
        description="a keyed hash of each of their values, in the same order: equal for equal values, and no more"
    )
    duration_ms: float
    repeats: int = Field(description="how many refusals like it, of a flood, this record stands for")


class Fault(StrEnum):
    """What is wrong with the chain at one place."""

    EDITED = "edited"
    MISSING = "missing"
    MOVED = "moved"
    REWRITTEN = "rewritten"
    CUT = "cut"
    FORGED = "forged"


class AuditFault(Wire):
    """The first thing that is wrong."""

    seq: int = Field(
        description="the first record that is wrong, or whose checkpoint is; 0 when a line of a file is no record"
    )
    fault: Fault = Field(
        description="`edited`: a field or the hash is not what was written. `missing`: there is no such record. "
        "`moved`: this record is at another place, and another one at its. `rewritten`: the records are not those "
        "that were signed. `cut`: records after the last one were removed. `forged`: a checkpoint is not ours."
    )
    detail: str


class AuditVerification(Wire):
    """What was found in one part of the chain."""

    intact: bool = Field(description="whether nothing is wrong from `after` to `checked_to`")
    after: int = Field(description="the check began with the record after this one")
    begins_after: int = Field(
        description="records up to this one were old enough to be removed (TMWS_AUDIT_RETENTION_DAYS); 0: none were"
    )
    checked_to: int = Field(description="the last record that was found to be as it was written")
    head: int = Field(description="the last record of the chain")
    next: int | None = Field(description="send it as `after` to go on; null at the end, and after a fault")
    checkpoints: int = Field(description="signed checkpoints that were compared")
    public_key: str = Field(description="Ed25519 key that checkpoints and exports are signed with, hex")
    fault: AuditFault | None
