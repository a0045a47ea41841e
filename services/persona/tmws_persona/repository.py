"""All SQL of the persona service; every query stays in one namespace."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import delete, func, select, update
from sqlmodel import col

from tmws_contracts.persona import NewPersona, Persona
from tmws_persona.models import PersonaRow
from tmws_persona.ranking import Candidate
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

_CANDIDATES = "SELECT id, name, description, capabilities FROM personas WHERE namespace = $1 ORDER BY id"
_VECTORS = """
    SELECT persona_id, digest, embedding FROM persona_vectors WHERE namespace = $1 AND model = $2 AND precision = $3
"""
# In the order of ids, so that two who embed the same personas do not lock each other out; who is deleted stays so.
_KEEP_VECTORS = """
    INSERT INTO persona_vectors (namespace, persona_id, model, precision, digest, embedding)
    SELECT $1, p.id, $2, $3, v.digest, v.embedding
    FROM unnest($4::text[], $5::bytea[], $6::bytea[]) AS v (id, digest, embedding)
    JOIN personas p ON p.namespace = $1 AND p.id = v.id ORDER BY p.id FOR KEY SHARE OF p
    ON CONFLICT (namespace, persona_id, model, precision)
    DO UPDATE SET digest = excluded.digest, embedding = excluded.embedding
"""


@dataclass(frozen=True, slots=True)
class StoredVector:
    """What a persona means to a model; the digest is that of the text it was made of."""

    persona_id: str
    digest: bytes
    embedding: bytes


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

    async def candidates(self) -> list[Candidate]:
        """Return all personas as they may fit a piece of work, by id."""
        rows = await self._connection.fetch(_CANDIDATES, self._namespace)
        return [Candidate(**dict(row), similarity=None) for row in rows]

    async def vectors(self, model: str, precision: str) -> list[StoredVector]:
        """Return the vectors that a model has made."""
        rows = await self._connection.fetch(_VECTORS, self._namespace, model, precision)
        return [StoredVector(**dict(row)) for row in rows]

    async def keep_vectors(self, model: str, precision: str, vectors: Sequence[StoredVector]) -> None:
        """Keep vectors of a model, in place of those it has made before."""
        columns = zip(*((one.persona_id, one.digest, one.embedding) for one in vectors), strict=True)
        await self._connection.execute(_KEEP_VECTORS, self._namespace, model, precision, *map(list, columns))

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
