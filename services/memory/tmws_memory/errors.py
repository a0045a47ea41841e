"""What can be wrong with a request about memories.

ProblemError
├── NotFound ─── MemoryNotFound, ShareNotFound, ConsolidationNotFound
├── Forbidden ─── ForeignPersona, OnlyShared
├── Conflict ─── ContentKnown, ChangedSince
└── Unavailable ─── EmbeddingDown (tmws_shared.embedding)
"""

from __future__ import annotations

from collections.abc import Mapping
from uuid import UUID

from tmws_contracts.common import FieldProblem
from tmws_shared.problems import Conflict, Forbidden, NotFound


class MemoryNotFound(NotFound):
    """There is no such memory here."""


class ForeignPersona(Forbidden):
    """A memory is the caller's own persona's."""

    def __init__(self, within: str = "") -> None:
        pointer, detail = f"{within}/persona_id", "must be your own persona, or left out"
        super().__init__(f"{pointer}: {detail}", errors=[FieldProblem(pointer=pointer, detail=detail)])


class ShareNotFound(NotFound):
    """There is no such share of this memory."""


class OnlyShared(Forbidden):
    """The memory is only shared with you."""

    def __init__(self) -> None:
        super().__init__("Only who owns it may change, delete, restore or share it, or read its history.")


class ContentKnown(Conflict):
    """Another memory has the same content."""

    def __init__(self, memory_id: UUID | None) -> None:
        shown = None if memory_id is None else str(memory_id)
        super().__init__("The same content is remembered there already.", memory_id=shown)


class ConsolidationNotFound(NotFound):
    """There is no such consolidation here."""


class ChangedSince(Conflict):
    """What was made one has been changed since."""

    def __init__(self, changed: Mapping[UUID, str]) -> None:
        listed = [{"memory_id": str(memory_id), "detail": detail} for memory_id, detail in changed.items()]
        super().__init__("It cannot be undone any more: `changed` names the memories.", changed=listed)
