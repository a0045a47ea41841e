"""What can be wrong with a request for vectors.

ProblemError
└── Unavailable ─── QueueFull
"""

from __future__ import annotations

from tmws_shared.problems import Unavailable


class QueueFull(Unavailable):
    """Too many texts are waiting to be embedded."""
