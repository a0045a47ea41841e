"""Which memories searches found: counted in memory, written in batches, never waited for."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Iterable
from datetime import datetime
from uuid import UUID

from tmws_memory.keeping import MemoryKeeping
from tmws_shared.clock import now
from tmws_shared.jobs import Doorbell
from tmws_shared.problems import Unavailable

_log = logging.getLogger(__name__)
BELL = "memory"
FLUSH_EVERY_S = 1.0
MAX_WAITING = 10_000


class AccessLog:
    """Counts what was found; the worker is rung for when a short-term memory was, it may be due for promotion."""

    def __init__(self, keeping: MemoryKeeping, bell: Doorbell) -> None:
        self._keeping = keeping
        self._bell = bell
        self._uses: Counter[UUID] = Counter()
        self._last_use: datetime = now()

    def note(self, ids: Iterable[UUID]) -> None:
        """Count a use of each memory; with very many waiting (the database is away) it is forgotten."""
        if len(self._uses) < MAX_WAITING:
            self._uses.update(list(ids))
            self._last_use = now()

    async def run(self) -> None:
        """Write the counts every second until cancelled."""
        while True:
            await asyncio.sleep(FLUSH_EVERY_S)
            await self.flush()

    async def flush(self) -> None:
        """Write the counts; keep them when the database is away."""
        if not self._uses:
            return
        uses, self._uses = self._uses, Counter()
        try:
            is_short_found = await self._keeping.count_uses(uses, self._last_use)
        except Unavailable:
            _log.warning("%d counts of use wait for the database", len(uses))
            self._uses.update(uses)
            return
        if is_short_found:
            await self._bell.ring()
