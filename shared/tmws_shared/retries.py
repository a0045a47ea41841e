"""How many requests may be sent a second time: a service that fails must not be asked twice as often for it."""

from __future__ import annotations

from time import monotonic

SHARE = 0.1
LEAST_PER_S = 1.0
FIRST, MOST = 10.0, 100.0


class RetryBudget:
    """A tenth of all requests, and one a second in any case."""

    __slots__ = ("_counted_at", "_left")

    def __init__(self) -> None:
        self._left = FIRST
        self._counted_at = monotonic()

    def note_request(self) -> None:
        """Count a request."""
        if self._left < MOST:
            self._left += SHARE

    def take(self) -> bool:
        """Whether one may be sent again."""
        current = monotonic()
        self._left = min(MOST, self._left + (current - self._counted_at) * LEAST_PER_S)
        self._counted_at = current
        if self._left < 1:
            return False
        self._left -= 1
        return True
