"""Where a caller is: behind proxies that the operator trusts, what they say of it; otherwise the peer's own address."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import TypeAlias

from starlette.types import Scope

Address: TypeAlias = IPv4Address | IPv6Address
Network: TypeAlias = IPv4Network | IPv6Network
# Longer chains of proxies do not exist; a header that names more is not walked through.
MAX_HOPS = 32
_FOR = re.compile(r'for=(?:"([^"\\]*)"|([^\s;,"]+))', re.IGNORECASE)
_PORT = re.compile(r":\d{1,5}")


def read_networks(items: Iterable[str]) -> list[Network]:
    """Return networks written as CIDR; a single address is a network of one.

    Raises:
        ValueError: one is not a network, or is all there is.
    """
    networks = [ip_network(item) for item in items]
    if any(network.prefixlen == 0 for network in networks):
        raise ValueError("a network of all addresses would believe everybody")
    return networks


def network_of(address: str) -> str:
    """Return the part of an address that one caller cannot change: of IPv6, everybody has 2**64."""
    try:
        parsed = ip_address(address)
    except ValueError:
        return address
    return address if parsed.version == 4 else str(ip_network((parsed, 64), strict=False))


class TrustedProxies:
    """Knows the proxies whose word counts (RFC 7239; X-Forwarded-For)."""

    def __init__(self, networks: Iterable[Network]) -> None:
        self._networks = tuple(networks)

    def locate(self, scope: Scope) -> Scope:
        """Return the scope of a request with its caller as the client."""
        client = scope.get("client")
        if not self._networks or not client:
            return scope
        found = self.find_caller(client[0], scope["headers"])
        return scope if found == client[0] else {**scope, "client": (found, 0)}

    def find_caller(self, peer: str, headers: Iterable[tuple[bytes, bytes]]) -> str:
        """Return the caller's address: the first one, from our side, that is not a trusted proxy's.

        Whatever stands left of it could have been written by the caller. Where both headers are there and name
        different callers, one of them came through a proxy that does not know it: then neither counts.
        """
        given = list(headers)
        callers = {self._walk(peer, hops) for hops in (_forwarded_for(given), _forwarded(given)) if hops}
        return callers.pop() if len(callers) == 1 else peer

    def _walk(self, peer: str, hops: Sequence[str]) -> str:
        nearest = peer
        for hop in reversed(hops[-MAX_HOPS:]):
            if not self.trusts(nearest):
                break
            address = _address(hop)
            if address is None:
                break
            nearest = str(address)
        return nearest

    def trusts(self, text: str) -> bool:
        """Whether an address is a proxy's."""
        address = _address(text)
        return address is not None and any(
            address.version == network.version and address in network for network in self._networks
        )


def _forwarded_for(headers: Iterable[tuple[bytes, bytes]]) -> list[str]:
    values = [value.decode("latin-1") for name, value in headers if name == b"x-forwarded-for"]
    return [hop.strip() for value in values for hop in value.split(",")]


def _forwarded(headers: Iterable[tuple[bytes, bytes]]) -> list[str]:
    values = [value.decode("latin-1") for name, value in headers if name == b"forwarded"]
    found = (_FOR.search(element) for value in values for element in value.split(","))
    return [(hop.group(1) or hop.group(2) or "") if hop else "" for hop in found]


def _address(text: str) -> Address | None:
    """The address in `192.0.2.1`, `192.0.2.1:80`, `2001:db8::1`, `[2001:db8::1]` or `[2001:db8::1]:80`."""
    bare = text
    if text.startswith("["):
        bare, _, port = text[1:].partition("]")
        if port and not _PORT.fullmatch(port):
            return None
    elif text.count(":") == 1:
        bare = text.partition(":")[0]
    try:
        address = ip_address(bare)
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address
