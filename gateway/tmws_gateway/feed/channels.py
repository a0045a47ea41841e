"""The latest entries of one namespace, and who listens to them."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from tmws_gateway.feed.entries import Entry, EntryId, View

# What is older is read from the stream again: a slow listener costs Redis a question, and nobody memory.
KEPT = 500


class Channel:
    """Knows every entry from `complete_after` to `position`; None while nothing is read."""

    def __init__(self, position: EntryId | None) -> None:
        self.listeners: dict[Callable[[], None], View] = {}
        self.position = self.complete_after = position
        self._entries: deque[Entry] = deque()

    def restart(self, position: EntryId) -> None:
        """Begin again after an interruption."""
        self._entries.clear()
        self.position = self.complete_after = position
        for wake in self.listeners:
            wake()

    def add(self, entry: Entry) -> None:
        """Keep an entry and wake those who see it."""
        if len(self._entries) >= KEPT:
            self.complete_after = self._entries.popleft().id
        self._entries.append(entry)
        for wake, view in self.listeners.items():
            if view.sees(entry):
                wake()

    def since(self, cursor: EntryId) -> list[Entry] | None:
        """Return what came after the cursor; None when some of it is not here any more."""
        if self.complete_after is None:
            return []
        if cursor < self.complete_after:
            return None
        later: list[Entry] = []
        for entry in reversed(self._entries):
            if entry.id <= cursor:
                break
            later.append(entry)
        later.reverse()
        return later
