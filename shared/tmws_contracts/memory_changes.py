"""Changes of memories on the wire: batches, patches, history, shares."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Any, Literal, TypeAlias, cast
from uuid import UUID

from pydantic import (
    AfterValidator,
    Field,
    ValidationError,
    ValidationInfo,
    ValidatorFunctionWrapHandler,
    WrapValidator,
    field_validator,
)

from tmws_contracts.common import Metadata, Problem, Slug, UtcTime, Wire, WireChange
from tmws_contracts.memory import (
    Content,
    Importance,
    LifetimeSeconds,
    NewMemory,
    SessionId,
    Tags,
    Tier,
    Visibility,
)

MAX_BATCH = 1000


@dataclass(frozen=True, slots=True)
class RefusedItem:
    """An item of a batch that is no memory, with pydantic's errors."""

    errors: Sequence[dict[str, Any]]


def _keep_refusal(value: Any, validate: ValidatorFunctionWrapHandler) -> Any:
    try:
        return validate(value)
    except ValidationError as error:
        return RefusedItem(cast("list[dict[str, Any]]", error.errors(include_url=False, include_input=False)))


BatchItem = Annotated[NewMemory, WrapValidator(_keep_refusal)]


class NewMemories(Wire):
    """What `POST /memory/store/batch` takes; an item that is wrong is refused alone."""

    items: Annotated[list[BatchItem], Field(min_length=1, max_length=MAX_BATCH)] = Field(
        examples=[[{"content": "Staging deploys from main."}, {"content": "Backups run at 03:10.", "tags": ["ops"]}]]
    )

    @property
    def checked(self) -> Sequence[NewMemory | RefusedItem]:
        """The items, each a memory or why it is none."""
        return cast("list[NewMemory | RefusedItem]", self.items)


class StoredItem(Wire):
    """What became of one item of a batch."""

    status: int = Field(description="201 stored, 200 known already, 422 or 403 refused")
    memory_id: UUID | None = None
    deduplicated: bool = Field(default=False, description="the content was known already, or is earlier in the batch")
    pending: bool = Field(default=False, description="words find it already; it will be embedded in the background")
    problem: Problem | None = Field(default=None, description="why it was refused; pointers are into the batch")


class StoredMemories(Wire):
    """What `POST /memory/store/batch` answers, in the order of the items."""

    items: list[StoredItem]
    stored: int
    deduplicated: int
    refused: int


class MemoryChange(WireChange):
    """What `PATCH /memory/{id}` takes: a merge patch (RFC 7396); the fields given are set, the others stay."""

    content: Content = ""
    importance: Importance = 0.5
    metadata: Metadata = Field(
        default={}, description="merged, too: members given are set, null removes one", examples=[{"reviewed": True}]
    )
    persona_id: Slug | None = None
    tags: Tags = Field(default=[], description="all of them: the tags are replaced")
    session_id: SessionId | None = None
    occurred_at: UtcTime | None = None
    tier: Tier = Tier.LONG_TERM
    ttl_seconds: LifetimeSeconds = Field(default=0, description="from now on; makes it short_term")
    visibility: Visibility = Visibility.NAMESPACE


class MemoryAction(StrEnum):
    """What made a version of a memory."""

    STORED = "stored"
    REPEATED = "repeated"
    CHANGED = "changed"
    PROMOTED = "promoted"
    EXPIRED = "expired"
    DELETED = "deleted"
    RESTORED = "restored"
    SHARED = "shared"
    REVOKED = "revoked"
    CONSOLIDATED = "consolidated"
    SEPARATED = "separated"


FieldChange: TypeAlias = dict[Literal["from", "to"], Any]


class MemoryVersion(Wire):
    """One version of a memory: what was done to it, by whom and when."""

    version: int
    action: MemoryAction
    by: str = Field(description="`tmws` for what the service does by itself")
    persona_id: str | None = Field(description="the persona it was done as")
    at: UtcTime
    changes: dict[str, FieldChange] = Field(description="by field", examples=[{"importance": {"from": 0.5, "to": 0.9}}])


def _in_future(moment: datetime) -> datetime:
    if moment <= datetime.now(UTC):
        raise ValueError("must be in the future")
    return moment


class NewShare(Wire):
    """What `POST /memory/{id}/share` takes."""

    persona_id: Slug | None = Field(
        default=None, description="only this persona; everybody in the namespace when left out"
    )
    namespace: Slug | None = Field(default=None, description="the caller's own when left out", validate_default=True)
    expires_at: Annotated[UtcTime, AfterValidator(_in_future)] | None = Field(
        default=None, description="until it is revoked when left out", examples=["2030-01-01T00:00:00Z"]
    )
    ttl_seconds: LifetimeSeconds | None = Field(default=None, description="instead of expires_at")

    @field_validator("namespace")
    @classmethod
    def _names_somebody(cls, value: str | None, info: ValidationInfo) -> str | None:
        if value is None and info.data.get("persona_id", "") is None:
            raise ValueError("must be given, or a persona_id")
        return value

    @field_validator("ttl_seconds")
    @classmethod
    def _ends_once(cls, value: int | None, info: ValidationInfo) -> int | None:
        if value is not None and info.data.get("expires_at") is not None:
            raise ValueError("must be left out beside expires_at")
        return value


class Share(Wire):
    """A memory shown to somebody who could not see it otherwise."""

    id: UUID
    memory_id: UUID
    namespace: str
    persona_id: str | None = Field(description="null: everybody in the namespace")
    created_at: UtcTime
    created_by: str
    expires_at: UtcTime | None
