"""The persona service's HTTP routes."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request, Response

from tmws_contracts.common import Limit, Page, Slug
from tmws_contracts.persona import NewPersona, Persona, PersonaChange, PersonaStats
from tmws_persona.service import PersonaService
from tmws_shared.auth import NeedsScope, Principal
from tmws_shared.idempotency import Once
from tmws_shared.replies import IfMatch, send, send_model

router = APIRouter(prefix="/api/v1/personas", tags=["personas"])
stats_router = APIRouter(tags=["system"])

CanRead = Annotated[Principal, Depends(NeedsScope("persona:read"))]
CanWrite = Annotated[Principal, Depends(NeedsScope("persona:write"))]


async def _service(request: Request) -> PersonaService:
    return request.app.state.personas


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


@stats_router.get("/stats", response_model=PersonaStats)
async def count_personas(caller: CanRead, personas: Personas) -> Response:
    """Count personas."""
    return send_model(await personas.stats(caller))
