"""Settings of the persona service; all of them are everybody's."""

from __future__ import annotations

from tmws_shared.settings import DatabaseSettings


class PersonaSettings(DatabaseSettings):
    """What the persona service is told by its environment."""
