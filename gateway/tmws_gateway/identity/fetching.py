"""Fetches what an issuer publishes: from the places that the operator named, in a short time, and not much of it."""

from __future__ import annotations

import asyncio
import ssl
from time import monotonic
from urllib.parse import SplitResult, urlsplit

from tmws_shared.connection import Connection
from tmws_shared.framing import Request, encode
from tmws_shared.reply import UpstreamError
from tmws_shared.settings import LOOPBACK

TIMEOUT_S = 3.0
MAX_BYTES = 256 * 1024
_HEADERS = [(b"accept", b"application/json"), (b"user-agent", b"tmws")]


class NotFetched(Exception):
    """There is no usable answer; the message says why."""


def is_fetchable(url: str) -> bool:
    """Whether we would fetch it: https, or http from the loopback; no credentials, query or fragment."""
    try:
        parts = urlsplit(url)
        is_plain = not parts.query and not parts.fragment and "@" not in parts.netloc and url.isascii()
        is_private = parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in LOOPBACK)
        return is_plain and is_private and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


async def fetch(url: str) -> bytes:
    """Return the body of a 200; nothing is redirected, and no proxy of the environment is used.

    Raises:
        NotFetched: there is none, it is larger than 256 KiB, or it does not come within three seconds.
    """
    if not is_fetchable(url):
        raise NotFetched("the URL must be https")
    deadline = monotonic() + TIMEOUT_S
    try:
        async with asyncio.timeout(TIMEOUT_S):
            connection = await _connect(urlsplit(url))
            try:
                return await _ask(connection, urlsplit(url), deadline)
            finally:
                connection.drop()
    except (OSError, UpstreamError, ValueError) as error:
        raise NotFetched(str(error) or "it took too long") from error


async def _connect(parts: SplitResult) -> Connection:
    is_tls = parts.scheme == "https"
    _, connection = await asyncio.get_running_loop().create_connection(
        lambda: Connection(lambda _: None),
        parts.hostname or "",
        parts.port or (443 if is_tls else 80),
        ssl=ssl.create_default_context() if is_tls else None,
    )
    return connection


async def _ask(connection: Connection, parts: SplitResult, deadline: float) -> bytes:
    request = Request("GET", (parts.path or "/").encode(), list(_HEADERS))
    reply = connection.ask(request, encode(request, parts.netloc.encode()))
    await reply.begin(deadline)
    if reply.status != 200:
        raise NotFetched(f"the answer has the status {reply.status}")
    return await reply.read(deadline - monotonic(), MAX_BYTES)
