"""Who is told when something has changed: the relay of events, and the claims that wait."""

from __future__ import annotations

from collections.abc import Callable

from tmws_task.waiting import Waiters

EVENTS_BELL = "task-events"
READY_BELL = "task-ready"


class Bells:
    """Rings after a commit; none of it is needed for anything but speed."""

    def __init__(self, waiters: Waiters, ask_relay: Callable[[], None], ask_others: Callable[[], None]) -> None:
        self._waiters = waiters
        self._ask_relay = ask_relay
        self._ask_others = ask_others

    def tell_relay(self) -> None:
        """Have the outbox looked at."""
        self._ask_relay()

    def ring(self, namespace: str) -> None:
        """Have the outbox looked at, and let claims look again: something may have become ready."""
        self._ask_relay()
        self._waiters.wake(namespace)
        self._ask_others()
