"""The operator's allow-list: what `http` steps may reach beside the public Internet.

build.internal:8080      this name, whatever it resolves to, on this port
10.1.0.0/16:443          these addresses, under any name; [fd00::/8]:443 for IPv6
build.internal           without a port: 80 and 443
*:8443                   the public Internet on one port more
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_network

from tmws_workflow.egress.addresses import Address, is_public, parse_address

PORTS = frozenset({80, 443})
_ANY = "*"
_ENTRY = re.compile(r"(?P<host>\[[0-9a-f:./]+\]|[a-z0-9*._/-]+)(?::(?P<port>[0-9]{1,5}))?", re.ASCII)
_NAME = re.compile(r"[a-z0-9_]([a-z0-9._-]*[a-z0-9_])?", re.ASCII)
EXPECTED = "must be items such as build.internal:8080, 10.1.0.0/16:443, [fd00::/8]:443 or *:8443, separated by commas"


@dataclass(frozen=True, slots=True)
class _Entry:
    """A name or a network; with neither it stands for the public Internet."""

    ports: frozenset[int]
    name: str | None = None
    network: IPv4Network | IPv6Network | None = None


@dataclass(frozen=True, slots=True)
class AllowList:
    """What may be reached."""

    entries: tuple[_Entry, ...] = ()

    @classmethod
    def parse(cls, text: str) -> AllowList:
        """Return the list that a setting describes.

        Raises:
            ValueError: it describes none.
        """
        return cls(tuple(_parse(item.strip().lower()) for item in text.split(",") if item.strip()))

    def permits(self, host: str, port: int, address: Address) -> bool:
        """Whether `address`, found under the name `host`, may be connected to on `port`."""
        if any(self._fits(entry, host, address) and port in entry.ports for entry in self.entries):
            return True
        return is_public(address) and port in PORTS

    def names(self, host: str, port: int) -> bool:
        """Whether the operator has listed this very host, or its address when it is written as one."""
        try:
            address = parse_address(host)
        except ValueError:
            return any(entry.name == host and port in entry.ports for entry in self.entries)
        return any(
            entry.network is not None and address in entry.network and port in entry.ports for entry in self.entries
        )

    @staticmethod
    def _fits(entry: _Entry, host: str, address: Address) -> bool:
        if entry.name is not None:
            return entry.name == host
        return is_public(address) if entry.network is None else address in entry.network


def _parse(item: str) -> _Entry:
    found = _ENTRY.fullmatch(item)
    if found is None:
        raise ValueError(EXPECTED)
    host, ports = found["host"].strip("[]"), frozenset(_ports(found["port"]))
    if host == _ANY:
        return _Entry(ports)
    try:
        return _Entry(ports, network=ip_network(host))
    except ValueError:
        if not _NAME.fullmatch(host) or re.fullmatch(r"[0-9.]+", host):
            raise ValueError(EXPECTED) from None
    return _Entry(ports, name=host)


def _ports(text: str | None) -> Iterator[int]:
    if text is None:
        yield from PORTS
    elif 0 < int(text) < 65536:
        yield int(text)
    else:
        raise ValueError(EXPECTED)
