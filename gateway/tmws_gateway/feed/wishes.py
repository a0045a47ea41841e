"""What a caller asks of the feed: which events, and from where."""

from __future__ import annotations

import re
from collections.abc import Iterable

from tmws_contracts.events import AREAS
from tmws_gateway.feed.entries import EntryId, parse_id
from tmws_shared.auth import Principal
from tmws_shared.problems import InvalidRequest

_TYPE = re.compile(r"([a-z_]+)\.(?:\*|[a-z_]+)", re.ASCII)


def wanted_types(caller: Principal, given: Iterable[str]) -> frozenset[str]:
    """Return the types in lists separated by commas.

    Raises:
        InvalidRequest: one is no type of event.
        Forbidden: the caller may not see events of one, or none at all.
    """
    types = frozenset(part.strip() for text in given for part in text.split(",") if part.strip())
    areas = {_area_of(kind) for kind in types} or set(AREAS)
    if not types and not caller.scopes.isdisjoint(AREAS.values()):
        return types
    for area in sorted(areas):
        caller.allow(AREAS[area])
    return types


def place_of(last_event_id: str | None) -> EntryId | None:
    """Return the place that a Last-Event-ID names; None without one.

    Raises:
        InvalidRequest: it is no id of an event.
    """
    if not last_event_id:
        return None
    place = parse_id(last_event_id)
    if place is None:
        raise InvalidRequest.of("@last-event-id", "must be the id of an event of this feed")
    return place


def _area_of(kind: str) -> str:
    found = _TYPE.fullmatch(kind)
    if found is None or found[1] not in AREAS:
        areas = ", ".join(f"{area}.*" for area in AREAS)
        raise InvalidRequest.of("?types", f"must be types of events such as task.completed, or of {areas}")
    return found[1]
