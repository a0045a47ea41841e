"""Access tokens that were revoked before their end."""

from __future__ import annotations

from datetime import UTC, datetime

from tmws_shared.database import Connection, Database

_IS_REVOKED = "SELECT EXISTS (SELECT FROM revoked_tokens WHERE issuer = $1 AND jti = $2)"
_REVOKE = "INSERT INTO revoked_tokens (issuer, jti, expires_at) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING"
_FORGET = "DELETE FROM revoked_tokens WHERE expires_at < now()"


async def is_token_revoked(database: Database, issuer: str, token_id: str) -> bool:
    """Whether a token was revoked."""
    return await database.fetchval(_IS_REVOKED, issuer, token_id)


async def revoke_token(connection: Connection, issuer: str, token_id: str, expires_at: float) -> None:
    """Revoke a token until its end, in seconds since 1970; what is revoked stays so."""
    await connection.execute(_REVOKE, issuer, token_id, datetime.fromtimestamp(expires_at, UTC))


async def forget_revoked_tokens(database: Database) -> int:
    """Delete what has ended in the meantime and return how many rows that were."""
    return await database.execute(_FORGET)
