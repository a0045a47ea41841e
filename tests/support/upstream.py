"""A service that answers raw bytes, for tests of the proxy.

async with upstream(folder, ok(b"hello")) as service:
    service.url, service.asked            # unix:///…, the heads and bodies it was sent
    service.connections                   # how many were opened

An answer is bytes, or a list of pieces sent with a pause between them; None closes the connection unanswered.
After its last answer it repeats that one.
"""

from __future__ import annotations

import asyncio
import itertools
import re
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

PAUSE_S = 0.05
_numbers = itertools.count()
Response = bytes | Sequence[bytes] | None


def ok(body: bytes = b"", *headers: str, status: str = "200 OK") -> bytes:
    """Return an answer with a Content-Length."""
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers]
    return ("\r\n".join(lines) + "\r\n\r\n").encode() + body


@dataclass
class Upstream:
    """What listens, and what it was asked."""

    url: str
    answers: list[Response]
    asked: list[bytes] = field(default_factory=list[bytes])
    hung_up: asyncio.Event = field(default_factory=asyncio.Event)
    connections: int = 0
    writers: list[asyncio.StreamWriter] = field(default_factory=list[asyncio.StreamWriter])

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer the requests of one connection."""
        self.connections += 1
        self.writers.append(writer)
        try:
            while await self._answer_one(reader, writer):
                pass
        except (ConnectionError, asyncio.IncompleteReadError):
            self.hung_up.set()
        finally:
            writer.close()

    def close_connections(self) -> None:
        """Hang up on everybody."""
        for writer in self.writers:
            writer.close()

    async def _answer_one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = await reader.readuntil(b"\r\n\r\n")
        length = re.search(rb"content-length: (\d+)", head, re.IGNORECASE)
        body = await reader.readexactly(int(length.group(1))) if length else b""
        self.asked.append(head + body)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if answer is None:
            return False
        for piece in [answer] if isinstance(answer, bytes) else answer:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(0 if isinstance(answer, bytes) else PAUSE_S)
        return True


@asynccontextmanager
async def upstream(folder: Path, *answers: Response, path: Path | None = None) -> AsyncGenerator[Upstream]:
    """Listen on a socket in the folder, or at a path of its own."""
    path = path or folder / f"u{next(_numbers)}.sock"
    service = Upstream(f"unix://{path}", list(answers))
    server = await asyncio.start_unix_server(service.serve, path)
    try:
        yield service
    finally:
        server.close()
        service.close_connections()
        path.unlink(missing_ok=True)
