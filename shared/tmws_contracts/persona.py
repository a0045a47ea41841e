"""Personas on the wire."""

from __future__ import annotations

from typing import Annotated, Any, cast

from pydantic import AfterValidator, Field

from tmws_contracts.common import JsonObject, Label, Line, Metadata, Slug, Text, UtcTime, Wire, WireChange
from tmws_contracts.persona_wake_up import DutyName

Prose = Annotated[Text, Field(max_length=4_096)]
Instructions = Annotated[Text, Field(max_length=32_768, description="the prompt of an agent that adopts the persona")]
Capabilities = Annotated[list[Label], Field(max_length=100, description="what it is good at, in its own words")]


def check_duties(configuration: JsonObject) -> JsonObject:
    """Return `configuration` when its `duties`, if it has them, are a list of known ones, each once.

    Raises:
        ValueError: they are not.
    """
    duties: Any = configuration.get("duties", [])
    known = [duty.value for duty in DutyName]
    listed = cast("list[Any]", duties) if isinstance(duties, list) else [None]
    if any(duty not in known for duty in listed) or len(set(listed)) < len(listed):
        raise ValueError(f"must have as duties a list of some of: {', '.join(known)}; each once")
    return configuration


Configuration = Annotated[
    Metadata,
    AfterValidator(check_duties),
    Field(description="free, but for `duties`: what its wake-up pack reports on", examples=[{"duties": ["team"]}]),
]


class NewPersona(Wire):
    """What `POST /personas` takes; without an `id` it is made from the name."""

    id: Slug | None = None
    name: Line
    description: Prose | None = None
    capabilities: Capabilities = []
    configuration: Configuration = {}
    instructions: Instructions | None = None


class PersonaChange(WireChange):
    """What `PUT /personas/{id}` takes: the fields given are set, the others stay."""

    name: Line = ""
    description: Prose | None = None
    capabilities: Capabilities = []
    configuration: Configuration = {}
    instructions: Instructions | None = None


class Persona(Wire):
    """A persona as the API shows it."""

    id: str
    namespace: str
    name: str
    description: str | None
    capabilities: list[str]
    configuration: Metadata
    instructions: str | None
    version: int = Field(description="grows by one with every change; the ETag")
    created_at: UtcTime
    updated_at: UtcTime


class PersonaStats(Wire):
    """How many personas there are."""

    personas: int
