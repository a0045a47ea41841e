"""Tools on personas."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from tmws_contracts.common import Slug
from tmws_contracts.persona_match import MAX_MATCHES, WorkText
from tmws_mcp_bridge.client import Call, Gateway
from tmws_mcp_bridge.results import JsonObject, list_schema, object_schema, without_blanks
from tmws_mcp_bridge.tools.building import Offer, reading
from tmws_mcp_bridge.waking import PERSONAS, WakeUps

_PERSONA = object_schema({"id": "str", "name": "str", "capabilities": "list", "score": "float"})
_MATCH_OUTPUT = object_schema({"personas": list_schema(_PERSONA), "degraded": "list"}, ["personas"])
_WAKE_UP_OUTPUT = object_schema({"text": "str", "missing": "list"}, ["text"])

Work = Annotated[WorkText, Field(description="what is to be done")]
HowMany = Annotated[int, Field(ge=1, le=MAX_MATCHES)]
PersonaId = Annotated[Slug, Field(description="e.g. athena")]


class PersonaTools:
    """Find personas and become one."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    def tools(self) -> list[Offer]:
        """Return the tools on personas."""
        return [
            reading(self.match_persona, _MATCH_OUTPUT),
            reading(self.wake_up, _WAKE_UP_OUTPUT),
        ]

    async def match_persona(self, text: Work, limit: HowMany = 3) -> JsonObject:
        """Find who is best at a piece of work, e.g. to assign a task.

        Example: {"text": "find out why the search is slow"}
        """
        found = await self._gateway.send(Call("POST", f"{PERSONAS}/match", {"text": text, "limit": limit}))
        personas = [_show(match) for match in found["items"]]
        return {"personas": personas} | without_blanks({"degraded": found.get("degraded")})

    async def wake_up(self, persona_id: PersonaId) -> JsonObject:
        """Learn who you are as a persona: its instructions, memories, board, and what waits for its decision.

        Example: {"persona_id": "athena"}
        """
        pack = await WakeUps(self._gateway).wake_up(persona_id)
        return {"text": pack["text"]} | without_blanks({"missing": pack.get("missing")})


def _show(match: dict[str, Any]) -> JsonObject:
    return without_blanks({**match, "score": round(match["score"], 3)}, ("signals",))
