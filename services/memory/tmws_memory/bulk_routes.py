"""The HTTP routes of memories in bulk: export and import as streams, near duplicates, consolidation."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress
from typing import Annotated, Any
from uuid import UUID

from fastapi import Depends, Header, Query, Request, Response
from fastapi.responses import StreamingResponse
from starlette.requests import ClientDisconnect
from starlette.types import Receive, Scope, Send

from tmws_contracts.common import Limit, Page
from tmws_contracts.memory_bulk import (
    LEAST_OVERLAP,
    LEAST_SIMILARITY,
    MAX_CLUSTERS,
    NDJSON,
    Consolidation,
    ConsolidationRequest,
    ConsolidationResult,
    Duplicates,
    ImportFormat,
)
from tmws_memory.alike.clusters import Alike, DuplicateFinder
from tmws_memory.alike.consolidating import Consolidator
from tmws_memory.bulk.exporting import Exporter
from tmws_memory.bulk.importer import Importer
from tmws_memory.parameters import CanRead, CanWrite, Filters
from tmws_shared.idempotency import Once
from tmws_shared.problems import InvalidRequest
from tmws_shared.replies import Cursor, send, send_model
from tmws_shared.routing import StrictRouter

bulk_router = StrictRouter(prefix="/api/v1/memory", tags=["memory"])

_KEY = r"^[\x21-\x7e]+$"
_LINES: dict[str, Any] = {
    "description": "One JSON object a line",
    "content": {NDJSON: {"schema": {"type": "string"}}},
}


class LinesResponse(Response):
    """An answer of lines, sent as they come, while the body of the request may still be read."""

    media_type = NDJSON

    def __init__(self, lines: AsyncGenerator[bytes]) -> None:
        super().__init__()
        self._lines = lines

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the lines."""
        headers = [(name, value) for name, value in self.raw_headers if name != b"content-length"]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        with suppress(ClientDisconnect):
            async with aclosing(self._lines) as lines:
                async for line in lines:
                    await send({"type": "http.response.body", "body": line, "more_body": True})
            await send({"type": "http.response.body"})


async def _exporter(request: Request) -> Exporter:
    return request.app.state.exporter


async def _importer(request: Request) -> Importer:
    return request.app.state.importer


async def _finder(request: Request) -> DuplicateFinder:
    return request.app.state.duplicates


async def _consolidator(request: Request) -> Consolidator:
    return request.app.state.consolidator


Consolidating = Annotated[Consolidator, Depends(_consolidator)]


@bulk_router.get("/export", response_class=StreamingResponse, responses={200: _LINES})
async def export_memories(
    caller: CanRead,
    exporter: Annotated[Exporter, Depends(_exporter)],
    filters: Filters,
    vectors: Annotated[bool, Query(description="with the vectors of each memory")] = False,
) -> Response:
    """Stream all memories that the caller owns, oldest first, as NDJSON: a header, a memory a line, a trailer.

    A file without the trailer is cut off. `POST /memory/import` reads it.
    """
    lines = await exporter.open(caller, filters, has_vectors=vectors)
    return StreamingResponse(lines, media_type=NDJSON)


_EXAMPLE = '{"content": "The audit key lies in the vault.", "importance": 0.9, "tags": ["security"]}\n'
_IMPORT_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "description": "NDJSON, or a JSON document; up to 1 GiB, of which one record may have 2 MiB.",
        "content": {
            NDJSON: {"schema": {"type": "string"}, "example": _EXAMPLE},
            "application/json": {"schema": {}},
        },
    }
}


@bulk_router.post(
    "/import", status_code=200, response_class=LinesResponse, responses={200: _LINES}, openapi_extra=_IMPORT_BODY
)
async def import_memories(
    request: Request,
    caller: CanWrite,
    importer: Annotated[Importer, Depends(_importer)],
    format: Annotated[ImportFormat, Query(description="refuse records of any other")] = ImportFormat.AUTO,
    import_id: Annotated[
        str | None, Query(min_length=1, max_length=255, pattern=_KEY, description="go on with the import of this id")
    ] = None,
    idempotency_key: Annotated[
        str | None, Header(min_length=1, max_length=255, pattern=_KEY, description="the same as import_id")
    ] = None,
) -> Response:
    """Take in a file of memories, and say how far it is, a JSON object a line, while it comes.

    Reads our own export, `memory.jsonl` of server-memory, mcp-memory-service's export and mem0's. What is good is
    kept, each bad record is named. A content that is known stays as it is. What has no vectors is embedded in the
    background; words find it at once. An import that was broken off goes on when the file is sent again with its id.
    """
    if import_id and idempotency_key and import_id != idempotency_key:
        raise InvalidRequest.of("@Idempotency-Key", "must be left out beside import_id, or be the same")
    length = request.headers.get("content-length")
    size_bytes = None if length is None else int(length)
    lines = await importer.open(caller, request.stream(), format, import_id or idempotency_key, size_bytes)
    return LinesResponse(lines)


@bulk_router.get("/duplicates", response_model=Duplicates)
async def list_duplicates(
    caller: CanRead,
    finder: Annotated[DuplicateFinder, Depends(_finder)],
    threshold: Annotated[
        float, Query(ge=LEAST_SIMILARITY, le=1, description="least cosine; what is less alike is not kept")
    ] = 0.95,
    overlap: Annotated[
        float, Query(ge=LEAST_OVERLAP, le=1, description="least share of words in common (Jaccard)")
    ] = 0.5,
    limit: Annotated[int, Query(ge=1, le=MAX_CLUSTERS)] = 20,
    cursor: Cursor = None,
) -> Response:
    """List near duplicates among the memories that the caller owns, as clusters. Nothing is changed by that.

    They are looked for in the background; `scan` says how far that is. A page may have fewer clusters than `limit`.
    """
    return send_model(await finder.list_page(caller, Alike(threshold, overlap), cursor, limit))


@bulk_router.post(
    "/consolidate",
    response_model=ConsolidationResult,
    responses={201: {"model": ConsolidationResult, "description": "Done"}},
)
async def consolidate_memories(
    caller: CanWrite, consolidator: Consolidating, wanted: ConsolidationRequest, once: Once
) -> Response:
    """Show what making some memories one would do; with `dry_run: false`, do it (needs memory:delete, too).

    One is kept: with the tags of all, their highest importance, the sum of their store counts, the longest life.
    The others are deleted, and can be brought back for 30 days.
    """
    return send(await consolidator.consolidate(caller, wanted, once))


@bulk_router.get("/consolidations", response_model=Page[Consolidation])
async def list_consolidations(
    caller: CanRead, consolidator: Consolidating, limit: Limit = 50, cursor: Cursor = None
) -> Response:
    """List what was consolidated, newest first, undone or not."""
    return send_model(await consolidator.list_page(caller, cursor, limit))


@bulk_router.post("/consolidations/{consolidation_id}/undo", response_model=Consolidation)
async def undo_consolidation(
    caller: CanWrite, consolidator: Consolidating, consolidation_id: UUID, once: Once
) -> Response:
    """Bring everything back as it was before a consolidation. 409 names the memories that were changed since."""
    return send(await consolidator.undo(caller, consolidation_id, once))
