"""Schedules of workflows on the wire."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any
from uuid import UUID

from pydantic import Field

from tmws_contracts.common import Label, Metadata, Priority, UtcTime, Wire, WireChange

SHOWN_FIRES = 5
Cron = Annotated[Label, Field(description="five fields: minute, hour, day of month, month, day of week")]
Zone = Annotated[Label, Field(description="an IANA time zone, e.g. `Europe/Berlin`")]
CatchUpWindow = Annotated[int, Field(ge=60, le=604_800, description="how late a missed fire may still run, in seconds")]


class Overlap(StrEnum):
    """What a fire does while executions of its schedule have not ended."""

    ALLOW = "allow"
    SKIP = "skip"
    CANCEL_PREVIOUS = "cancel_previous"


class CatchUp(StrEnum):
    """What becomes of fires that no worker was there for: none of them, or the last one within `catch_up_s`."""

    NONE = "none"
    LAST = "last"


class FireResult(StrEnum):
    """What became of a fire: `skipped` because of `overlap`, `missed` because nobody was there in time."""

    LAUNCHED = "launched"
    SKIPPED = "skipped"
    MISSED = "missed"
    FAILED = "failed"


class NewSchedule(Wire):
    """What `POST /workflows/{id}/schedules` takes."""

    cron: Cron
    timezone: Zone = "UTC"
    parameters: Metadata = Field(default={}, description="checked against `config.inputs`, now and at every fire")
    priority: Priority | None = Field(default=None, description="the workflow's own unless given")
    overlap: Overlap = Overlap.SKIP
    catch_up: CatchUp = CatchUp.LAST
    catch_up_s: CatchUpWindow = 3600
    is_paused: bool = False
    starts_at: UtcTime | None = Field(default=None, description="nothing fires before")
    ends_at: UtcTime | None = Field(default=None, description="nothing fires after")


class ScheduleChange(WireChange):
    """What `PATCH /workflows/{id}/schedules/{schedule_id}` takes: the fields given are set, the others stay."""

    cron: Cron = "* * * * *"
    timezone: Zone = "UTC"
    parameters: Metadata = {}
    priority: Priority | None = None
    overlap: Overlap = Overlap.SKIP
    catch_up: CatchUp = CatchUp.LAST
    catch_up_s: CatchUpWindow = 3600
    is_paused: bool = False
    starts_at: UtcTime | None = None
    ends_at: UtcTime | None = None


class Fire(Wire):
    """What happened at a fire time."""

    fire_time: UtcTime = Field(description="when it was due")
    result: FireResult
    execution_id: UUID | None = Field(description="what it launched, or what kept it from launching")
    problem: dict[str, Any] | None = Field(description="why nothing was launched, as a problem document")
    at: UtcTime = Field(description="when it was dealt with")


class Schedule(Wire):
    """A schedule as the API shows it."""

    id: UUID
    workflow_id: UUID
    cron: str
    timezone: str
    parameters: dict[str, Any]
    priority: Priority | None
    overlap: Overlap
    catch_up: CatchUp
    catch_up_s: int
    is_paused: bool
    starts_at: UtcTime | None
    ends_at: UtcTime | None
    next_fires: list[UtcTime] = Field(description=f"the next {SHOWN_FIRES}; none when it is paused or over")
    last_fire: Fire | None
    runs_as: str = Field(description="the subject whose rights its executions have: whoever last said what runs")
    version: int = Field(description="grows by one with every change; the ETag")
    created_at: UtcTime
    updated_at: UtcTime
