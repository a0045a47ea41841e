"""What a caller may be allowed to do."""

from __future__ import annotations

_RIGHTS = {
    "memory": "read write delete share",
    "task": "read write",
    "workflow": "read write run approve",
    "persona": "read write impersonate",
    "audit": "read",
    "keys": "admin",
    "metrics": "read",
}

SCOPES = frozenset(f"{area}:{right}" for area, rights in _RIGHTS.items() for right in rights.split())
