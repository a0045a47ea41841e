"""What an agent is told when it becomes a persona: its wake-up pack, and what only its own credential may look up."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import anyio

from tmws_mcp_bridge.client import Call, Gateway
from tmws_mcp_bridge.errors import CallFailed
from tmws_mcp_bridge.results import JsonObject
from tmws_shared.fencing import excerpt, fence, label

PERSONAS = "/api/v1/personas"
# An agent that wakes up must not wait for a log.
LOOK_UP_TIMEOUT_S = 5.0
SHOWN = 20
_OWN_PATH = re.compile(r"/api/v1/[a-z]+(?:\?|$)")
RESOURCE_CHARS = 160
# What tells two records apart for a reader; hashes and digests are for who verifies the chain.
_FACTS = {
    "status": "status",
    "decision": "decision",
    "subject": "by",
    "persona": "persona",
    "key_id": "key",
    "address": "address",
    "request_id": "request",
}


class WakeUps:
    """Wakes agents up."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    async def wake_up(self, persona_id: str) -> JsonObject:
        """Return the pack of a persona; its `text` has what the calls of its `look_up` answer, too.

        Raises:
            CallFailed: there is no pack.
        """
        query = {"names_lookups": "false"}
        pack = await self._gateway.send(Call("GET", f"{PERSONAS}/{persona_id}/wake-up", query=query))
        parts = [await self._look_up(duty) for duty in pack["duties"] if duty["look_up"]]
        return {**pack, "text": "\n\n".join([pack["text"], *parts])}

    async def _look_up(self, duty: JsonObject) -> str:
        wanted: list[JsonObject] = duty["look_up"]
        answers = ["It did not answer in time."] * len(wanted)

        async def ask(place: int) -> None:
            answers[place] = await self._ask(wanted[place]["path"])

        with anyio.move_on_after(LOOK_UP_TIMEOUT_S):
            async with anyio.create_task_group() as group:
                for place in range(len(wanted)):
                    group.start_soon(ask, place)
        shown = [f"{_title(one)}\n{answer}" for one, answer in zip(wanted, answers, strict=True)]
        return "\n\n".join([f"## {duty['title']}", *shown])

    async def _ask(self, path: str) -> str:
        # The credential of the caller goes with it.
        if not _OWN_PATH.match(path):
            return "It is not a call of TMWS."
        try:
            page = await self._gateway.send(Call("GET", path))
        except CallFailed as failure:
            return str(failure)
        return _records(page["items"], is_cut=page["next_cursor"] is not None)


def _title(lookup: JsonObject) -> str:
    shows = str(lookup["shows"])
    return f"### {shows[:1].upper()}{shows[1:]}"


def _records(items: Sequence[JsonObject], *, is_cut: bool) -> str:
    if not items:
        return "Nothing."
    lines = [fence([_line(item) for item in items[:SHOWN]])]
    if is_cut or len(items) > SHOWN:
        lines.append("(There are more.)")
    return "\n".join(lines)


def _line(record: JsonObject) -> str:
    """A record of the audit log on one line: what it is, what is known of it and where from, and then what was done."""
    known = [f"audit record {record['seq']}"]
    known += [f"{name}: {_said(value)}" for field, name in _FACTS.items() if (value := record.get(field)) is not None]
    if record["repeats"] > 1:
        known.append(f"times: {record['repeats']}")
    at = f"{str(record['occurred_at'])[:16].replace('T', ' ')}"
    action, resource = str(record["action"]), str(record["resource"])
    done = action if action.endswith(f" {resource}") else f"{action}: {resource}"
    return f"- [{'; '.join(known)}; from the audit log, {at}] {excerpt(done, RESOURCE_CHARS)}"


def _said(value: Any) -> str:
    return label(str(value))
