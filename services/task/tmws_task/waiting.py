"""Those who wait for a task to become ready."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Generator
from contextlib import contextmanager


class Waiters:
    """Wakes the claims of a namespace that wait, when something may have become ready there."""

    def __init__(self) -> None:
        self._waiting: defaultdict[str, set[asyncio.Future[None]]] = defaultdict(set)

    def wake(self, namespace: str) -> None:
        """Let every claim that waits in the namespace look again."""
        for waiter in self._waiting.pop(namespace, ()):
            if not waiter.done():
                waiter.set_result(None)

    def wake_all(self) -> None:
        """Let every claim that waits look again."""
        for namespace in list(self._waiting):
            self.wake(namespace)

    @contextmanager
    def listening(self, namespace: str) -> Generator[asyncio.Future[None]]:
        """Yield a future that is done at the next wake."""
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting[namespace].add(waiter)
        try:
            yield waiter
        finally:
            waiters = self._waiting.get(namespace, set())
            waiters.discard(waiter)
            if not waiters:
                self._waiting.pop(namespace, None)
