"""Where a service listens: the addresses that a URL names, now."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from dataclasses import dataclass
from urllib.parse import urlsplit

from tmws_shared.pool import Address


@dataclass(frozen=True, slots=True)
class Origin:
    """One URL of a service; a name may stand for several addresses, and for others tomorrow."""

    host: bytes
    address: Address

    @property
    def is_name(self) -> bool:
        """Whether it has to be looked up."""
        if self.address.path is not None:
            return False
        try:
            ipaddress.ip_address(self.address.host)
        except ValueError:
            return True
        return False

    async def addresses(self) -> list[Address]:
        """Look the name up: every address of one family, IPv4 if there is any.

        The two families usually lead to the same processes.

        Raises:
            OSError: nobody knows the name.
            UnicodeError: it cannot be one.
        """
        port = self.address.port
        found = await asyncio.get_running_loop().getaddrinfo(self.address.host, port, type=socket.SOCK_STREAM)
        families = {family for family, *_ in found}
        family = socket.AF_INET if socket.AF_INET in families else socket.AF_INET6
        hosts = {place[0] for of, _, _, _, place in found if of == family}
        return [Address(None, str(host), port) for host in sorted(map(str, hosts))]


def origins_of(urls: str) -> list[Origin]:
    """Return what URLs, separated by commas, name: `unix:///path.sock` or `http://host:port`."""
    return [_origin(url.strip()) for url in urls.split(",") if url.strip()]


def _origin(url: str) -> Origin:
    parts = urlsplit(url)
    if parts.scheme == "unix":
        return Origin(b"service", Address(parts.path))
    host = parts.netloc.rpartition("@")[2].encode()
    return Origin(host, Address(None, parts.hostname or "localhost", parts.port or 80))
