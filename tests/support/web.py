"""A web server on a free port of the loopback, for steps that ask the outside.

async with website(lambda asked: page(b"hello")) as site:
    site.port, site.asked        # what it was asked, in order

Each connection carries one request. A handler gives the bytes of the answer, pieces of it, or None to hang up.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncGenerator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

Answer = bytes | Iterable[bytes] | None


@dataclass(frozen=True)
class Asked:
    """A request; header names in lower case."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Website:
    """What listens, and what it was asked."""

    handler: Callable[[Asked], Answer]
    port: int = 0
    asked: list[Asked] = field(default_factory=list[Asked])
    has_hung_up: asyncio.Event = field(default_factory=asyncio.Event)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer the one request of a connection."""
        try:
            asked = await _read(reader)
            self.asked.append(asked)
            answer = self.handler(asked)
            for piece in [answer] if isinstance(answer, bytes) else answer or ():
                writer.write(piece)
                await writer.drain()
            if answer == b"":
                await reader.read()
                self.has_hung_up.set()
        except (ConnectionError, asyncio.IncompleteReadError):
            self.has_hung_up.set()
        finally:
            writer.close()


def page(body: bytes = b"", *headers: str, status: str = "200 OK") -> bytes:
    """Return an answer."""
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", "Connection: close", *headers]
    return ("\r\n".join(lines) + "\r\n\r\n").encode() + body


def json_page(body: bytes, *headers: str, status: str = "200 OK") -> bytes:
    """Return an answer of JSON."""
    return page(body, "Content-Type: application/json; charset=utf-8", *headers, status=status)


def moved(location: str, status: str = "302 Found") -> bytes:
    """Return a redirect."""
    return page(b"", f"Location: {location}", status=status)


async def _read(reader: asyncio.StreamReader) -> Asked:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    method, target, _ = head[0].split(" ")
    pairs = (line.partition(":") for line in head[1:] if line)
    headers = {name.lower(): value.strip() for name, _, value in pairs}
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    return Asked(method, target, headers, body)


@asynccontextmanager
async def website(
    handler: Callable[[Asked], Answer], certificate: ssl.SSLContext | None = None
) -> AsyncGenerator[Website]:
    """Run a web server; an empty answer leaves the caller waiting until it hangs up."""
    site = Website(handler)
    server = await asyncio.start_server(site.serve, "127.0.0.1", 0, ssl=certificate)
    site.port = server.sockets[0].getsockname()[1]
    async with server:
        yield site
