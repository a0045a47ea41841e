"""Takes in files of memories: small ones here, large ones in a process of their own."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from datetime import timedelta
from typing import Final

from tmws_contracts.memory_bulk import ImportFormat
from tmws_memory.bulk.apart import import_apart
from tmws_memory.bulk.importing import Order, begin, read_beginning, run_import
from tmws_memory.directory import Directory
from tmws_memory.settings import MemorySettings
from tmws_shared.auth import Principal
from tmws_shared.clock import new_id
from tmws_shared.database import Database
from tmws_shared.problems import Unavailable

# Less than this is done before a process has started.
SMALL_BYTES: Final = 1024 * 1024
# Each has connections, batches in memory, perhaps a process.
MAX_AT_ONCE: Final = 3


class Importer:
    """Takes in files of memories."""

    def __init__(self, database: Database, directory: Directory, settings: MemorySettings) -> None:
        self._database = database
        self._directory = directory
        self._database_url = settings.database_url.get_secret_value()
        self._short_term = timedelta(hours=settings.memory_short_term_hours)
        self._running = 0

    async def open(
        self,
        caller: Principal,
        body: AsyncIterator[bytes],
        wanted: ImportFormat,
        key: str | None,
        size_bytes: int | None,
    ) -> AsyncGenerator[bytes]:
        """Begin an import, or go on with the one of this key, and return the lines of its answer.

        Raises:
            MalformedRequest: the body is empty, or begins with a byte order mark.
            Unavailable: too many imports are running.
        """
        if self._running >= MAX_AT_ONCE:
            raise Unavailable(f"{MAX_AT_ONCE} imports are running; wait for one to end.", retry_after_s=5)
        file = _chain(await read_beginning(body), body)
        order = Order(caller, wanted, key or str(new_id()), self._short_term)
        if size_bytes is not None and size_bytes <= SMALL_BYTES:
            return self._counted(run_import(self._database, self._directory, order, file))
        # What cannot be stored now is refused now.
        await begin(self._database, order)
        return self._counted(import_apart(self._database_url, order, file))

    async def _counted(self, lines: AsyncGenerator[bytes]) -> AsyncGenerator[bytes]:
        self._running += 1
        try:
            async with aclosing(lines):
                async for line in lines:
                    yield line
        finally:
            self._running -= 1


async def _chain(beginning: bytes, body: AsyncIterator[bytes]) -> AsyncGenerator[bytes]:
    yield beginning
    async for piece in body:
        yield piece
