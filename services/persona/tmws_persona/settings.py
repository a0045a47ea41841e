"""Settings of the persona service: its database, and the services it asks."""

from __future__ import annotations

from pydantic import Field

from tmws_shared.settings import DatabaseSettings


class PersonaSettings(DatabaseSettings):
    """What the persona service is told by its environment."""

    embedding_url: str = Field("http://127.0.0.1:8105", description="where the embedding service listens")
    memory_url: str = Field("http://127.0.0.1:8104", description="where the memory service listens")
    task_url: str = Field("http://127.0.0.1:8101", description="where the task service listens")
    workflow_url: str = Field("http://127.0.0.1:8102", description="where the workflow service listens")

    @property
    def upstreams(self) -> dict[str, str]:
        """The URL of each service that is asked."""
        return {
            "embedding": self.embedding_url,
            "memory": self.memory_url,
            "task": self.task_url,
            "workflow": self.workflow_url,
        }
