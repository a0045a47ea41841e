"""SQL of shares: who besides its owners sees a memory, and for how long."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from tmws_contracts.memory_changes import Share
from tmws_shared.database import Connection, Row

_VIEW: Final = "id, memory_id, namespace, nullif(persona, '') AS persona_id, created_at, created_by, expires_at"
_ACTIVE: Final = f"""SELECT {_VIEW} FROM memory_shares
    WHERE memory_id = $1 AND namespace = $2 AND persona = $3 AND revoked_at IS NULL"""  # noqa: S608 -- our own fragments
_ADD: Final = f"""
    INSERT INTO memory_shares (id, memory_id, namespace, persona, created_by, expires_at)
    VALUES ($1, $2, $3, $4, $5, $6) RETURNING {_VIEW}
"""  # noqa: S608 -- our own fragments
_RENEW: Final = f"UPDATE memory_shares SET expires_at = $2 WHERE id = $1 RETURNING {_VIEW}"  # noqa: S608 -- our own fragments
_REVOKE: Final = f"""UPDATE memory_shares SET revoked_at = now()
    WHERE memory_id = $1 AND id = $2 AND revoked_at IS NULL RETURNING {_VIEW}"""  # noqa: S608 -- our own fragments
_PAGE: Final = f"""
    SELECT {_VIEW} FROM memory_shares
    WHERE memory_id = $1 AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > now())
      AND ($2::uuid IS NULL OR id > $2) ORDER BY id LIMIT $3
"""  # noqa: S608 -- our own fragments


@dataclass(frozen=True, slots=True)
class Grantee:
    """To whom a memory is shown: a persona of a namespace, or all of it (persona empty)."""

    namespace: str
    persona: str = ""


class Shares:
    """The shares of one memory, whose row is locked while they change."""

    def __init__(self, connection: Connection, memory_id: UUID) -> None:
        self._connection = connection
        self._memory_id = memory_id

    async def find(self, grantee: Grantee) -> Share | None:
        """Return the share with somebody that has not been revoked; it may have expired."""
        return _share(await self._connection.fetchrow(_ACTIVE, self._memory_id, grantee.namespace, grantee.persona))

    async def add(self, share_id: UUID, grantee: Grantee, by: str, expires_at: datetime | None) -> Share:
        """Show the memory to somebody."""
        values = (share_id, self._memory_id, grantee.namespace, grantee.persona, by, expires_at)
        return _share_of(await self._connection.fetchrow(_ADD, *values))

    async def renew(self, share: Share, expires_at: datetime | None) -> Share:
        """Let a share end at another time."""
        return _share_of(await self._connection.fetchrow(_RENEW, share.id, expires_at))

    async def revoke(self, share_id: UUID) -> Share | None:
        """End a share now; return what it was, None when there is none."""
        return _share(await self._connection.fetchrow(_REVOKE, self._memory_id, share_id))

    async def list_page(self, after: UUID | None, limit: int) -> list[Share]:
        """Return up to `limit` shares that are in force, after one, oldest first."""
        return [_share_of(row) for row in await self._connection.fetch(_PAGE, self._memory_id, after, limit)]


def _share(row: Row | None) -> Share | None:
    return None if row is None else _share_of(row)


def _share_of(row: Any) -> Share:
    return Share.model_validate(dict(row))
