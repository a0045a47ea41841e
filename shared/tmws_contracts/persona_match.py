"""Finding the persona for a piece of work, on the wire."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from tmws_contracts.common import Label, Text, Wire, refuse_blank

MAX_MATCHES = 50
WorkText = Annotated[
    Text,
    Field(max_length=8192, description="what is to be done, in plain words", examples=["find out why it is so slow"]),
    AfterValidator(refuse_blank),
]
NeededCapabilities = Annotated[
    list[Label], Field(max_length=20, description="what it must be good at", examples=[["performance"]])
]


class PersonaSearch(Wire):
    """What `POST /personas/match` takes: a text, capabilities, or both."""

    text: WorkText | None = None
    capabilities: NeededCapabilities = []
    limit: Annotated[int, Field(ge=1, le=MAX_MATCHES, strict=True)] = 5

    @model_validator(mode="after")
    def _asks_for_something(self) -> Self:
        if self.text is None and not self.capabilities:
            raise ValueError("must have a text or capabilities")
        return self


class MatchSignal(Wire):
    """One signal of one match: `value` is what was seen, `share` what it adds to the score."""

    value: float = Field(description="from 0 to 1")
    weight: float = Field(description="those of the signals that were used sum up to 1")
    share: float


class MatchSignals(Wire):
    """What a score is made of; a signal that was not asked for, or could not be used, is null."""

    capability: MatchSignal | None = Field(
        description="the capabilities asked for: 1 for each that it has by name, up to 0.5 for words in common"
    )
    words: MatchSignal | None = Field(description="the text's words found in its name, capabilities or description")
    semantic: MatchSignal | None = Field(description="nearness of meaning (cosine)")


class PersonaMatch(Wire):
    """A persona, and how well it fits."""

    id: str
    name: str
    description: str | None
    capabilities: list[str]
    score: float = Field(description="from 0 to 1; what the matches are ordered by, comparable within one answer only")
    matched_capabilities: list[str] = Field(description="those of its capabilities that fit by name or by words")
    signals: MatchSignals


class PersonaMatches(Wire):
    """What `POST /personas/match` answers, best first."""

    items: list[PersonaMatch]
    degraded: list[Literal["semantic"]] = Field(description="signals that could not be used now")
