"""Personas on the wire."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from tmws_contracts.common import Label, Line, Metadata, Slug, Text, UtcTime, Wire, WireChange

Prose = Annotated[Text, Field(max_length=4_096)]
Instructions = Annotated[Text, Field(max_length=32_768, description="the prompt of an agent that adopts the persona")]
Capabilities = Annotated[list[Label], Field(max_length=100, description="what it is good at, in its own words")]


class NewPersona(Wire):
    """What `POST /personas` takes; without an `id` it is made from the name."""

    id: Slug | None = None
    name: Line
    description: Prose | None = None
    capabilities: Capabilities = []
    configuration: Metadata = {}
    instructions: Instructions | None = None


class PersonaChange(WireChange):
    """What `PUT /personas/{id}` takes: the fields given are set, the others stay."""

    name: Line = ""
    description: Prose | None = None
    capabilities: Capabilities = []
    configuration: Metadata = {}
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
