"""What can be wrong with a request for vectors.

ProblemError
├── InvalidRequest ─── ModelNotServed
└── Unavailable ────── QueueFull
"""

from __future__ import annotations

from tmws_shared.problems import InvalidRequest, Unavailable


class ModelNotServed(InvalidRequest):
    """The model is not served here."""


class QueueFull(Unavailable):
    """Too many texts are waiting to be embedded."""
