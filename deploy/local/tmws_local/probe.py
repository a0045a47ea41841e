"""Whether a process answers over HTTP, with as little as that takes."""

from __future__ import annotations

import asyncio
from urllib.parse import urlsplit

_TIMEOUT_S = 3.0
_OK = 200


async def status(address: str, path: str) -> int | None:
    """Return the status of `GET path` at `unix:///path.sock` or `http://host:port`; None without an answer."""
    try:
        return await asyncio.wait_for(_get(address, path), _TIMEOUT_S)
    except (OSError, TimeoutError, ValueError, asyncio.IncompleteReadError):
        return None


async def is_ok(address: str, path: str) -> bool:
    """Return whether `GET path` answers 200."""
    return await status(address, path) == _OK


async def _get(address: str, path: str) -> int:
    parts = urlsplit(address)
    if parts.scheme == "unix":
        reader, writer = await asyncio.open_unix_connection(parts.path)
    else:
        reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    try:
        # The gateway always knows this name, whatever address it listens on.
        writer.write(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
        line = await reader.readuntil(b"\r\n")
        return int(line.split()[1])
    finally:
        writer.close()
