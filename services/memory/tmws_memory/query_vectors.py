"""The vectors of queries: by every model that memories have been embedded with, as long as it is served."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from time import monotonic
from typing import Final, TypeAlias

from tmws_memory.directory import Directory
from tmws_memory.embedding_client import EmbeddingClient
from tmws_shared.auth import Principal
from tmws_shared.database import Database
from tmws_shared.embedding import ModelName

KEPT: Final = 1_000
# A worker that finds a new model waits for longer than this before it changes the first vector (pending.py).
REFRESH_S: Final = 5.0
# A model by its number, and the vector by it, a halfvec.
QueryVector: TypeAlias = tuple[int, bytes]

_IN_USE: Final = """
    SELECT e.id, e.name, e.precision FROM memory_models e
    WHERE e.id = (SELECT max(id) FROM memory_models)
       OR EXISTS (SELECT 1 FROM memories m WHERE m.model = e.id AND m.deleted_at IS NULL)
"""


class QueryVectors:
    """Embeds queries, and keeps the latest thousand: agents ask the same thing again and again."""

    def __init__(self, database: Database, directory: Directory, embedding: EmbeddingClient) -> None:
        self._database = database
        self._directory = directory
        self._embedding = embedding
        self._kept: OrderedDict[str, Sequence[QueryVector]] = OrderedDict()
        self._in_use: dict[int, ModelName] = {}
        self._refresh_at = 0.0

    async def of(self, caller: Principal, query: str) -> Sequence[QueryVector]:
        """Return the query's vector by number of model.

        Raises:
            EmbeddingDown: it cannot be had now.
        """
        if monotonic() > self._refresh_at:
            await self._refresh(caller)
        kept = self._kept.get(query)
        if kept is not None:
            self._kept.move_to_end(query)
            return kept
        self._kept[query] = vectors = await self._embed(caller, query)
        if len(self._kept) > KEPT:
            self._kept.popitem(last=False)
        return vectors

    async def _embed(self, caller: Principal, query: str) -> Sequence[QueryVector]:
        made = await self._embedding.embed_query(caller, query)
        current = await self._directory.model(made.model, made.precision)
        vectors = [(current, made.values[0])]
        for number, name in self._in_use.items():
            if number != current:
                vectors.append((number, (await self._embedding.embed_query(caller, query, name)).values[0]))
        return vectors

    async def _refresh(self, caller: Principal) -> None:
        """Look which models are in use; when that has changed, what is kept is worth nothing."""
        self._refresh_at = monotonic() + REFRESH_S
        rows = await self._database.fetch(_IN_USE)
        in_use = {row["id"]: ModelName(row["name"], row["precision"]) for row in rows}
        if len(in_use) > 1:
            served = await self._embedding.served(caller)
            in_use = {number: name for number, name in in_use.items() if name in served}
        if in_use != self._in_use:
            self._in_use = in_use
            self._kept.clear()
