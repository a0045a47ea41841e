"""The open connections, by address: nobody can take all of them and leave none for others."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from time import monotonic
from typing import Protocol

from tmws_gateway.identity.addresses import network_of
from tmws_shared.telemetry import Counter

# Who has said nothing for so long, and waits for no answer, makes room.
QUIET_S = 0.1
# Where the system has no limit of its own.
MANY_FILES = 1_000_000
_TURNED_AWAY = Counter(
    "tmws_gateway_connections_turned_away_total",
    "Connections that were closed to make room, or refused without any",
    ["how"],
)
_CLOSED, _REFUSED = (_TURNED_AWAY.labels(how) for how in ("closed", "refused"))


class Closable(Protocol):
    """A connection; `heard_at` is when its other side last sent something (`monotonic`)."""

    heard_at: float

    @property
    def is_answering(self) -> bool:
        """Whether a request is being answered."""
        ...

    def hang_up(self) -> None:
        """Close it."""
        ...


class Connections:
    """Admits connections: `most` in all, and `most_of_one` of an address, except of trusted proxies.

    When there are too many, the oldest one on which nothing happens is closed for the new one.
    """

    def __init__(self, most: int, most_of_one: int, is_trusted: Callable[[str], bool]) -> None:
        self._most = most
        self._most_of_one = most_of_one
        self._is_trusted = is_trusted
        # Both in the order in which they came.
        self._all: dict[Closable, str | None] = {}
        self._by_address: dict[str, dict[Closable, None]] = {}

    def admit(self, connection: Closable, address: str | None) -> bool:
        """Keep a connection and return true; false when there is no room for it."""
        place = None if address is None or self._is_trusted(address) else network_of(address)
        of_one = {} if place is None else self._by_address.get(place, {})
        has_room = (len(of_one) < self._most_of_one or self._make_room(of_one)) and (
            len(self._all) < self._most or self._make_room(self._all)
        )
        if not has_room:
            _REFUSED.inc()
            return False
        self._all[connection] = place
        if place is not None:
            self._by_address.setdefault(place, {})[connection] = None
        return True

    def forget(self, connection: Closable) -> None:
        """Forget a connection that is gone."""
        place = self._all.pop(connection, None)
        if place is not None:
            left = self._by_address[place]
            del left[connection]
            if not left:
                del self._by_address[place]

    def _make_room(self, among: Iterable[Closable]) -> bool:
        quiet_since = monotonic() - QUIET_S
        for connection in among:
            if connection.heard_at < quiet_since and not connection.is_answering:
                self.forget(connection)
                connection.hang_up()
                _CLOSED.inc()
                return True
        return False


def most_connections() -> int:
    """Return how many there may be in all: three quarters of the files that this process may open."""
    files = MANY_FILES
    if sys.platform != "win32":
        import resource

        files = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return (min(files, MANY_FILES) if files > 0 else MANY_FILES) * 3 // 4
