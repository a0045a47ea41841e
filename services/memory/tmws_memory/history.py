"""SQL of what was done to memories: by whom, when, and what changed. A change and its record are one transaction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

from tmws_contracts.memory import Visibility
from tmws_contracts.memory_changes import FieldChange, MemoryAction, MemoryVersion
from tmws_shared.auth import Principal
from tmws_shared.database import Connection

# Who has changed a memory holds its row until the transaction ends, so versions are unique.
_RECORD: Final = """
    INSERT INTO memory_history (memory_id, version, action, author, persona, changes, is_opening)
    SELECT id, version, $2, $3, $4, $5, $6 FROM memories WHERE id = ANY($1::uuid[])
"""
# Version 1 has no row of its own: the memory itself tells it. What changed while the memory was private is for those
# who changed it.
_PAGE: Final = """
    SELECT version, action, author AS by, persona AS persona_id, changed_at AS at,
           CASE WHEN (author, coalesce(persona, '')) = ($4, $5) OR version > (
                    SELECT coalesce(max(version), 0) FROM memory_history WHERE memory_id = $1 AND is_opening)
                THEN changes ELSE '{}' END AS changes
    FROM (
        SELECT version, action, author, persona, changed_at, changes FROM memory_history WHERE memory_id = $1
        UNION ALL
        SELECT 1, 'stored', source, NULL, created_at, '{}' FROM memories
        WHERE id = $1 AND NOT EXISTS (SELECT 1 FROM memory_history WHERE memory_id = $1 AND version = 1)
    ) h
    WHERE version < $2 ORDER BY version DESC LIMIT $3
"""
NEWEST: Final = 2**31 - 1


@dataclass(frozen=True, slots=True)
class Author:
    """Who changes a memory."""

    subject: str
    persona: str | None = None

    @classmethod
    def of(cls, caller: Principal) -> Author:
        """Return the caller as an author."""
        return cls(caller.subject, caller.persona)


TMWS: Final = Author("tmws")


async def record(
    connection: Connection,
    memory_ids: Sequence[UUID],
    action: MemoryAction,
    author: Author,
    changes: Mapping[str, FieldChange] | None = None,
) -> None:
    """Note what has been done to memories; their `version` has just been raised in this transaction."""
    changes = dict(changes or {})
    is_opening = changes.get("visibility", {}).get("from") == Visibility.PRIVATE
    await connection.execute(
        _RECORD, list(memory_ids), action.value, author.subject, author.persona, changes, is_opening
    )


async def read_page(
    connection: Connection, memory_id: UUID, reader: Author, before: int, limit: int
) -> list[MemoryVersion]:
    """Return up to `limit` versions of a memory before a version, newest first, as far as one may see them."""
    rows = await connection.fetch(_PAGE, memory_id, before, limit, reader.subject, reader.persona or "")
    return [MemoryVersion.model_validate(dict(row)) for row in rows]


def moved(before: Any, after: Any) -> FieldChange:
    """Return what a field was and is."""
    return {"from": before, "to": after}
