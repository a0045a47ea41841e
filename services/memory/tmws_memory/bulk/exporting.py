"""Exports: all memories that a caller owns, page by page, oldest first, as lines."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

import numpy as np
from pydantic import BaseModel

from tmws_contracts.memory import SearchFilters
from tmws_contracts.memory_bulk import (
    EXPORT_FORMAT,
    EXPORT_VERSION,
    ExportedMemory,
    ExportHeader,
    ExportTrailer,
    PackedVectors,
)
from tmws_memory.repository import FROM, VIEW
from tmws_memory.visibility import LIVE, MINE, OWNED, Reader, add_filters, reader_for
from tmws_shared.auth import Principal
from tmws_shared.clock import now
from tmws_shared.database import Database, Row
from tmws_shared.pagination import Conditions
from tmws_shared.replies import dump

# With vectors about 2 KiB a memory; a page of the longest contents is 25 MiB.
PAGE: Final = 400
_COUNTED: Final = 10_000
_COUNT: Final = f"""
    SELECT coalesce(sum(c.folded), 0)::bigint + (
        SELECT count(*) FROM (SELECT FROM memory_fresh f WHERE f.collection = ANY(array_agg(c.id)) LIMIT {_COUNTED}) f)
    FROM memory_collections c WHERE {MINE}
"""  # noqa: S608 -- our own fragments
# By the index of the newest, backwards.
_PAGE: Final = f"""
    SELECT {VIEW}, m.number, m.model FROM {FROM}
    WHERE m.namespace = $1 AND {OWNED} AND {LIVE} {{filters}}
    ORDER BY m.created_at, m.id LIMIT {PAGE}
"""  # noqa: S608 -- our own fragments
_SHELVES: Final = f"SELECT DISTINCT c.shelf FROM memory_collections c WHERE {MINE}"  # noqa: S608 -- our own fragments
# What settles meanwhile may lie on two shelves; it is the same.
_VECTORS: Final = """
    SELECT DISTINCT ON (v.number, v.position) v.number, halfvec_send(v.embedding) AS embedding
    FROM unnest($1::bigint[], $2::smallint[]) n (number, model)
    JOIN memory_vectors v ON v.number = n.number AND v.model = n.model AND v.shelf = ANY($3::integer[])
    ORDER BY v.number, v.position
"""
# Its dimension and a zero go before the numbers of a halfvec.
_HALFVEC_HEAD_BYTES: Final = 4
_FIELDS: Final = tuple(name for name in ExportedMemory.model_fields if name != "embedding")


@dataclass(frozen=True, slots=True)
class Export:
    """What is exported."""

    reader: Reader
    filters: SearchFilters
    has_vectors: bool
    at: datetime


class Exporter:
    """Writes out memories."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def open(self, caller: Principal, filters: SearchFilters, *, has_vectors: bool) -> AsyncGenerator[bytes]:
        """Return the lines of an export: a header, the memories as they were made, a trailer.

        Each page of them is of one moment; what is changed while the export runs may be in it before or after.
        """
        export = Export(reader_for(caller), filters, has_vectors, now())
        estimate = None
        if filters == SearchFilters():
            estimate = await self._database.fetchval(_COUNT, *export.reader.owning)
        header = ExportHeader(
            format=EXPORT_FORMAT,
            version=EXPORT_VERSION,
            exported_at=export.at,
            vectors=has_vectors,
            count_estimate=estimate,
        )
        return self._lines(export, header)

    async def _lines(self, export: Export, header: ExportHeader) -> AsyncGenerator[bytes]:
        yield _line(header)
        count, after = 0, None
        while rows := await self._page(export, after):
            count += len(rows)
            after = (rows[-1]["created_at"], rows[-1]["id"])
            vectors = await self._vectors(export, rows) if export.has_vectors else {}
            yield b"".join(_line(_exported(row, vectors.get(row["number"]))) for row in rows)
        yield _line(ExportTrailer(end=EXPORT_FORMAT, count=count))

    async def _page(self, export: Export, after: tuple[datetime, UUID] | None) -> list[Row]:
        where = Conditions(*export.reader.owning)
        add_filters(where, export.filters)
        # Without an end, an export could run after those who store.
        where.add("m.created_at <= {}", export.at)
        if after is not None:
            where.add("m.created_at >= {}", after[0])
            where.add(f"(m.created_at, m.id) > (${len(where.values)}, {{}})", after[1])
        return await self._database.fetch(_PAGE.format(filters=where.sql()), *where.values)

    async def _vectors(self, export: Export, rows: Sequence[Row]) -> dict[int, list[str]]:
        embedded = [row for row in rows if row["model"] is not None]
        shelves = [row["shelf"] for row in await self._database.fetch(_SHELVES, *export.reader.owning)]
        found = await self._database.fetch(
            _VECTORS, [row["number"] for row in embedded], [row["model"] for row in embedded], [0, *shelves]
        )
        vectors: dict[int, list[str]] = {}
        for row in found:
            vectors.setdefault(row["number"], []).append(_packed(row["embedding"]))
        return vectors


def _packed(halfvec: bytes) -> str:
    numbers = np.frombuffer(halfvec, ">f2", offset=_HALFVEC_HEAD_BYTES)
    return b64encode(numbers.astype("<f2").tobytes()).decode()


def _exported(row: Row, vectors: list[str] | None) -> ExportedMemory:
    fields: dict[str, Any] = {name: row[name] for name in _FIELDS}
    if vectors:
        fields["embedding"] = PackedVectors.model_construct(
            model=row["embedding_model"], precision=row["embedding_precision"], dtype="float16", vectors=vectors
        )
    return ExportedMemory.model_validate(fields)


def _line(model: BaseModel) -> bytes:
    return dump(model) + b"\n"
