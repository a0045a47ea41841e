"""Last part: who the personas are, and what the audit trail says of all that."""

from __future__ import annotations

import asyncio
from collections import Counter
from datetime import datetime
from typing import Any

from tmws_local.demo.api import Api, DemoFailed
from tmws_local.demo.screen import Screen

_PERSONAS = frozenset({"athena", "artemis", "hestia", "eris", "hera", "muses"})
_EXPECTED = (
    "POST /api/v1/memory/store",
    "POST /api/v1/tasks",
    "PUT /api/v1/tasks/{id}",
    "POST /api/v1/tasks/{id}/complete",
    "POST /api/v1/workflows",
    "POST /api/v1/workflows/{id}/execute",
)
_WAIT_S = 10.0
_LOOK_EVERY_S = 0.25


async def show_personas(api: Api, screen: Screen) -> None:
    """List the personas.

    Raises:
        DemoFailed: one of the six that come with TMWS is missing.
    """
    personas = {persona["id"]: persona for persona in (await api.get("/personas", limit=200))["items"]}
    for persona in personas.values():
        screen.say(f"{persona['id']:<10} {persona['description'] or ''}", 2, hanging=11)
    if missing := _PERSONAS - personas.keys():
        raise DemoFailed(f"the personas {sorted(missing)} are missing")


async def show_audit(api: Api, screen: Screen, since: datetime) -> None:
    """Count what the audit trail has of this demo, and show its last records.

    Raises:
        DemoFailed: something that was done is not there.
    """
    events = await _complete_trail(api, since)
    counts = Counter(event["action"] for event in events)
    screen.say(f"{len(events)} changes were recorded while this ran, who did them and what came of them:")
    for action, count in counts.most_common():
        screen.row(f"{count:>5} x {action}")
    screen.gap()
    screen.say("Some of them (the fields that came with each by name only; contents are never recorded):")
    for event in _one_of_each(events):
        screen.row(
            f"{event['occurred_at'][11:19]}  {event['subject'] or 'nobody'} {event['decision']} {event['status']}  "
            f"{event['action']}  {', '.join(event['changed_fields'])}"
        )


def _one_of_each(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The latest record of each kind, in the order of time."""
    return sorted({event["action"]: event for event in reversed(events)}.values(), key=lambda event: event["seq"])


async def _complete_trail(api: Api, since: datetime) -> list[dict[str, Any]]:
    """Records are written in batches, a moment after the answer."""
    deadline = asyncio.get_running_loop().time() + _WAIT_S
    while True:
        events = await _trail(api, since)
        missing = set(_EXPECTED) - {event["action"] for event in events}
        if not missing:
            return events
        if asyncio.get_running_loop().time() > deadline:
            raise DemoFailed(f"the audit trail has no {', '.join(sorted(missing))}")
        await asyncio.sleep(_LOOK_EVERY_S)


async def _trail(api: Api, since: datetime) -> list[dict[str, Any]]:
    events: list[dict[str, Any]] = []
    query: dict[str, Any] = {"limit": 200, "since": since.isoformat()}
    while True:
        page = await api.get("/audit", **query)
        events += page["items"]
        if page["next_cursor"] is None:
            return events
        query["cursor"] = page["next_cursor"]
