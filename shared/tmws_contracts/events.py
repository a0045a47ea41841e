"""Events that services tell each other and the feed tells callers; named in the past tense."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from tmws_contracts.common import UtcTime, Wire

TASK_FINISHED = frozenset({"task.completed", "task.failed", "task.cancelled", "task.deleted"})
# The first part of a type, and the scope that lets a caller see events of it.
AREAS = {
    "task": "task:read",
    "workflow": "workflow:read",
    "execution": "workflow:read",
    "approval": "workflow:read",
    "schedule": "workflow:read",
    "memory": "memory:read",
    "persona": "persona:read",
}


class Event(Wire):
    """Something that happened. It may come twice, with the same id.

    `data.audience`, where there is one, lists who may see it: `persona:…`, `subject:…`; without, its whole namespace.
    """

    id: UUID
    type: str
    namespace: str
    subject: str
    data: dict[str, Any]
    occurred_at: UtcTime
