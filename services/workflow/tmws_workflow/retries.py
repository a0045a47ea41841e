"""When a failed step is tried again."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often and when a step is tried again; `jitter` is the share of the delay that is random."""

    max_attempts: int = 1
    initial_s: float = 1.0
    factor: float = 2.0
    max_s: float = 300.0
    jitter: float = 0.2

    def delay_s(self, attempt: int, retry_after_s: float | None, chance: float) -> float | None:
        """Return the pause after the failed `attempt` (from 1), None when it was the last one.

        `chance` is a random number in [0, 1); `retry_after_s` is the least the other side asked for.
        """
        if attempt >= self.max_attempts:
            return None
        # The exponent is bounded: 10.0 ** 400 overflows.
        pause = min(self.max_s, self.initial_s * self.factor ** min(attempt - 1, 64))
        return max(pause * (1 - self.jitter * chance), retry_after_s or 0.0)
