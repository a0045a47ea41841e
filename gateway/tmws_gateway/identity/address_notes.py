"""A caller's address on its way through the MCP bridge and back to us: a note that nobody but a gateway can write.

The bridge calls us for whoever called it, so that each call of a tool would seem to come from the bridge. It hands back
the note that came with the request, which counts with the credential of that request, for as long as a tool may wait.
"""

from __future__ import annotations

import hashlib
import hmac
import time
from collections.abc import Callable

from starlette.types import Scope

from tmws_gateway.identity.addresses import TrustedProxies
from tmws_shared.framing import HeaderList
from tmws_shared.keys import derive_key

HEADER = b"x-tmws-caller"
# The longest wait of a tool is ten minutes.
LIFETIME_S = 900


class AddressNotes:
    """Writes notes and reads them."""

    def __init__(self, secret: str, clock: Callable[[], float] = time.time) -> None:
        self._key = derive_key(secret, "address of a caller of the MCP bridge")
        self._clock = clock

    def write(self, address: str, headers: HeaderList) -> bytes:
        """Return the note of a request from an address: `address expiry signature`."""
        facts = f"{address} {int(self._clock()) + LIFETIME_S}"
        return f"{facts} {self._sign(facts, headers)}".encode()

    def read(self, headers: HeaderList) -> str | None:
        """Return the address that a request's note names; None without a note of ours, or when it has expired."""
        note = _value(headers, HEADER).decode("latin-1")
        if not note:
            return None
        facts, _, signature = note.rpartition(" ")
        address, _, expires_at = facts.rpartition(" ")
        if not address or not hmac.compare_digest(signature.encode(), self._sign(facts, headers).encode()):
            return None
        return address if int(expires_at) > self._clock() else None

    def _sign(self, facts: str, headers: HeaderList) -> str:
        signed = facts.encode() + b"\n" + _value(headers, b"authorization")
        return hmac.new(self._key, signed, hashlib.sha256).hexdigest()


class Whereabouts:
    """Finds out where a caller is."""

    def __init__(self, notes: AddressNotes, proxies: TrustedProxies) -> None:
        self.proxies = proxies
        self._notes = notes

    def locate(self, scope: Scope) -> Scope:
        """Return the scope of a request with its caller as the client: by our own note, else by trusted proxies."""
        address = self._notes.read(scope["headers"])
        return self.proxies.locate(scope) if address is None else {**scope, "client": (address, 0)}


def _value(headers: HeaderList, name: bytes) -> bytes:
    for key, value in headers:
        if key == name:
            return value
    return b""
