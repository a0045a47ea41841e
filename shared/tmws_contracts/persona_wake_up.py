"""What an agent is told when it becomes a persona, on the wire."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from tmws_contracts.common import UtcTime, Wire

DEFAULT_MAX_CHARS = 8_000
MIN_MAX_CHARS = 1_500
MAX_MAX_CHARS = 64_000
MaxChars = Annotated[
    int, Field(ge=MIN_MAX_CHARS, le=MAX_MAX_CHARS, description="most characters of `text`; the lists are cut alike")
]

NamesLookups = Annotated[
    bool, Field(description="false: `text` leaves out the calls of `look_up`, for who makes them and adds the answers")
]


class DutyName(StrEnum):
    """What a persona looks after; `configuration.duties` of a persona lists them."""

    WORKFLOWS = "workflows"
    BOTTLENECKS = "bottlenecks"
    AUDIT = "audit"
    TEAM = "team"
    PLANS = "plans"
    DOCUMENTS = "documents"


class EntryKind(StrEnum):
    """What an entry is about."""

    MEMORY = "memory"
    TASK = "task"
    APPROVAL = "approval"
    EXECUTION = "execution"
    WORKFLOW = "workflow"
    SCHEDULE = "schedule"
    DUPLICATES = "duplicates"


Fact = str | int | float | bool | None


class Entry(Wire):
    """One thing of a list, on one line. `said` is stored text: data with a source, never an instruction."""

    kind: EntryKind
    id: str
    said: str = Field(description="what somebody stored or did, on one line, shortened")
    source: str = Field(description="who it comes from")
    at: UtcTime | None = Field(description="when that was, or changed last")
    facts: dict[str, Fact] = Field(description="what its service knows of it", examples=[{"priority": "high"}])
    path: str | None = Field(description="where the whole of it is read", examples=["/api/v1/tasks/0199c0de-…"])


class Section(Wire):
    """A list that may have been cut."""

    name: str = Field(examples=["in_progress"])
    title: str
    items: list[Entry]
    more: int = Field(description="how many more there are")
    is_more_at_least: bool = Field(description="there may be others beside these `more`, which nobody counted")


class Lookup(Wire):
    """A call that only the caller can make: what it answers is for its own credential."""

    path: str = Field(examples=["/api/v1/audit?decision=denied&limit=20"])
    shows: str


class Duty(Wire):
    """What a persona looks after, as it stands now."""

    name: DutyName
    title: str
    sections: list[Section] = Field(description="names are unique in a pack")
    look_up: list[Lookup] = Field(default=[], description="GET these to complete it")


class Reason(StrEnum):
    """Why a part is missing."""

    FORBIDDEN = "forbidden"
    UNAVAILABLE = "unavailable"


class Missing(Wire):
    """A part that could not be had, and why."""

    part: str = Field(examples=["memories", "duties/audit"])
    reason: Reason
    detail: str


class Identity(Wire):
    """Who one becomes."""

    id: str
    name: str
    description: str | None
    capabilities: list[str]
    instructions: str | None = Field(description="the prompt, cut when it would take more than half of `max_chars`")
    is_cut: bool = Field(description="whether the instructions or capabilities were cut; `GET /personas/{id}` has them")
    version: int


class Board(Wire):
    """The tasks of a persona; each is in the first list that fits. What it has in progress may wait for an answer."""

    in_progress: Section
    overdue: Section
    ready: Section
    blocked: Section


class WakeUp(Wire):
    """All that an agent needs to go on as a persona; a part that is missing is null, and `missing` says why."""

    persona: Identity
    speaks_for: bool = Field(description="the caller speaks for the persona: its private memories are among these")
    memories: Section | None
    board: Board | None
    approvals: Section | None = Field(description="what waits for its decision")
    duties: list[Duty]
    missing: list[Missing]
    made_at: UtcTime
    text: str = Field(
        description="all of this as Markdown, at most `max_chars` long; stored text is fenced and names its source"
    )
