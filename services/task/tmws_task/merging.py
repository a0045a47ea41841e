"""JSON merge patch (RFC 7396). No I/O."""

from __future__ import annotations

from typing import Any, cast

from tmws_contracts.common import JsonObject


def merge_patch(target: Any, patch: Any) -> Any:
    """Return a JSON value with a merge patch applied: null removes a member, an object is merged, all else replaces."""
    if not isinstance(patch, dict):
        return patch
    merged = dict(cast("JsonObject", target)) if isinstance(target, dict) else {}
    for name, value in cast("JsonObject", patch).items():
        if value is None:
            merged.pop(name, None)
        else:
            merged[name] = merge_patch(merged.get(name), value)
    return merged
