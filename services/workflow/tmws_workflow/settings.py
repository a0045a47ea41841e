"""Settings of the workflow service and its workers."""

from __future__ import annotations

from pydantic import Field

from tmws_shared.settings import DatabaseSettings

BELL = "workflow"  # the queue whose ring wakes the workers


class WorkflowSettings(DatabaseSettings):
    """What the workflow service is told by its environment."""

    task_url: str = Field("http://127.0.0.1:8101", description="where the task service listens")
    memory_url: str = Field("http://127.0.0.1:8104", description="where the memory service listens")
    workflow_in_flight: int = Field(64, ge=1, le=1024, description="steps one worker runs at the same time")
