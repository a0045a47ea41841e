"""The guard: a URL becomes addresses that may be connected to, or is refused."""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import httpx2

from tmws_workflow.egress.addresses import parse_address
from tmws_workflow.egress.allowed import AllowList

SCHEMES = {"http": 80, "https": 443}
MAX_URL_CHARS = 8_192
# What a resolver is asked: names, and addresses in whatever form it understands.
_HOST = re.compile(r"[a-z0-9._-]{1,253}|[0-9a-f:.]{2,45}", re.ASCII)
Resolve = Callable[[str, int], Awaitable[list[str]]]


class Refused(Exception):
    """The target is none that may be reached."""


class Unresolved(Exception):
    """The host's name has no address now."""


@dataclass(frozen=True, slots=True)
class Guard:
    """Decides what may be reached; `resolve` gives the addresses of a name."""

    allowed: AllowList
    resolve: Resolve

    async def addresses(self, url: httpx2.URL) -> list[str]:
        """Return the addresses to connect to, each of them checked.

        Raises:
            Refused: the scheme, the port or one of the addresses is not allowed.
            Unresolved: there are none.
        """
        check_url(url)
        host, port = name_of(url), port_of(url)
        addresses = await self.resolve(host, port)
        if not addresses:
            raise Unresolved(f"{host} has no address")
        for text in addresses:
            if not self.allowed.permits(host, port, parse_address(text)):
                # Which address it was would tell a stranger what our resolver knows.
                raise Refused(f"{host}:{port} must not be reached from here")
        return addresses


def check_url(url: httpx2.URL) -> None:
    """Return when nothing but the address of a URL is left to be checked.

    Raises:
        Refused: it has another scheme, credentials, or no host.
    """
    if url.scheme not in SCHEMES:
        raise Refused("the scheme must be https or http")
    if url.userinfo:
        raise Refused("the URL must not carry credentials; use a header")
    if not _HOST.fullmatch(name_of(url)):
        raise Refused("the URL must name a host")


def parse_url(text: str) -> httpx2.URL:
    """Return the URL of a request.

    Raises:
        Refused: it is none, or none that may be asked for.
    """
    if len(text) > MAX_URL_CHARS:
        raise Refused(f"the URL must not be longer than {MAX_URL_CHARS} characters")
    try:
        url = httpx2.URL(text)
    except (httpx2.InvalidURL, ValueError):
        raise Refused("the URL cannot be read") from None
    check_url(url)
    return url


def name_of(url: httpx2.URL) -> str:
    """Return the host as it is resolved and compared: in ASCII, lower case, without the root's dot."""
    return url.raw_host.decode("ascii").lower().removesuffix(".")


def port_of(url: httpx2.URL) -> int:
    """Return the port that is connected to."""
    return SCHEMES[url.scheme] if url.port is None else url.port


async def resolve(host: str, port: int) -> list[str]:
    """Return the addresses of a name, as the machine's resolver gives them.

    Raises:
        Unresolved: it gives none.
    """
    loop = asyncio.get_running_loop()
    try:
        found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        raise Unresolved(f"{host} cannot be resolved") from None
    return list(dict.fromkeys(str(sockaddr[0]) for *_, sockaddr in found))
