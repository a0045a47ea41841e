"""Events that services tell each other; named in the past tense."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from tmws_contracts.common import UtcTime, Wire

TASK_FINISHED = frozenset({"task.completed", "task.failed", "task.cancelled", "task.deleted"})


class Event(Wire):
    """Something that happened, kept until every reader has seen it."""

    id: UUID
    type: str
    namespace: str
    subject: str
    data: dict[str, Any]
    occurred_at: UtcTime
