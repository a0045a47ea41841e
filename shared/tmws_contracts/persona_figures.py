"""What a persona has and does, on the wire: counted by the services that own it."""

from __future__ import annotations

from pydantic import Field

from tmws_contracts.common import UtcTime, Wire
from tmws_contracts.persona_wake_up import Missing
from tmws_contracts.task import TaskStatus


class PersonaTasks(Wire):
    """How many tasks are a persona's: assigned to it, or claimed in its name."""

    by_status: dict[TaskStatus, int]
    ready: int
    overdue: int
    completed_lately: int = Field(description="in the last 7 days")
    executions_waiting: int = Field(description="executions of workflows with a step that waits for one of them")


class PersonaMemories(Wire):
    """The memories of a persona that the caller may see."""

    memories: int
    newest_at: UtcTime | None


class PersonaWorkflows(Wire):
    """What of workflows concerns a persona."""

    approvals_waiting: int = Field(description="that name it as an approver")
    executions_waiting: int = Field(description="for an approval that names it")


class PersonaFigures(Wire):
    """What a persona has and does, as far as the caller may know it; a part that is missing is null."""

    persona_id: str
    tasks: PersonaTasks | None
    memories: PersonaMemories | None
    workflows: PersonaWorkflows | None
    missing: list[Missing]
    made_at: UtcTime
