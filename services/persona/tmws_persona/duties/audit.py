"""The audit log: the duty of who guards. Only the gateway has it, and shows it for a credential of the caller's own."""

from __future__ import annotations

from typing import Final

from tmws_contracts.persona_wake_up import Lookup, Reason
from tmws_persona.asking import Asking
from tmws_persona.errors import PartMissing

SCOPE: Final = "audit:read"
_AUDIT: Final = "/api/v1/audit"
LOOKUPS: Final = (
    Lookup(path=f"{_AUDIT}?decision=denied&limit=20", shows="the latest refusals: who tried what, from where"),
    Lookup(path=f"{_AUDIT}?action=POST%20/api/v1/keys&limit=5", shows="the latest new keys"),
    Lookup(path=f"{_AUDIT}?action=POST%20/api/v1/keys/{{id}}/rotate&limit=5", shows="the latest rotated keys"),
    Lookup(path=f"{_AUDIT}?action=DELETE%20/api/v1/keys/{{id}}&limit=5", shows="the latest revoked keys"),
)


async def look_up(asking: Asking) -> list[Lookup]:
    """Return the calls that show it.

    Raises:
        PartMissing: they would be refused.
    """
    if SCOPE not in asking.caller.scopes:
        raise PartMissing(Reason.FORBIDDEN, f"This needs the scope {SCOPE}.")
    return list(LOOKUPS)
