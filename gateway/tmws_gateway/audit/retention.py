"""Removes records that have been kept long enough; the chain then begins behind the last one that was removed."""

from __future__ import annotations

import logging
import time
from datetime import timedelta

from tmws_gateway.audit.verification import ChainVerifier
from tmws_gateway.chain.signing import Checkpoint, Signer
from tmws_gateway.repository.audit import (
    begin_behind,
    find_beginning,
    find_head,
    last_checkpoint_before,
    lock_chain,
)
from tmws_shared.background import every
from tmws_shared.clock import now
from tmws_shared.database import Database
from tmws_shared.telemetry import Counter

_log = logging.getLogger(__name__)

# The chain is locked for as long as it takes to remove these, well under a second.
STEP = 10_000
EVERY_S = 600.0
_REMOVED = Counter("tmws_audit_removed_total", "Audit records that this process has removed after their time")


class Retention:
    """Removes records `days` after a checkpoint was put behind them. What is not intact is not removed."""

    def __init__(self, database: Database, signer: Signer, chain: ChainVerifier, days: int) -> None:
        self._database = database
        self._signer = signer
        self._chain = chain
        self._kept = timedelta(days=days)

    async def run(self) -> None:
        """Remove what is old enough from time to time; return when records are kept for ever."""
        if self._kept:
            await every(EVERY_S, self.remove_old)

    async def remove_old(self) -> None:
        """Remove all that are old enough."""
        while await self._remove_some():
            pass

    async def _remove_some(self) -> bool:
        beginning = await find_beginning(self._database)
        begins_after = 0 if beginning is None else beginning.seq
        # The last record stays, however old: the next one is put behind it.
        until = min(begins_after + STEP, (await find_head(self._database)).seq - 1)
        last = await last_checkpoint_before(self._database, now() - self._kept, begins_after, until)
        if last is None:
            return False
        found = await self._chain.verify(begins_after, last.seq - begins_after)
        if found.fault is not None:
            _log.error("old audit records stay, as evidence: %s", found.fault.detail)
            return False
        return await self._begin_behind(last, begins_after)

    async def _begin_behind(self, last: Checkpoint, begins_after: int) -> bool:
        async with self._database.transaction() as connection:
            await lock_chain(connection)
            current = await find_beginning(connection)
            if (0 if current is None else current.seq) != begins_after:
                return True
            await begin_behind(connection, self._signer.beginning(last.head, time.time_ns() // 1000))
        _REMOVED.inc(last.seq - begins_after)
        _log.info("audit records %d to %d are removed", begins_after + 1, last.seq)
        return True
