"""The HTTP routes of the audit log."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Depends, Query, Response
from fastapi.responses import StreamingResponse

from tmws_contracts.audit import MAX_VERIFIED, AuditEvent, AuditVerification, Decision
from tmws_contracts.common import Limit, Page, UtcTime
from tmws_gateway.audit.exporting import NDJSON
from tmws_gateway.parameters import Caller, OurParts
from tmws_gateway.repository.audit import AuditFilter
from tmws_gateway.upstreams import PREFIX
from tmws_shared.replies import Cursor, send_model
from tmws_shared.routing import StrictRouter

audit_router = StrictRouter(prefix=PREFIX, tags=["system"])

Word = Annotated[str | None, Query(min_length=1, max_length=255)]


async def _filter(  # noqa: PLR0913 -- one parameter a filter
    subject: Word = None,
    key_id: Word = None,
    persona: Word = None,
    address: Word = None,
    action: Annotated[str | None, Query(max_length=255, description="method and route")] = None,
    resource: Annotated[str | None, Query(max_length=512)] = None,
    decision: Decision | None = None,
    status: Annotated[int | None, Query(ge=100, le=599)] = None,
    request_id: Word = None,
    trace_id: Word = None,
    since: UtcTime | None = None,
    until: UtcTime | None = None,
) -> AuditFilter:
    return AuditFilter(
        subject, key_id, persona, address, action, resource, decision, status, request_id, trace_id, since, until
    )


Wanted = Annotated[AuditFilter, Depends(_filter)]
_LINES: dict[str, Any] = {
    "description": "One JSON object a line: the records, then the signature of the file",
    "content": {NDJSON: {"schema": {"type": "string"}}},
}


@audit_router.get("/audit", response_model=Page[AuditEvent])
async def list_audit(
    caller: Caller,
    parts: OurParts,
    wanted: Wanted,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> Response:
    """List who changed or was refused what, newest first."""
    await parts.audit_log.flush()
    return send_model(await parts.audit.list_page(caller, wanted, cursor, limit))


@audit_router.get("/audit/verify", response_model=AuditVerification)
async def verify_audit(
    parts: OurParts,
    after: Annotated[int, Query(ge=0, le=2**63 - 1, description="go on after this record; 0 from the first")] = 0,
    limit: Annotated[int, Query(ge=1, le=MAX_VERIFIED, description="records to check")] = MAX_VERIFIED,
) -> Response:
    """Compute the chain of records again, compare it with its signed checkpoints, and name the first that is wrong.

    The chain is one for all namespaces. Go on with `next` until it is null.
    """
    return send_model(await parts.audit.verify(after, limit))


@audit_router.get("/audit/export", response_class=StreamingResponse, responses={200: _LINES})
async def export_audit(caller: Caller, parts: OurParts, wanted: Wanted) -> Response:
    """Stream records as NDJSON, oldest first, with their hashes; the last line signs the file.

    `tmws audit verify --file` checks it without the database. A file without its last line is cut off.
    """
    await parts.audit_log.flush()
    return StreamingResponse(await parts.audit.export(caller, wanted), media_type=NDJSON)
