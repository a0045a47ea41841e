"""All SQL of the persona service; every query stays in one namespace."""

from __future__ import annotations

from typing import Any

from sqlalchemy import delete, func, select, update
from sqlmodel import col

from tmws_contracts.persona import NewPersona, Persona
from tmws_persona.models import PersonaRow
from tmws_shared.database import Connection, Row

_COLUMNS = (
    col(PersonaRow.id),
    col(PersonaRow.namespace),
    col(PersonaRow.name),
    col(PersonaRow.description),
    col(PersonaRow.capabilities),
    col(PersonaRow.configuration),
    col(PersonaRow.instructions),
    col(PersonaRow.version),
    col(PersonaRow.created_at),
    col(PersonaRow.updated_at),
)

# One row, or none when the id is taken.
_INSERT = """
    INSERT INTO personas (namespace, id, name, description, capabilities, configuration, instructions)
    VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT DO NOTHING
"""
_PLANT = """
    INSERT INTO persona_seeds (namespace, id, digest) VALUES ($1, $2, $3)
    ON CONFLICT (namespace, id) DO UPDATE SET digest = excluded.digest WHERE persona_seeds.digest <> excluded.digest
    RETURNING (xmax = 0) AS is_new
"""
# Version 1 has never been edited by anybody.
_REFRESH = """
    UPDATE personas SET name = $3, description = $4, capabilities = $5, configuration = $6, instructions = $7
    WHERE namespace = $1 AND id = $2 AND version = 1
"""


class PersonaRepository:
    """The personas of one namespace, through one connection."""

    def __init__(self, connection: Connection, namespace: str) -> None:
        self._connection = connection
        self._namespace = namespace
        self._here = col(PersonaRow.namespace) == namespace

    async def get(self, persona_id: str) -> Persona | None:
        """Return the persona, or None."""
        row = await self._connection.fetchrow(select(*_COLUMNS).where(self._here, col(PersonaRow.id) == persona_id))
        return None if row is None else _persona(row)

    async def lock(self, persona_id: str) -> int | None:
        """Lock the persona until the transaction ends and return its version, or None."""
        statement = select(col(PersonaRow.version)).where(self._here, col(PersonaRow.id) == persona_id)
        return await self._connection.fetchval(statement.with_for_update())

    async def list_page(self, after: str | None, limit: int) -> list[Persona]:
        """Return up to `limit` personas by id, after an id."""
        statement = select(*_COLUMNS).where(self._here).order_by(col(PersonaRow.id)).limit(limit)
        if after is not None:
            statement = statement.where(col(PersonaRow.id) > after)
        return [_persona(row) for row in await self._connection.fetch(statement)]

    async def insert(self, persona_id: str, persona: NewPersona) -> bool:
        """Add a persona and return whether its id was free."""
        return bool(await self._connection.execute(_INSERT, *self._values(persona_id, persona)))

    async def update(self, persona_id: str, values: dict[str, Any]) -> None:
        """Set columns of a persona, its version and updated_at."""
        stamped = {**values, "version": col(PersonaRow.version) + 1, "updated_at": func.now()}
        await self._connection.execute(
            update(PersonaRow).where(self._here, col(PersonaRow.id) == persona_id).values(stamped)
        )

    async def delete(self, persona_id: str) -> None:
        """Delete the persona."""
        await self._connection.execute(delete(PersonaRow).where(self._here, col(PersonaRow.id) == persona_id))

    async def count(self) -> int:
        """Count the personas."""
        return await self._connection.fetchval(select(func.count()).select_from(PersonaRow).where(self._here))

    async def plant(self, persona_id: str, persona: NewPersona, digest: bytes) -> None:
        """Give the namespace a built-in persona once; bring an unedited one up to date."""
        is_new = await self._connection.fetchval(_PLANT, self._namespace, persona_id, digest)
        if is_new is not None:
            statement = _INSERT if is_new else _REFRESH
            await self._connection.execute(statement, *self._values(persona_id, persona))

    def _values(self, persona_id: str, persona: NewPersona) -> tuple[Any, ...]:
        return (
            self._namespace,
            persona_id,
            persona.name,
            persona.description,
            persona.capabilities,
            persona.configuration,
            persona.instructions,
        )


def _persona(row: Row) -> Persona:
    return Persona.model_validate(dict(row))
