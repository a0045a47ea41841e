"""API keys."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from tmws_contracts.gateway import ApiKey
from tmws_gateway.repository.pages import fetch_page
from tmws_shared.database import Connection, Database, Row
from tmws_shared.pagination import Conditions, Keyset

_KEY = """id, name, scopes, namespace, persona, created_at, expires_at, last_used_at, revoked_at, version,
    CASE WHEN previous_until > now() THEN previous_until END AS previous_until"""
_FIND_KEY = f"SELECT {_KEY}, digest, previous_digest FROM api_keys WHERE id = $1"  # noqa: S608 -- our own columns
_GET_KEY = f"SELECT {_KEY} FROM api_keys WHERE id = $1"  # noqa: S608 -- our own columns
_LOCK_KEY = f"{_GET_KEY} FOR UPDATE"
# Rows of the same name wait for each other at the unique index; the later one finds the name taken.
_ADD_KEY = f"""
    INSERT INTO api_keys (id, name, digest, scopes, namespace, persona, created_by, expires_at)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
    ON CONFLICT (namespace, name) WHERE revoked_at IS NULL DO NOTHING
    RETURNING {_KEY}
"""  # noqa: S608 -- our own columns
_REVOKE_KEY = f"""UPDATE api_keys SET revoked_at = now(), version = version + 1
    WHERE id = $1 RETURNING {_KEY}"""  # noqa: S608 -- our own columns
# Without grace the secret before is forgotten, not only refused.
_ROTATE_KEY = f"""
    UPDATE api_keys SET digest = $2, version = version + 1,
        previous_digest = CASE WHEN $3 > 0 THEN digest END,
        previous_until = CASE WHEN $3 > 0 THEN now() + make_interval(secs => $3) END
    WHERE id = $1 RETURNING {_KEY}"""  # noqa: S608 -- our own columns
_NOTE_USE = """UPDATE api_keys k SET last_used_at = u.used_at
    FROM unnest($1::text[], $2::timestamptz[]) AS u (id, used_at)
    WHERE k.id = u.id AND (k.last_used_at IS NULL OR k.last_used_at < u.used_at)"""
# One bootstrap at a time: the second one must see the first one's key.
_LOCK_BOOTSTRAP = "SELECT pg_advisory_xact_lock(hashtextextended('tmws first admin key', 0))"
_HAS_ADMIN = """SELECT EXISTS (SELECT 1 FROM api_keys WHERE 'keys:admin' = ANY(scopes)
    AND revoked_at IS NULL AND coalesce(expires_at > now(), true))"""
_KEYS_ORDER = Keyset((("created_at", "timestamptz"), ("id", "text")), descending=True)


@dataclass(frozen=True, slots=True)
class StoredKey:
    """An API key, the HMAC of its secret, and that of the one before while it is kept."""

    key: ApiKey
    digest: bytes
    previous_digest: bytes | None


async def find_key(database: Database, key_id: str) -> StoredKey | None:
    """Return the key with this id, revoked or not."""
    row = await database.fetchrow(_FIND_KEY, key_id)
    return None if row is None else StoredKey(_api_key(row), row["digest"], row["previous_digest"])


async def get_key(database: Database, key_id: str) -> ApiKey | None:
    """Return the key with this id, revoked or not."""
    row = await database.fetchrow(_GET_KEY, key_id)
    return None if row is None else _api_key(row)


async def lock_key(connection: Connection, key_id: str) -> ApiKey | None:
    """Return the key with this id; nobody else changes it meanwhile."""
    row = await connection.fetchrow(_LOCK_KEY, key_id)
    return None if row is None else _api_key(row)


async def add_key(connection: Connection, key: ApiKey, digest: bytes, created_by: str) -> ApiKey | None:
    """Add a key and return it; None when its name is taken."""
    row = await connection.fetchrow(
        _ADD_KEY, key.id, key.name, digest, key.scopes, key.namespace, key.persona, created_by, key.expires_at
    )
    return None if row is None else _api_key(row)


async def rotate_key(connection: Connection, key_id: str, digest: bytes, grace_s: int) -> ApiKey:
    """Give a key that is locked another secret and return it; the one before works for `grace_s` seconds more."""
    return _api_key(_there(await connection.fetchrow(_ROTATE_KEY, key_id, digest, grace_s)))


async def revoke_key(connection: Connection, key_id: str) -> ApiKey:
    """Revoke a key that is locked and return it."""
    return _api_key(_there(await connection.fetchrow(_REVOKE_KEY, key_id)))


async def note_key_uses(database: Database, used_at: dict[str, datetime]) -> None:
    """Set when keys were last used."""
    await database.execute(_NOTE_USE, list(used_at), list(used_at.values()))


async def has_admin_key(connection: Connection) -> bool:
    """Whether a usable key with keys:admin exists; nobody else can add the first one meanwhile."""
    await connection.execute(_LOCK_BOOTSTRAP)
    return await connection.fetchval(_HAS_ADMIN)


async def list_keys(
    database: Database, namespace: str | None, after: Sequence[str] | None, limit: int
) -> list[tuple[ApiKey, list[str]]]:
    """Return up to `limit` keys after a position, newest first, each with its own position."""
    where = Conditions()
    where.add_given("namespace = {}", namespace)
    where.add_given(_KEYS_ORDER.beyond("{}"), after)
    rows = await fetch_page(database, _KEY, "api_keys", where, _KEYS_ORDER, limit)
    return [(_api_key(row), row["position"]) for row in rows]


def _there(row: Row | None) -> Row:
    if row is None:
        raise LookupError("the row is not locked")
    return row


def _api_key(row: Row) -> ApiKey:
    return ApiKey.model_validate({name: row[name] for name in ApiKey.model_fields})
