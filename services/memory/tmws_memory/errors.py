"""What can be wrong with a request about memories.

ProblemError
├── NotFound ─── MemoryNotFound
├── Forbidden ─── ForeignPersona
└── Unavailable ─── EmbeddingDown
"""

from __future__ import annotations

from tmws_contracts.common import FieldProblem
from tmws_shared.problems import Forbidden, NotFound, Unavailable


class MemoryNotFound(NotFound):
    """There is no such memory here."""


class ForeignPersona(Forbidden):
    """A private memory belongs to the caller's own persona."""

    def __init__(self) -> None:
        detail = "must be your own persona, or left out"
        super().__init__(f"/persona_id: {detail}", errors=[FieldProblem(pointer="/persona_id", detail=detail)])


class EmbeddingDown(Unavailable):
    """The meaning of the text cannot be computed now."""
