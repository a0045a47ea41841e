"""The persona service's HTTP routes."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Query, Request, Response

from tmws_contracts.common import Limit, Page, Slug
from tmws_contracts.persona import NewPersona, Persona, PersonaChange, PersonaStats
from tmws_contracts.persona_figures import PersonaFigures
from tmws_contracts.persona_match import PersonaMatches, PersonaSearch
from tmws_contracts.persona_wake_up import DEFAULT_MAX_CHARS, MaxChars, NamesLookups, WakeUp
from tmws_persona.figures import Figures
from tmws_persona.matching import Matcher
from tmws_persona.service import PersonaService
from tmws_persona.waking import Waking
from tmws_shared.auth import NeedsScope, Principal
from tmws_shared.idempotency import Once
from tmws_shared.replies import IfMatch, send, send_model
from tmws_shared.routing import StrictRouter

router = StrictRouter(prefix="/api/v1/personas", tags=["personas"])
stats_router = StrictRouter(tags=["system"])

CanRead = Annotated[Principal, Depends(NeedsScope("persona:read"))]
CanWrite = Annotated[Principal, Depends(NeedsScope("persona:write"))]


async def _service(request: Request) -> PersonaService:
    return request.app.state.personas


async def _matcher(request: Request) -> Matcher:
    return request.app.state.matcher


async def _figures(request: Request) -> Figures:
    return request.app.state.figures


async def _waking(request: Request) -> Waking:
    return request.app.state.waking


Personas = Annotated[PersonaService, Depends(_service)]


@router.get("", response_model=Page[Persona])
async def list_personas(
    caller: CanRead,
    personas: Personas,
    limit: Limit = 50,
    cursor: Annotated[str | None, Query(max_length=1024)] = None,
) -> Response:
    """List personas by id, a page at a time."""
    return send_model(await personas.list_page(caller, cursor, limit))


@router.post("", response_model=Persona, status_code=201)
async def create_persona(caller: CanWrite, personas: Personas, persona: NewPersona, once: Once) -> Response:
    """Create a persona."""
    return send(await personas.create(caller, persona, once))


@router.post("/match", response_model=PersonaMatches)
async def match_personas(
    caller: CanRead, matcher: Annotated[Matcher, Depends(_matcher)], search: PersonaSearch
) -> Response:
    """Find the personas that fit a piece of work, by capability, words and meaning, best first.

    Without embeddings, capabilities and words alone answer, and it says so.
    """
    return send_model(await matcher.match(caller, search))


@router.get("/{persona_id}", response_model=Persona)
async def get_persona(caller: CanRead, personas: Personas, persona_id: Slug) -> Response:
    """Return a persona."""
    return send_model(await personas.get(caller, persona_id))


@router.put("/{persona_id}", response_model=Persona)
async def update_persona(
    caller: CanWrite, personas: Personas, persona_id: Slug, change: PersonaChange, if_match: IfMatch
) -> Response:
    """Change a persona: the fields given are set, the others stay."""
    return send_model(await personas.update(caller, persona_id, change, if_match))


@router.delete("/{persona_id}", status_code=204)
async def delete_persona(caller: CanWrite, personas: Personas, persona_id: Slug, if_match: IfMatch) -> Response:
    """Delete a persona."""
    await personas.delete(caller, persona_id, if_match)
    return Response(status_code=204)


@router.get("/{persona_id}/stats", response_model=PersonaFigures)
async def get_persona_stats(
    caller: CanRead, figures: Annotated[Figures, Depends(_figures)], persona_id: Slug
) -> Response:
    """Count the tasks, memories and approvals of a persona, as far as the caller may see them.

    A service that is down, or refuses the caller, leaves its part null and named in `missing`.
    """
    return send_model(await figures.of(caller, persona_id))


@router.get("/{persona_id}/wake-up", response_model=WakeUp)
async def wake_up_persona(
    caller: CanRead,
    waking: Annotated[Waking, Depends(_waking)],
    persona_id: Slug,
    max_chars: MaxChars = DEFAULT_MAX_CHARS,
    names_lookups: NamesLookups = True,
) -> Response:
    """Return what an agent needs to go on as this persona: who it is, remembers, has to do, and looks after.

    Everything is read with the caller's rights; private memories are among it when the caller speaks for the persona.
    """
    return send_model(await waking.wake_up(caller, persona_id, max_chars, names_lookups=names_lookups))


@stats_router.get("/stats", response_model=PersonaStats)
async def count_personas(caller: CanRead, personas: Personas) -> Response:
    """Count personas."""
    return send_model(await personas.stats(caller))
