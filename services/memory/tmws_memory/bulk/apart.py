"""Large imports in a process of their own: reading and packing files takes all of a core, and nobody else is to wait.

The process gets its order as a line of JSON on stdin, then the file in frames: four bytes that say how long a piece
is, and the piece; an empty one ends the file. Without that end the file is broken off, or we are dead: what was
committed stays, nothing more is stored. What it says on stdout are the lines of the answer.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import suppress
from datetime import timedelta
from typing import Any, Final

import orjson

from tmws_contracts.memory_bulk import ImportFormat
from tmws_memory.bulk.importing import Order, run_import
from tmws_memory.directory import Directory
from tmws_shared.auth import Principal
from tmws_shared.database import Database
from tmws_shared.problems import Unavailable

_SIZE_BYTES: Final = 4
_END: Final = bytes(_SIZE_BYTES)
_LINE_BYTES: Final = 1024 * 1024
# While a thread counts words, the loop gets its turn ten times as soon as by default.
_SWITCH_S: Final = 0.0005


class _BrokenOff(Exception):
    """The file does not come to its end."""


async def import_apart(database_url: str, order: Order, body: AsyncIterator[bytes]) -> AsyncGenerator[bytes]:
    """Import a file in another process, and yield the lines of the answer as they come."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        __name__,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        limit=_LINE_BYTES,
        start_new_session=True,
    )
    # A caller that sends the whole file before it reads must not be waited for.
    said: asyncio.Queue[bytes | None] = asyncio.Queue()
    feeding = asyncio.create_task(_feed(process, _head(database_url, order), body), name="feed an import")
    hearing = asyncio.create_task(_hear(process, said), name="hear an import")
    try:
        while (line := await said.get()) is not None:
            yield line
        await feeding
        if await process.wait():
            yield b'{"error":%b}\n' % Unavailable("The import was broken off; go on with it by its id.").body()
    finally:
        feeding.cancel()
        hearing.cancel()
        with suppress(ProcessLookupError):
            process.kill()
        await asyncio.gather(feeding, hearing, process.wait(), return_exceptions=True)


def _head(database_url: str, order: Order) -> bytes:
    c = order.caller
    caller = [c.subject, c.namespace, sorted(c.scopes), c.persona, c.key_id]
    fields = {
        "database_url": database_url,
        "caller": caller,
        "wanted": order.wanted,
        "key": order.key,
        "short_term_s": order.short_term.total_seconds(),
    }
    return orjson.dumps(fields) + b"\n"


async def _feed(process: asyncio.subprocess.Process, head: bytes, body: AsyncIterator[bytes]) -> None:
    writer = process.stdin
    assert writer is not None  # noqa: S101 -- it is a pipe
    writer.write(head)
    try:
        async for piece in body:
            # One that has ended with an error takes no more; who sends is heard to the end all the same.
            with suppress(ConnectionError):
                if piece and not writer.is_closing():
                    writer.write(len(piece).to_bytes(_SIZE_BYTES, "big") + piece)
                    await writer.drain()
        with suppress(ConnectionError):
            writer.write(_END)
            await writer.drain()
    finally:
        # Without the end before it, it says that the file is broken off.
        writer.close()


async def _hear(process: asyncio.subprocess.Process, said: asyncio.Queue[bytes | None]) -> None:
    assert process.stdout is not None  # noqa: S101 -- it is a pipe
    try:
        while line := await process.stdout.readline():
            said.put_nowait(line)
    finally:
        said.put_nowait(None)


async def _serve() -> None:
    reader = asyncio.StreamReader(limit=_LINE_BYTES)
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    fields: dict[str, Any] = orjson.loads(await reader.readline())
    subject, namespace, scopes, persona, key_id = fields["caller"]
    order = Order(
        Principal(subject, namespace, frozenset(scopes), persona, key_id),
        ImportFormat(fields["wanted"]),
        fields["key"],
        timedelta(seconds=fields["short_term_s"]),
    )
    database = await Database.connect(fields["database_url"], name="tmws_memory import", max_size=4)
    try:
        async for line in run_import(database, Directory(database), order, _frames(reader)):
            # The other end reads whatever its caller does.
            sys.stdout.buffer.write(line)
            sys.stdout.buffer.flush()
    finally:
        await database.close()


async def _frames(reader: asyncio.StreamReader) -> AsyncGenerator[bytes]:
    try:
        while size := int.from_bytes(await reader.readexactly(_SIZE_BYTES), "big"):
            yield await reader.readexactly(size)
    except asyncio.IncompleteReadError as error:
        raise _BrokenOff from error


def main() -> None:
    """Import what stdin orders; exits 1 when the file is broken off."""
    sys.setswitchinterval(_SWITCH_S)
    try:
        asyncio.run(_serve())
    except (_BrokenOff, BrokenPipeError, KeyboardInterrupt):
        sys.exit(1)


if __name__ == "__main__":
    main()
