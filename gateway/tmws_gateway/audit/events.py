"""What is recorded of a request."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import orjson

from tmws_contracts.audit import Decision
from tmws_gateway.chain.records import FIELDS
from tmws_gateway.exchange import Exchange
from tmws_shared.clock import new_id, now

DENIALS = frozenset({401, 403, 421, 429})
NOBODYS_NAMESPACE = "default"
_RESOURCE_MAX = 512
_DIGEST_BYTES = 16


def is_audited(exchange: Exchange) -> bool:
    """Whether a request is recorded: every change, every denial."""
    return exchange.status in DENIALS or bool(exchange.route and exchange.route.is_change)


def describe(exchange: Exchange, digest_key: bytes) -> dict[str, Any]:
    """Return the event of an answered request."""
    principal = exchange.principal
    return {
        "id": str(new_id()),
        "occurred_at": now().isoformat(timespec="microseconds"),
        "namespace": principal.namespace if principal else NOBODYS_NAMESPACE,
        "subject": _printable(principal.subject) if principal else None,
        "key_id": principal.key_id if principal else None,
        "persona": principal.persona if principal else None,
        "address": _printable(exchange.address),
        "action": _printable(exchange.action),
        "resource": _printable((exchange.location or exchange.resource)[:_RESOURCE_MAX]),
        "decision": Decision.DENIED if exchange.status in DENIALS else Decision.ALLOWED,
        "status": exchange.status,
        "request_id": exchange.request_id,
        "trace_id": exchange.trace_id,
        "changed_fields": [_printable(name) for name, _ in exchange.changed_fields],
        "field_digests": [_digest(digest_key, name, value) for name, value in exchange.changed_fields],
        "duration_us": round(exchange.duration_s * 1_000_000),
        "repeats": 1,
    }


def read_event(line: bytes) -> dict[str, Any]:
    """Return the event that a line of JSON holds.

    Raises:
        ValueError: it holds none.
    """
    try:
        fields = orjson.loads(line)
        if "duration_ms" in fields:  # as the release before this one writes them
            fields |= {"duration_us": round(fields["duration_ms"] * 1000), "field_digests": []}
        return {name: _TYPES.get(name, _text_or_null)(fields[name]) for name in FIELDS}
    except (KeyError, TypeError, AttributeError, ValueError, OverflowError) as error:
        raise ValueError("not an event") from error


def _printable(text: str) -> str:
    """Return the text with whatever could act on a terminal, or cannot be stored, as an escape."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


def _digest(key: bytes, name: str, value: bytes) -> str:
    """Return the same for the same value of the same field; without the key a guess cannot be tried."""
    return hmac.digest(key, b"\0".join((name.encode(errors="surrogatepass"), value)), hashlib.sha256)[
        :_DIGEST_BYTES
    ].hex()


def _text(value: Any) -> str:
    if not isinstance(value, str) or "\0" in value:
        raise ValueError("not an event")
    return value


def _text_or_null(value: Any) -> str | None:
    return None if value is None else _text(value)


def _integer(bits: int) -> Callable[[Any], int]:
    def read(value: Any) -> int:
        if type(value) is not int or not -(2 ** (bits - 1)) <= value < 2 ** (bits - 1):
            raise ValueError("not an event")
        return value

    return read


_TYPES: dict[str, Callable[[Any], Any]] = {
    "id": lambda value: str(UUID(_text(value))),
    "occurred_at": lambda value: datetime.fromisoformat(value).astimezone(UTC).isoformat(timespec="microseconds"),
    "namespace": _text,
    "address": _text,
    "action": _text,
    "resource": _text,
    "decision": lambda value: Decision(value).value,
    "status": _integer(16),
    "request_id": _text,
    "changed_fields": lambda value: [_text(item) for item in value],
    "field_digests": lambda value: [_text(item) for item in value],
    "duration_us": _integer(64),
    "repeats": _integer(32),
}
