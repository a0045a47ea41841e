"""What can be wrong with a request about personas.

ProblemError
├── NotFound ─── PersonaNotFound
├── InvalidRequest ─┬─ IdNeeded
│                   └─ ReservedId
├── Conflict ─── PersonaExists
└── Unavailable ─── EmbeddingDown (tmws_shared.embedding)

PartMissing is no problem of a request: the part is left out, and the answer says so.
"""

from __future__ import annotations

from tmws_contracts.common import FieldProblem
from tmws_contracts.persona_wake_up import Reason
from tmws_shared.problems import Conflict, InvalidRequest, NotFound


class PersonaNotFound(NotFound):
    """There is no such persona here."""


class PersonaExists(Conflict):
    """There is a persona with this id already."""

    def __init__(self) -> None:
        detail = "must not be the id of an existing persona"
        super().__init__(f"/id: {detail}", errors=[FieldProblem(pointer="/id", detail=detail)])


class IdNeeded(InvalidRequest):
    """The name has no letters an id could be made from."""

    def __init__(self) -> None:
        detail = "must be given when the name has no ASCII letters or digits"
        super().__init__(f"/id: {detail}", errors=[FieldProblem(pointer="/id", detail=detail)])


class ReservedId(InvalidRequest):
    """The id is the name of a call."""

    def __init__(self) -> None:
        detail = "must not be `match`, which is a call"
        super().__init__(f"/id: {detail}", errors=[FieldProblem(pointer="/id", detail=detail)])


class PartMissing(Exception):
    """Another service refuses, or does not answer."""

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail
