"""What an agent is told when it becomes a persona."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from tmws_contracts.persona import Persona
from tmws_contracts.persona_wake_up import Identity, WakeUp
from tmws_persona.asking import Asking
from tmws_persona.board import approvals_of, board_of, memories_of, speaks_for
from tmws_persona.duties.register import duties_of, report_on
from tmws_persona.service import PersonaService
from tmws_persona.wake_up_text import fit, identity_within
from tmws_shared.auth import Principal
from tmws_shared.clock import now
from tmws_shared.http import ServiceClient


class Waking:
    """Brings together what other services know of a persona."""

    def __init__(self, personas: PersonaService, clients: Mapping[str, ServiceClient]) -> None:
        self._personas = personas
        self._clients = clients

    async def wake_up(
        self, caller: Principal, persona_id: str, max_chars: int, *, names_lookups: bool = True
    ) -> WakeUp:
        """Return the wake-up pack of a persona; a service that is down or refuses leaves a note.

        Its text names the calls of `look_up` unless `names_lookups` is false.

        Raises:
            PersonaNotFound: there is no such persona.
        """
        persona = await self._personas.get(caller, persona_id)
        asking = Asking(self._clients, caller, persona_id)
        memories, board, approvals, duties = await asyncio.gather(
            asking.part("memories", memories_of(asking)),
            asking.part("board", board_of(asking)),
            asking.part("approvals", approvals_of(asking)),
            report_on(asking, duties_of(persona.configuration)),
        )
        pack = WakeUp(
            persona=identity_within(_identity(persona), max_chars),
            speaks_for=speaks_for(asking),
            memories=memories,
            board=board,
            approvals=approvals,
            duties=duties,
            missing=sorted(asking.missing, key=lambda gap: gap.part),
            made_at=now(),
            text="",
        )
        return fit(pack, max_chars, names_lookups=names_lookups)


def _identity(persona: Persona) -> Identity:
    return Identity(
        id=persona.id,
        name=persona.name,
        description=persona.description,
        capabilities=persona.capabilities,
        instructions=persona.instructions,
        is_cut=False,
        version=persona.version,
    )
