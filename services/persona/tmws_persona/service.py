"""What can be done with personas; each method is one transaction."""

from __future__ import annotations

import re

from tmws_contracts.common import Page
from tmws_contracts.persona import NewPersona, Persona, PersonaChange, PersonaStats
from tmws_persona.errors import IdNeeded, PersonaExists, PersonaNotFound, ReservedId
from tmws_persona.repository import PersonaRepository
from tmws_persona.seeds import built_in_personas, digest
from tmws_shared.auth import Principal
from tmws_shared.database import Connection, Database
from tmws_shared.idempotency import Attempt, Reply, do_once
from tmws_shared.pagination import Cursors
from tmws_shared.replies import match_version, reply

ID_MAX_LENGTH = 100
DEFAULT_NAMESPACE = "default"
# `POST /personas/match` hides a persona of this name from the gateway's table of routes.
RESERVED_ID = "match"


class PersonaService:
    """The personas of all namespaces; a caller sees only its own."""

    def __init__(self, database: Database, cursors: Cursors) -> None:
        self._database = database
        self._cursors = cursors
        self._seeded: set[str] = set()

    async def seed(self, namespace: str = DEFAULT_NAMESPACE) -> None:
        """Give a namespace the built-in personas it has not had yet."""
        if namespace in self._seeded:
            return
        async with self._database.transaction() as connection:
            personas = PersonaRepository(connection, namespace)
            for persona in built_in_personas():
                await personas.plant(make_id(persona), persona, digest(persona))
        self._seeded.add(namespace)

    async def create(self, caller: Principal, persona: NewPersona, attempt: Attempt) -> Reply:
        """Create a persona.

        Raises:
            PersonaExists: its id is taken.
            IdNeeded: no id was given, and the name makes none.
            ReservedId: it is the name of a call.
        """
        await self.seed(caller.namespace)
        persona_id = make_id(persona)

        async def work(connection: Connection) -> Reply:
            personas = PersonaRepository(connection, caller.namespace)
            if not await personas.insert(persona_id, persona):
                raise PersonaExists
            return reply(await _view(personas, persona_id), 201, location=f"/api/v1/personas/{persona_id}")

        return await do_once(self._database, attempt, work)

    async def get(self, caller: Principal, persona_id: str) -> Persona:
        """Return a persona.

        Raises:
            PersonaNotFound: there is none.
        """
        await self.seed(caller.namespace)
        async with self._database.connection() as connection:
            return await _view(PersonaRepository(connection, caller.namespace), persona_id)

    async def list_page(self, caller: Principal, cursor: str | None, limit: int) -> Page[Persona]:
        """Return a page of personas, by id.

        Raises:
            MalformedRequest: the cursor belongs to another list.
        """
        await self.seed(caller.namespace)
        context = {"list": "personas", "namespace": caller.namespace}
        after = self._cursors.decode(cursor, **context)
        async with self._database.connection() as connection:
            found = await PersonaRepository(connection, caller.namespace).list_page(
                after[0] if after else None, limit + 1
            )
        return self._cursors.page([(persona, [persona.id]) for persona in found], limit, **context)

    async def update(self, caller: Principal, persona_id: str, change: PersonaChange, if_match: str | None) -> Persona:
        """Set the fields that `change` was given.

        Raises:
            PersonaNotFound: there is none.
            PreconditionFailed: it is not the version that `if_match` names.
        """
        await self.seed(caller.namespace)
        values = {name: getattr(change, name) for name in change.model_fields_set}
        async with self._database.transaction() as connection:
            personas = PersonaRepository(connection, caller.namespace)
            await _lock(personas, persona_id, if_match)
            if values:
                await personas.update(persona_id, values)
            return await _view(personas, persona_id)

    async def delete(self, caller: Principal, persona_id: str, if_match: str | None) -> None:
        """Delete a persona; a built-in one does not come back.

        Raises:
            PersonaNotFound: there is none.
        """
        await self.seed(caller.namespace)
        async with self._database.transaction() as connection:
            personas = PersonaRepository(connection, caller.namespace)
            await _lock(personas, persona_id, if_match)
            await personas.delete(persona_id)

    async def stats(self, caller: Principal) -> PersonaStats:
        """Count the namespace's personas."""
        await self.seed(caller.namespace)
        async with self._database.connection() as connection:
            return PersonaStats(personas=await PersonaRepository(connection, caller.namespace).count())


def make_id(persona: NewPersona) -> str:
    """Return the persona's id, made from its name when it has none.

    Raises:
        IdNeeded: the name has no letter or digit that an id may have.
        ReservedId: it is the name of a call.
    """
    made = persona.id or re.sub(r"[^a-z0-9]+", "-", persona.name.lower()).strip("-")[:ID_MAX_LENGTH]
    if not made:
        raise IdNeeded
    if made == RESERVED_ID:
        raise ReservedId
    return made


async def _view(personas: PersonaRepository, persona_id: str) -> Persona:
    persona = await personas.get(persona_id)
    if persona is None:
        raise PersonaNotFound
    return persona


async def _lock(personas: PersonaRepository, persona_id: str, if_match: str | None) -> None:
    version = await personas.lock(persona_id)
    if version is None:
        raise PersonaNotFound
    match_version(if_match, version)
