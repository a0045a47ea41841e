"""Opaque, signed keyset cursors."""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import orjson

from tmws_contracts.common import Page
from tmws_shared.keys import derive_key
from tmws_shared.problems import MalformedRequest

Item = TypeVar("Item")

_MAC_BYTES = 12


class Cursors:
    """Makes and reads cursors that only fit the list (namespace, filters, order) they came from."""

    def __init__(self, secret: str) -> None:
        self._key = derive_key(secret, "list cursors")

    def encode(self, position: list[Any], **context: Any) -> str:
        """Return the cursor that continues after `position` (the sort key of the last item)."""
        body = orjson.dumps(position)
        return base64.urlsafe_b64encode(self._mac(body, context) + body).decode().rstrip("=")

    def decode(self, cursor: str | None, **context: Any) -> list[Any] | None:
        """Return the position a cursor stands for, None without one.

        Raises:
            MalformedRequest: the cursor is not ours, or belongs to other filters.
        """
        if cursor is None:
            return None
        try:
            raw = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        except ValueError:
            raw = b""
        mac, body = raw[:_MAC_BYTES], raw[_MAC_BYTES:]
        if not hmac.compare_digest(mac, self._mac(body, context)):
            raise MalformedRequest.of("?cursor", "must be the next_cursor of a page with the same filters")
        return orjson.loads(body)

    def cut(
        self, found: Sequence[Item], limit: int, position: Callable[[Item], list[Any]], **context: Any
    ) -> tuple[Sequence[Item], str | None]:
        """Return the first `limit` of what was found and the cursor to the rest, None when that was all.

        Lists read one item more than they show: it tells that there is another page.
        """
        if len(found) <= limit:
            return found, None
        return found[:limit], self.encode(position(found[limit - 1]), **context)

    def page(self, found: Sequence[tuple[Item, list[Any]]], limit: int, **context: Any) -> Page[Item]:
        """Return a page of items that were found with their positions (see `cut`)."""
        pairs, next_cursor = self.cut(found, limit, lambda pair: pair[1], **context)
        return Page(items=[item for item, _ in pairs], next_cursor=next_cursor)

    def _mac(self, body: bytes, context: dict[str, Any]) -> bytes:
        payload = orjson.dumps(context, default=str, option=orjson.OPT_SORT_KEYS) + b"\0" + body
        return hmac.digest(self._key, payload, hashlib.sha256)[:_MAC_BYTES]


@dataclass(frozen=True, slots=True)
class Keyset:
    """A total order of a list as SQL: `keys` are (expression, type) pairs, the last one unique.

    All keys run in one direction, so that a row comparison continues a page by index.
    """

    keys: tuple[tuple[str, str], ...]
    descending: bool = False

    @property
    def position(self) -> str:
        """The select expression of a row's place, as text[]."""
        return "ARRAY[" + ", ".join(f"({key})::text" for key, _ in self.keys) + "]"

    @property
    def order_by(self) -> str:
        """The body of ORDER BY."""
        direction = "DESC" if self.descending else "ASC"
        return ", ".join(f"{key} {direction}" for key, _ in self.keys)

    def beyond(self, parameter: str) -> str:
        """Return the condition for rows after the position given as the text[] `parameter`."""
        here = ", ".join(key for key, _ in self.keys)
        there = ", ".join(f"({parameter}::text[])[{n}]::{kind}" for n, (_, kind) in enumerate(self.keys, 1))
        return f"({here}) {'<' if self.descending else '>'} ({there})"


class Conditions:
    """The WHERE of a list: fixed fragments, each with at most one bound value."""

    def __init__(self, *values: Any) -> None:
        self.values: list[Any] = list(values)
        self._fragments: list[str] = []

    def add(self, fragment: str, *value: Any) -> None:
        """Add a condition; `{}` in it stands for the value."""
        self.values += value
        self._fragments.append(fragment.replace("{}", f"${len(self.values)}"))

    def add_given(self, fragment: str, value: Any) -> None:
        """Add a condition when its value is not None."""
        if value is not None:
            self.add(fragment, value)

    def sql(self) -> str:
        """Return the conditions, each after an AND."""
        return "".join(f" AND {fragment}" for fragment in self._fragments)
