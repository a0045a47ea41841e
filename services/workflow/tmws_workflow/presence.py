"""A worker shows that it is alive, so that a diagnosis can tell an empty house from a busy one."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from contextlib import suppress
from uuid import UUID

from tmws_shared.database import Database
from tmws_shared.problems import Unavailable
from tmws_workflow.repository.workers import show_up, sign_off


class Presence:
    """One worker in the table of workers; `in_flight` says how many steps it runs."""

    def __init__(
        self, database: Database, worker_id: UUID, capacity: int, in_flight: Callable[[], int], period_s: float
    ) -> None:
        self._database = database
        self._id = worker_id
        self._capacity = capacity
        self._in_flight = in_flight
        self._period_s = period_s

    async def show(self) -> None:
        """Show up every `period_s` seconds until cancelled, then sign off."""
        host = socket.gethostname()
        try:
            while True:
                await show_up(self._database, self._id, host, self._in_flight(), self._capacity)
                await asyncio.sleep(self._period_s)
        finally:
            with suppress(Unavailable):
                await sign_off(self._database, self._id)
