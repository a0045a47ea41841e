"""Entries of the stream, ready to be sent, and who may see them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

import orjson
from pydantic import ValidationError

from tmws_contracts.events import AREAS, Event
from tmws_shared.auth import Principal

EntryId: TypeAlias = tuple[int, int]
"""Milliseconds and a number within them, as Redis makes them: they grow, and are the same at every gateway."""
BEGINNING: EntryId = (0, 0)
IMPERSONATE = "persona:impersonate"
_ID = re.compile(r"(\d{1,19})-(\d{1,19})", re.ASCII)


def parse_id(text: str) -> EntryId | None:
    """Return the id that a text shows, or None."""
    found = _ID.fullmatch(text)
    return None if found is None else (int(found[1]), int(found[2]))


def show_id(entry_id: EntryId) -> str:
    """Return the id as text."""
    return f"{entry_id[0]}-{entry_id[1]}"


@dataclass(frozen=True, slots=True)
class Entry:
    """An event in the stream. `audience` None is its whole namespace; `frame` is how it is sent."""

    id: EntryId
    type: str
    namespace: str
    audience: frozenset[str] | None
    frame: bytes

    @property
    def area(self) -> str:
        """The first part of its type."""
        return self.type.partition(".")[0]


def read_entry(entry_id: bytes, fields: Mapping[bytes, bytes]) -> Entry | None:
    """Return an entry of the stream; None for one that is no event."""
    found, body = parse_id(entry_id.decode()), fields.get(b"event", b"")
    try:
        event = Event.model_validate(orjson.loads(body))
    except (orjson.JSONDecodeError, ValidationError):
        return None
    audience: list[object] | None = event.data.get("audience")
    return Entry(
        found or BEGINNING,
        event.type,
        event.namespace,
        None if audience is None else frozenset(str(member) for member in audience),
        # JSON has no line breaks of its own.
        b"id: %b\nevent: %b\ndata: %b\n\n" % (entry_id, event.type.encode(), body),
    )


@dataclass(frozen=True, slots=True)
class View:
    """What one caller sees. `types` are whole types and `area.*`; none are all."""

    namespace: str
    areas: frozenset[str]
    types: frozenset[str]
    owner: str
    is_any_persona: bool

    def sees(self, entry: Entry) -> bool:
        """Whether the caller may see the entry and asked for it."""
        return (
            entry.namespace == self.namespace
            and entry.area in self.areas
            and (not self.types or entry.type in self.types or f"{entry.area}.*" in self.types)
            and (entry.audience is None or self._is_meant(entry.audience))
        )

    def _is_meant(self, audience: frozenset[str]) -> bool:
        if self.owner in audience:
            return True
        return self.is_any_persona and any(member.startswith("persona:") for member in audience)


def view_of(caller: Principal, types: frozenset[str]) -> View:
    """Return what the caller sees of the events of these types."""
    return View(
        caller.namespace,
        frozenset(area for area, scope in AREAS.items() if scope in caller.scopes),
        types,
        f"persona:{caller.persona}" if caller.persona else f"subject:{caller.subject}",
        caller.persona is None and IMPERSONATE in caller.scopes,
    )
