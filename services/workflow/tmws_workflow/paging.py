"""Pages of lists."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tmws_contracts.common import Page
from tmws_shared.pagination import Cursors


def page_of(cursors: Cursors, found: Sequence[tuple[Any, list[Any]]], limit: int, context: dict[str, Any]) -> Page[Any]:
    """Return a page of what was found, each with its position; one more than `limit` promises another page."""
    more = len(found) > limit
    next_cursor = cursors.encode(found[limit - 1][1], **context) if more else None
    return Page(items=[item for item, _ in found[:limit]], next_cursor=next_cursor)
