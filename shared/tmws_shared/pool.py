"""The keep-alive connections to one address: used again, never more than so many, with a queue that does not last."""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass
from time import monotonic

from tmws_shared.connection import Connection
from tmws_shared.framing import Request
from tmws_shared.reply import Busy, NotConnected, Reply

CONNECT_TIMEOUT_S = 2.0
QUEUE_TIMEOUT_S = 2.0
MAX_WAITING = 1_000
# Shorter than the server's own: neither side closes while the other one asks.
KEEP_IDLE_S = 60.0


@dataclass(frozen=True, slots=True)
class Address:
    """Where a process listens: the path of a unix socket, or the number and port of a machine."""

    path: str | None = None
    host: str = ""
    port: int = 80


class Pool:
    """Connections to one address."""

    def __init__(self, address: Address, max_connections: int) -> None:
        self._address = address
        self._max_connections = max_connections
        self._is_closed = False
        self._connections: set[Connection] = set()
        self._connecting = 0
        # The one used last is used first: the others may grow old and be closed.
        self._idle: list[Connection] = []
        self._waiting: deque[asyncio.Future[Connection | None]] = deque()

    @property
    def busy(self) -> int:
        """Requests that are on their way, or wait for a connection."""
        return len(self._connections) - len(self._idle) + self._connecting + len(self._waiting)

    @property
    def idle(self) -> int:
        """Connections that nobody uses now."""
        return len(self._idle)

    @property
    def waiting(self) -> int:
        """Requests that wait for a connection."""
        return len(self._waiting)

    def ask(self, request: Request, encoded: bytes) -> Reply | None:
        """Send a request over a connection that nobody uses now; None when there is none."""
        connection = self._pop_idle()
        return None if connection is None else connection.ask(request, encoded)

    async def ask_soon(self, request: Request, encoded: bytes, deadline: float) -> Reply:
        """Send a request over a new connection, or one that becomes free until the moment `deadline`.

        Raises:
            NotConnected: there is no connection; nothing was sent.
        """
        connection = await self._open(deadline - monotonic())
        return connection.ask(request, encoded)

    def drop_idle(self) -> None:
        """Close the connections nobody uses."""
        for connection in self._idle:
            connection.drop()
        self._idle.clear()

    def retire(self) -> None:
        """Let what is on its way end, and keep no connection after that."""
        self._is_closed = True
        self.drop_idle()
        while self._waiting:
            self._refuse(self._waiting.popleft())

    async def close(self) -> None:
        """Close the connections."""
        self.retire()
        for connection in list(self._connections):
            connection.drop()
        # The event loop tells a connection that it is gone in its next round.
        await asyncio.sleep(0)

    def _pop_idle(self) -> Connection | None:
        oldest = monotonic() - KEEP_IDLE_S
        while self._idle:
            connection = self._idle.pop()
            if connection.is_usable and connection.idle_since > oldest:
                return connection
            connection.drop()
        return None

    async def _open(self, left_s: float) -> Connection:
        """Return a new connection, or one that became free while waiting for a turn."""
        while True:
            connection = await self._wait_turn(left_s) or await self._connect(left_s)
            if connection.is_usable:
                return connection

    async def _wait_turn(self, left_s: float) -> Connection | None:
        """Return a free connection, or None when another one is to be opened, for which a place is kept."""
        if self._is_closed:
            raise NotConnected("closed")
        if len(self._connections) + self._connecting < self._max_connections:
            self._connecting += 1
            return None
        if len(self._waiting) >= MAX_WAITING:
            raise Busy("too many requests wait for a connection")
        turn: asyncio.Future[Connection | None] = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            async with asyncio.timeout(min(QUEUE_TIMEOUT_S, left_s)):
                return await turn
        except BaseException as error:
            if turn in self._waiting:
                self._waiting.remove(turn)
            if turn.done() and not turn.cancelled() and turn.exception() is None:
                self._give_back(turn.result())
            if isinstance(error, TimeoutError):
                raise Busy("no connection became free in time") from error
            raise

    def _refuse(self, turn: asyncio.Future[Connection | None]) -> None:
        if not turn.done():
            turn.set_exception(NotConnected("closed"))

    async def _connect(self, left_s: float) -> Connection:
        """Open a connection in the place that is kept for it."""
        try:
            async with asyncio.timeout(min(CONNECT_TIMEOUT_S, left_s)):
                connection = await self._dial()
        except BaseException as error:
            self._give_back(None)
            if isinstance(error, OSError):
                raise NotConnected(str(error) or "it took too long") from error
            raise
        self._connecting -= 1
        self._connections.add(connection)
        return connection

    async def _dial(self) -> Connection:
        loop, address = asyncio.get_running_loop(), self._address
        if address.path is not None:
            _, connection = await loop.create_unix_connection(self._new_connection, address.path)
        else:
            _, connection = await loop.create_connection(self._new_connection, address.host, address.port)
        if not connection.is_usable:
            raise ConnectionResetError("closed as soon as it was open")
        return connection

    def _new_connection(self) -> Connection:
        return Connection(self._free)

    def _free(self, connection: Connection) -> None:
        """Take back a connection that can be used again, or is gone."""
        if connection.is_usable:
            self._pass_on(connection)
        elif connection in self._connections:
            self._connections.discard(connection)
            if connection in self._idle:
                self._idle.remove(connection)
            self._pass_on(None)

    def _give_back(self, connection: Connection | None) -> None:
        """Take back what was given to somebody who cannot use it."""
        if connection is None:
            self._connecting -= 1
        self._pass_on(connection)

    def _pass_on(self, connection: Connection | None) -> None:
        """Give a connection, or the place for one, to whoever waits longest."""
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                self._connecting += connection is None
                turn.set_result(connection)
                return
        if connection is None:
            return
        if self._is_closed:
            connection.drop()
            return
        connection.idle_since = monotonic()
        self._idle.append(connection)
