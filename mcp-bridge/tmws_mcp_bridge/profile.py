"""How many tools an agent is offered."""

from __future__ import annotations

from enum import StrEnum


class Profile(StrEnum):
    """How much an agent is offered; readonly has no tool that changes anything."""

    CORE = "core"
    FULL = "full"
    READONLY = "readonly"
