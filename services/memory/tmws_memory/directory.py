"""The numbers of collections and models: small tables that only grow, so what was read once stays true."""

from __future__ import annotations

from typing import Final

from tmws_shared.database import Database

# Two who ask for a new one at once both get it: the later one waits for the first one's row.
_COLLECTION: Final = """
    INSERT INTO memory_collections (namespace, owner) VALUES ($1, $2)
    ON CONFLICT (namespace, owner) DO UPDATE SET owner = EXCLUDED.owner RETURNING id
"""
_MODEL: Final = """
    INSERT INTO memory_models (name, precision) VALUES ($1, $2)
    ON CONFLICT (name, precision) DO UPDATE SET name = EXCLUDED.name RETURNING id
"""
MOST_KNOWN = 100_000


class Directory:
    """Finds and makes collections and models, each in a transaction of its own: ask before you open yours."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._collections: dict[tuple[str, str], int] = {}
        self._models: dict[tuple[str, str], int] = {}

    async def collection(self, namespace: str, owner: str) -> int:
        """Return the number of a collection, made when it is not there."""
        return await self._number(self._collections, (namespace, owner), _COLLECTION)

    async def model(self, name: str, precision: str) -> int:
        """Return the number of a model, made when it is not there."""
        return await self._number(self._models, (name, precision), _MODEL)

    async def _number(self, known: dict[tuple[str, str], int], key: tuple[str, str], make: str) -> int:
        if key not in known:
            if len(known) >= MOST_KNOWN:
                known.clear()
            known[key] = await self._database.fetchval(make, *key)
        return known[key]
