"""What of a memory can be changed, and how a change is applied (pure)."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Any, cast

from tmws_contracts.common import JsonObject, check_metadata
from tmws_contracts.memory import NewMemory, Tier, Visibility
from tmws_contracts.memory_changes import FieldChange, MemoryChange
from tmws_memory.parts import heading_of
from tmws_shared.problems import InvalidRequest


@dataclass(frozen=True, slots=True)
class Passage:
    """The text that is indexed of a memory."""

    heading: str
    content: str

    @property
    def words(self) -> str:
        """What its words are counted in."""
        return f"{self.heading}\n{self.content}"

    @property
    def size(self) -> int:
        """Characters."""
        return len(self.heading) + len(self.content)


@dataclass(frozen=True, slots=True)
class State:
    """The fields of a memory that a caller can set."""

    content: str
    importance: float
    metadata: JsonObject
    persona_id: str | None
    tags: list[str]
    session_id: str | None
    occurred_at: datetime | None
    tier: Tier
    expires_at: datetime | None
    visibility: Visibility

    @property
    def passage(self) -> Passage:
        """The text that is indexed."""
        return Passage(heading_of(self, self.persona_id), self.content)

    @property
    def hash(self) -> bytes:
        """What tells the content from others."""
        return content_hash(self.content)


def content_hash(content: str) -> bytes:
    """Return what tells a content from others."""
    return sha256(content.encode()).digest()


def state_of(memory: NewMemory, persona_id: str | None, at: datetime, short_life: timedelta) -> State:
    """Return a new memory as it would be stored."""
    life = timedelta(seconds=memory.ttl_seconds) if memory.ttl_seconds else short_life
    return State(
        content=memory.content,
        importance=memory.importance,
        metadata=memory.metadata,
        persona_id=persona_id,
        tags=list(dict.fromkeys(memory.tags)),
        session_id=memory.session_id,
        occurred_at=memory.occurred_at,
        tier=memory.kept_as,
        expires_at=at + life if memory.kept_as is Tier.SHORT_TERM else None,
        visibility=memory.visibility,
    )


def apply(change: MemoryChange, before: State, at: datetime, short_life: timedelta) -> State:
    """Return a state with the fields set that the change was given.

    Raises:
        InvalidRequest: metadata would exceed their limits, or a long-term memory would expire.
    """
    given = {name: getattr(change, name) for name in change.model_fields_set}
    ttl_s: int | None = given.pop("ttl_seconds", None)
    if "metadata" in given:
        given["metadata"] = _merged_metadata(before.metadata, change.metadata)
    if "tags" in given:
        given["tags"] = list(dict.fromkeys(change.tags))
    after = replace(before, **given)
    return _with_life(after, ttl_s, "tier" in given, at, short_life)


def differences(before: State, after: State) -> dict[str, FieldChange]:
    """Return the fields that differ."""
    pairs = ((field.name, getattr(before, field.name), getattr(after, field.name)) for field in fields(State))
    return {name: {"from": old, "to": new} for name, old, new in pairs if old != new}


def _merged_metadata(before: JsonObject, patch: JsonObject) -> JsonObject:
    merged = cast("JsonObject", merge_patch(before, patch))
    try:
        return check_metadata(merged)
    except ValueError as error:
        raise InvalidRequest.of("/metadata", f"{error} when merged") from None


def merge_patch(target: Any, patch: Any) -> Any:
    """Return a JSON value with a merge patch applied (RFC 7396, section 2)."""
    if not isinstance(patch, dict):
        return patch
    members = cast("JsonObject", patch)
    merged = dict(cast("JsonObject", target)) if isinstance(target, dict) else {}
    for name, value in members.items():
        if value is None:
            merged.pop(name, None)
        else:
            merged[name] = merge_patch(merged.get(name), value)
    return merged


def _with_life(after: State, ttl_s: int | None, is_tier_given: bool, at: datetime, short_life: timedelta) -> State:
    if ttl_s is not None:
        if is_tier_given and after.tier is Tier.LONG_TERM:
            raise InvalidRequest.of("/ttl_seconds", "must be left out for a long_term memory")
        return replace(after, tier=Tier.SHORT_TERM, expires_at=at + timedelta(seconds=ttl_s))
    if after.tier is Tier.LONG_TERM:
        return replace(after, expires_at=None)
    return after if after.expires_at else replace(after, expires_at=at + short_life)
