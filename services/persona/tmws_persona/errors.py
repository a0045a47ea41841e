"""What can be wrong with a request about personas.

ProblemError
├── NotFound ─── PersonaNotFound
├── InvalidRequest ─── IdNeeded
└── Conflict ─── PersonaExists
"""

from __future__ import annotations

from tmws_contracts.common import FieldProblem
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
