"""All SQL of the gateway: API keys and audit records."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from tmws_contracts.gateway import ApiKey, AuditEvent, Decision
from tmws_shared.database import Connection, Database, Row
from tmws_shared.pagination import Conditions, Keyset

_KEY = "id, name, scopes, namespace, persona, created_at, expires_at, last_used_at, revoked_at"
_FIND_KEY = f"SELECT {_KEY}, digest FROM api_keys WHERE id = $1"  # noqa: S608 -- our own columns
# Rows of the same name wait for each other at the unique index; the later one finds the name taken.
_ADD_KEY = f"""
    INSERT INTO api_keys (id, name, digest, scopes, namespace, persona, created_by, expires_at)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
    ON CONFLICT (namespace, name) WHERE revoked_at IS NULL DO NOTHING
    RETURNING {_KEY}
"""  # noqa: S608 -- our own columns
_REVOKE_KEY = f"""UPDATE api_keys SET revoked_at = coalesce(revoked_at, now())
    WHERE id = $1 RETURNING {_KEY}"""  # noqa: S608 -- our own columns
_NOTE_USE = """UPDATE api_keys k SET last_used_at = u.used_at
    FROM unnest($1::text[], $2::timestamptz[]) AS u (id, used_at)
    WHERE k.id = u.id AND (k.last_used_at IS NULL OR k.last_used_at < u.used_at)"""
# One bootstrap at a time: the second one must see the first one's key.
_LOCK_BOOTSTRAP = "SELECT pg_advisory_xact_lock(hashtextextended('tmws first admin key', 0))"
_HAS_ADMIN = """SELECT EXISTS (SELECT 1 FROM api_keys WHERE 'keys:admin' = ANY(scopes)
    AND revoked_at IS NULL AND coalesce(expires_at > now(), true))"""
_EVENT = """seq, id, occurred_at, namespace, subject, key_id, persona, address, action, resource, decision, status,
    request_id, trace_id, changed_fields, duration_ms, repeats"""
# A spooled batch may have been written before its answer was lost: the id makes writing it again harmless.
_ADD_EVENTS = """
    INSERT INTO audit_events (id, occurred_at, namespace, subject, key_id, persona, address, action, resource,
                              decision, status, request_id, trace_id, changed_fields, duration_ms, repeats)
    SELECT id, occurred_at, namespace, subject, key_id, persona, address, action, resource,
           decision, status, request_id, trace_id, changed_fields, duration_ms, repeats
    FROM jsonb_to_recordset($1::jsonb) AS e (
        id uuid, occurred_at timestamptz, namespace text, subject text, key_id text, persona text, address text,
        action text, resource text, decision text, status smallint, request_id text, trace_id text,
        changed_fields text[], duration_ms double precision, repeats integer)
    ORDER BY occurred_at, id
    ON CONFLICT (id) DO NOTHING
"""
_KEYS_ORDER = Keyset((("created_at", "timestamptz"), ("id", "text")), descending=True)
_EVENTS_ORDER = Keyset((("seq", "bigint"),), descending=True)


@dataclass(frozen=True, slots=True)
class StoredKey:
    """An API key and the HMAC of its secret."""

    key: ApiKey
    digest: bytes


@dataclass(frozen=True, slots=True)
class AuditFilter:
    """Which records to list; None means any."""

    subject: str | None = None
    key_id: str | None = None
    action: str | None = None
    resource: str | None = None
    decision: Decision | None = None
    status: int | None = None
    request_id: str | None = None
    trace_id: str | None = None
    since: datetime | None = None
    until: datetime | None = None


async def find_key(database: Database, key_id: str) -> StoredKey | None:
    """Return the key with this id, revoked or not."""
    row = await database.fetchrow(_FIND_KEY, key_id)
    return None if row is None else StoredKey(_api_key(row), row["digest"])


async def add_key(connection: Connection, key: ApiKey, digest: bytes, created_by: str) -> ApiKey | None:
    """Add a key and return it; None when its name is taken."""
    row = await connection.fetchrow(
        _ADD_KEY, key.id, key.name, digest, key.scopes, key.namespace, key.persona, created_by, key.expires_at
    )
    return None if row is None else _api_key(row)


async def revoke_key(connection: Connection, key_id: str) -> ApiKey | None:
    """Revoke a key and return it; None when there is none."""
    row = await connection.fetchrow(_REVOKE_KEY, key_id)
    return None if row is None else _api_key(row)


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
    rows = await _page(database, _KEY, "api_keys", where, _KEYS_ORDER, limit)
    return [(_api_key(row), row["position"]) for row in rows]


async def add_events(database: Database | Connection, events: Iterable[dict[str, Any]]) -> None:
    """Add audit records; those that are there already stay as they are."""
    await database.execute(_ADD_EVENTS, list(events))


async def list_events(
    database: Database, namespace: str, wanted: AuditFilter, after: Sequence[str] | None, limit: int
) -> list[tuple[AuditEvent, list[str]]]:
    """Return up to `limit` records of a namespace after a position, newest first."""
    where = Conditions()
    where.add("namespace = {}", namespace)
    for column in ("subject", "key_id", "action", "resource", "decision", "status", "request_id", "trace_id"):
        where.add_given(f"{column} = {{}}", getattr(wanted, column))
    where.add_given("occurred_at >= {}", wanted.since)
    where.add_given("occurred_at < {}", wanted.until)
    where.add_given(_EVENTS_ORDER.beyond("{}"), after)
    rows = await _page(database, _EVENT, "audit_events", where, _EVENTS_ORDER, limit)
    return [(_event(row), row["position"]) for row in rows]


async def _page(
    database: Database, columns: str, table: str, where: Conditions, order: Keyset, limit: int
) -> list[Row]:
    where.values.append(limit)
    sql = f"""SELECT {columns}, {order.position} AS position FROM {table} WHERE true {where.sql()}
        ORDER BY {order.order_by} LIMIT ${len(where.values)}"""  # noqa: S608 -- fragments of this file, values are bound
    return await database.fetch(sql, *where.values)


def _api_key(row: Row) -> ApiKey:
    return ApiKey.model_validate({name: row[name] for name in ApiKey.model_fields})


def _event(row: Row) -> AuditEvent:
    return AuditEvent.model_validate({name: row[name] for name in AuditEvent.model_fields})
