"""What a persona has and does, counted by the services that own it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from tmws_contracts.common import JsonObject
from tmws_contracts.persona_figures import PersonaFigures
from tmws_persona.asking import Asking
from tmws_persona.service import PersonaService
from tmws_shared.auth import Principal
from tmws_shared.clock import now
from tmws_shared.http import ServiceClient

# Each part, and the service that counts it.
PARTS = {"tasks": "task", "memories": "memory", "workflows": "workflow"}


class Figures:
    """Has other services count what they have of a persona."""

    def __init__(self, personas: PersonaService, clients: Mapping[str, ServiceClient]) -> None:
        self._personas = personas
        self._clients = clients

    async def of(self, caller: Principal, persona_id: str) -> PersonaFigures:
        """Return what the caller may know of a persona; a service that is down or refuses leaves a note.

        Raises:
            PersonaNotFound: there is no such persona.
        """
        persona = await self._personas.get(caller, persona_id)
        asking = Asking(self._clients, caller, persona.id)
        counted = await asyncio.gather(*(asking.part(part, _count(asking, service)) for part, service in PARTS.items()))
        return PersonaFigures.model_validate(
            {
                "persona_id": persona.id,
                **dict(zip(PARTS, counted, strict=True)),
                "missing": sorted(asking.missing, key=lambda gap: gap.part),
                "made_at": now(),
            }
        )


async def _count(asking: Asking, service: str) -> JsonObject:
    return await asking.get(service, f"/stats/personas/{asking.persona_id}")
