"""Which addresses belong to the public Internet."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import TypeAlias

Address: TypeAlias = IPv4Address | IPv6Address

# IANA's registries of special-purpose addresses; Python 3.11's own `is_global` misses some of them.
_SPECIAL_V4 = tuple(
    ip_network(text)
    for text in (
        "0.0.0.0/8",  # this network
        "10.0.0.0/8",
        "100.64.0.0/10",  # carrier-grade NAT
        "127.0.0.0/8",
        "168.63.129.16/32",  # Azure's own services, seen from inside its machines
        "169.254.0.0/16",  # link-local, metadata services
        "172.16.0.0/12",
        "192.0.0.0/24",
        "192.0.2.0/24",  # documentation
        "192.88.99.0/24",  # 6to4 relays
        "192.168.0.0/16",
        "198.18.0.0/15",  # benchmarks
        "198.51.100.0/24",
        "203.0.113.0/24",
        "224.0.0.0/4",  # multicast
        "240.0.0.0/4",  # reserved, broadcast
    )
)
# Everything that is public is in here: IPv4-mapped, NAT64, unique local, link-local and multicast addresses are not.
_GLOBAL_V6 = ip_network("2000::/3")
_SPECIAL_V6 = tuple(
    ip_network(text)
    for text in (
        "2001::/23",  # protocol assignments: Teredo, benchmarks, ORCHID
        "2001:db8::/32",  # documentation
        "2002::/16",  # 6to4
        "3fff::/20",  # documentation
    )
)


def parse_address(text: str) -> Address:
    """Return an address as a resolver gives it.

    Raises:
        ValueError: it is none.
    """
    return ip_address(text)


def is_public(address: Address) -> bool:
    """Whether an address is one that anybody on the Internet could use."""
    if isinstance(address, IPv4Address):
        return not any(address in network for network in _SPECIAL_V4)
    # A zone belongs to link-local addresses alone; with one the comparison with networks means nothing.
    if address.scope_id is not None:
        return False
    return address in _GLOBAL_V6 and not any(address in network for network in _SPECIAL_V6)
