"""Settings of the task service; all of them are everybody's."""

from __future__ import annotations

from tmws_shared.settings import DatabaseSettings


class TaskSettings(DatabaseSettings):
    """What the task service is told by its environment."""
