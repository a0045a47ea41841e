"""A task as callers see it, from row to JSON without a model in between."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import orjson

from tmws_shared.database import Row
from tmws_shared.idempotency import Reply
from tmws_shared.replies import etag

READY: Final = "(t.status = 'pending' AND t.unmet = 0)"
BLOCKED: Final = "(t.status = 'pending' AND t.unmet > 0)"
OPEN: Final = "t.status IN ('pending', 'in_progress', 'input_required')"
OVERDUE: Final = f"({OPEN} AND coalesce(t.due_at < now(), false))"
_DEPENDS_ON: Final = (
    "ARRAY(SELECT d.depends_on::text FROM task_dependencies d WHERE d.task_id = t.id ORDER BY d.depends_on)"
)
# Stored JSON goes out as the database wrote it.
_DOCUMENTS: Final = ("metadata", "output_schema", "result")


def view(depends_on: str = _DEPENDS_ON) -> str:
    """Return the columns of a task `t`."""
    return f"""
    t.id::text AS id, t.namespace, t.title, t.description, t.status::text AS status, t.priority::text AS priority,
    t.effective_priority::text AS effective_priority, t.assigned_persona, t.capabilities, t.progress, t.note,
    t.metadata::text AS metadata, t.labels, t.due_at, t.parent_id::text AS parent_id, {depends_on} AS depends_on,
    {READY} AS ready, {BLOCKED} AS blocked, {OVERDUE} AS overdue, t.output_schema::text AS output_schema,
    t.result::text AS result, t.error, t.claimed_by, t.lease_until, t.lease_losses, t.question, t.answer, t.version,
    t.created_at, t.updated_at"""


VIEW: Final = view()


def as_document(row: Row, **more: Any) -> dict[str, Any]:
    """Return a row of `VIEW` as what `dump` takes."""
    document: dict[str, Any] = dict(row)
    for name in _DOCUMENTS:
        if document[name] is not None:
            document[name] = orjson.Fragment(document[name])
    return document | more if more else document


def dump(document: Mapping[str, Any]) -> bytes:
    """Return a document as JSON; times are UTC and end in Z."""
    return orjson.dumps(document, option=orjson.OPT_UTC_Z)


def task_reply(row: Row, status: int = 200, *, has_location: bool = False) -> Reply:
    """Return a row of `VIEW` as an answer with its ETag."""
    headers = {"ETag": etag(row["version"])}
    if has_location:
        headers["Location"] = f"/api/v1/tasks/{row['id']}"
    return Reply(status, dump(as_document(row)), headers)
