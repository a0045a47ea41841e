"""Audit records: events that wait to be chained, the chain, its checkpoints."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from tmws_contracts.audit import AuditEvent, Decision
from tmws_gateway.chain.records import FIELDS, Event, Head, Record
from tmws_gateway.chain.signing import Checkpoint
from tmws_gateway.repository.pages import fetch_page
from tmws_shared.database import Connection, Database, Row
from tmws_shared.pagination import Conditions, Keyset

# An event's id makes adding it again harmless.
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
# Held until the end of the transaction: one writer at a time, over any number of gateways.
_LOCK_CHAIN = "SELECT pg_advisory_xact_lock(hashtextextended('tmws audit chain', 0))"
_HEAD = "SELECT seq, hash FROM audit_records ORDER BY seq DESC LIMIT 1"
_RECORD = "SELECT seq, hash FROM audit_records WHERE seq = $1"
# As text: an edited row may hold a time that Python has no word for.
_MICROSECONDS = "trunc(EXTRACT(EPOCH FROM {}) * 1000000)::text"
_OCCURRED = f"{_MICROSECONDS.format('occurred_at')} AS occurred_us"
_PLAIN = ", ".join(name for name in FIELDS if name not in ("occurred_at", "field_digests", "duration_us"))
_TAKE_WAITING = f"""
    DELETE FROM audit_events WHERE seq IN (SELECT seq FROM audit_events ORDER BY seq LIMIT $1)
    RETURNING seq, {_PLAIN}, {_OCCURRED}, '{{}}'::text[] AS field_digests,
        round(duration_ms * 1000)::bigint AS duration_us
"""  # noqa: S608 -- our own columns
_KNOWN = "SELECT id::text FROM audit_records WHERE id = ANY($1::text[]::uuid[])"
_ADD_RECORDS = f"""
    INSERT INTO audit_records (seq, hash, version, {", ".join(FIELDS)})
    SELECT seq, decode(hash, 'hex'), version, {", ".join(FIELDS)}
    FROM jsonb_to_recordset($1::jsonb) AS r (
        seq bigint, hash text, version smallint, id uuid, occurred_at timestamptz, namespace text, subject text,
        key_id text, persona text, address text, action text, resource text, decision text, status smallint,
        request_id text, trace_id text, changed_fields text[], field_digests text[], duration_us bigint,
        repeats integer)
"""  # noqa: S608 -- our own columns
_CHAINED = f"seq, hash, version, {_PLAIN}, field_digests, duration_us, {_OCCURRED}"
_SHOWN = f"""seq, encode(hash, 'hex') AS hash, {_PLAIN}, occurred_at, field_digests,
    duration_us / 1000.0::double precision AS duration_ms"""
_PREVIOUS = """coalesce((SELECT p.hash FROM audit_records p WHERE p.seq = audit_records.seq - 1),
    (SELECT b.hash FROM audit_beginnings b WHERE b.seq = audit_records.seq - 1)) AS previous"""
_ADD_CHECKPOINT = """INSERT INTO audit_checkpoints (seq, hash, made_at, public_key, signature)
    VALUES ($1, $2, $3, $4, $5)"""
_CHECKPOINT = f"seq, hash, public_key, signature, {_MICROSECONDS.format('made_at')} AS made_us"
_CHECKPOINTS = f"""SELECT {_CHECKPOINT} FROM audit_checkpoints
    WHERE seq > $1 AND seq <= $2 ORDER BY seq LIMIT $3"""  # noqa: S608 -- our own columns
_LAST_CHECKPOINT = f"""SELECT {_CHECKPOINT} FROM audit_checkpoints
    WHERE seq <= $1 ORDER BY seq DESC LIMIT 1"""  # noqa: S608 -- our own columns
_LAST_BEFORE = f"""SELECT {_CHECKPOINT} FROM audit_checkpoints
    WHERE seq > $1 AND seq <= $2 AND made_at < $3 ORDER BY seq DESC LIMIT 1"""  # noqa: S608 -- our own columns
_BEGINNING = f"SELECT {_CHECKPOINT} FROM audit_beginnings ORDER BY seq DESC LIMIT 1"  # noqa: S608 -- our own columns
_ADD_BEGINNING = _ADD_CHECKPOINT.replace("audit_checkpoints", "audit_beginnings")
_FIRST_RECORD = "SELECT min(seq) FROM audit_records"
# Nobody may remove records except within these three statements, and there the trigger looks at which ones.
_MAY_REMOVE = "GRANT DELETE ON audit_records TO CURRENT_USER"
_REMOVE = "DELETE FROM audit_records WHERE seq <= $1"
_MAY_NOT_REMOVE = "REVOKE DELETE ON audit_records FROM CURRENT_USER"
_NEWEST_FIRST = Keyset((("seq", "bigint"),), descending=True)
_EQUAL = (
    "subject", "key_id", "persona", "address", "action", "resource", "decision", "status", "request_id", "trace_id",
)  # fmt: skip
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
LAST = 2**63 - 1
_FIRST = -(2**63)


@dataclass(frozen=True, slots=True)
class AuditFilter:
    """Which records to list; None means any."""

    subject: str | None = None
    key_id: str | None = None
    persona: str | None = None
    address: str | None = None
    action: str | None = None
    resource: str | None = None
    decision: Decision | None = None
    status: int | None = None
    request_id: str | None = None
    trace_id: str | None = None
    since: datetime | None = None
    until: datetime | None = None


class Linked(NamedTuple):
    """A record and the hash of the one before it; None when that is missing."""

    record: Record
    previous: bytes | None


async def add_events(database: Database | Connection, events: Iterable[dict[str, Any]]) -> None:
    """Leave events to be chained; those that wait already stay as they are."""
    await database.execute(_ADD_EVENTS, list(events))


async def lock_chain(connection: Connection) -> Head:
    """Wait for other writers and return the head, which stays so until the transaction ends."""
    await connection.execute(_LOCK_CHAIN)
    return await find_head(connection)


async def find_head(database: Database | Connection) -> Head:
    """Return the last record's place."""
    row = await database.fetchrow(_HEAD)
    return Head() if row is None else Head(row["seq"], row["hash"])


async def find_hash(database: Database | Connection, seq: int) -> bytes | None:
    """Return the hash of a record; None when there is none."""
    row = await database.fetchrow(_RECORD, seq)
    return None if row is None else row["hash"]


async def take_waiting(connection: Connection, limit: int) -> list[Event]:
    """Take up to `limit` events out of those that wait, the oldest first."""
    rows = await connection.fetch(_TAKE_WAITING, limit)
    return [_event(row) for row in sorted(rows, key=lambda row: row["seq"])]


async def known_ids(connection: Connection, ids: Sequence[str]) -> set[str]:
    """Return which of the ids belong to records."""
    return {row["id"] for row in await connection.fetch(_KNOWN, ids)}


async def add_records(connection: Connection, records: Iterable[Record]) -> None:
    """Add records to the chain; the caller has locked it."""
    await connection.execute(
        _ADD_RECORDS,
        [{**record.event, "seq": record.seq, "hash": record.hash.hex(), "version": record.version}
         for record in records],
    )  # fmt: skip


async def read_records(database: Database, after: int, until: int, limit: int) -> list[Record]:
    """Return up to `limit` records after one and up to another, in the order of the chain.

    After 0 come all from the first one, even from one whose number is not positive.
    """
    where = Conditions()
    where.add("seq > {}", after or _FIRST)
    where.add("seq <= {}", until)
    return [linked.record for linked in await _read_chain(database, where, limit, "NULL::bytea AS previous")]


async def export_records(
    database: Database, namespace: str | None, wanted: AuditFilter, after: int, until: int, limit: int
) -> list[Linked]:
    """Return up to `limit` records of a namespace (None: of all), in the order of the chain."""
    where = _where(namespace, wanted)
    where.add("seq > {}", after)
    where.add("seq <= {}", until)
    return await _read_chain(database, where, limit, _PREVIOUS)


async def list_events(
    database: Database, namespace: str, wanted: AuditFilter, after: Sequence[str] | None, limit: int
) -> list[tuple[AuditEvent, list[str]]]:
    """Return up to `limit` records of a namespace after a position, newest first."""
    where = _where(namespace, wanted)
    where.add_given(_NEWEST_FIRST.beyond("{}"), after)
    rows = await fetch_page(database, _SHOWN, "audit_records", where, _NEWEST_FIRST, limit)
    return [(_shown(row), row["position"]) for row in rows]


async def add_checkpoint(connection: Connection, checkpoint: Checkpoint) -> None:
    """Add a checkpoint."""
    await connection.execute(_ADD_CHECKPOINT, *_fields(checkpoint))


async def read_checkpoints(database: Database, after: int, until: int, limit: int) -> list[Checkpoint]:
    """Return up to `limit` checkpoints after one record and up to another, in the order of the chain."""
    rows = await database.fetch(_CHECKPOINTS, after or _FIRST, until, limit)
    return [_checkpoint(row) for row in rows]


async def last_checkpoint(database: Database | Connection, until: int = LAST) -> Checkpoint | None:
    """Return the last checkpoint at or before a record."""
    row = await database.fetchrow(_LAST_CHECKPOINT, until)
    return None if row is None else _checkpoint(row)


async def last_checkpoint_before(database: Database, moment: datetime, after: int, until: int) -> Checkpoint | None:
    """Return the last checkpoint made before a moment, of the records after one and up to another."""
    row = await database.fetchrow(_LAST_BEFORE, after, until, moment)
    return None if row is None else _checkpoint(row)


async def find_beginning(database: Database | Connection) -> Checkpoint | None:
    """Return behind which record the chain begins; None when that is the first one."""
    row = await database.fetchrow(_BEGINNING)
    return None if row is None else _checkpoint(row)


async def find_first_seq(database: Database) -> int | None:
    """Return the number of the first record that is there."""
    return await database.fetchval(_FIRST_RECORD)


async def begin_behind(connection: Connection, beginning: Checkpoint) -> None:
    """Let the chain begin behind a record, and remove all up to it; the caller has locked it."""
    await connection.execute(_ADD_BEGINNING, *_fields(beginning))
    await connection.execute(_MAY_REMOVE)
    await connection.execute(_REMOVE, beginning.seq)
    await connection.execute(_MAY_NOT_REMOVE)


def _where(namespace: str | None, wanted: AuditFilter) -> Conditions:
    where = Conditions()
    where.add_given("namespace = {}", namespace)
    for column in _EQUAL:
        where.add_given(f"{column} = {{}}", getattr(wanted, column))
    where.add_given("occurred_at >= {}", wanted.since)
    where.add_given("occurred_at < {}", wanted.until)
    return where


async def _read_chain(database: Database, where: Conditions, limit: int, previous: str) -> list[Linked]:
    where.values.append(limit)
    sql = f"""SELECT {_CHAINED}, {previous} FROM audit_records WHERE true {where.sql()}
        ORDER BY seq LIMIT ${len(where.values)}"""  # noqa: S608 -- fragments of this file, values are bound
    rows = await database.fetch(sql, *where.values)
    return [
        Linked(Record(row["seq"], row["hash"], _event(row), row["version"]), row["previous"])
        for row in rows
    ]  # fmt: skip


def _event(row: Row) -> Event:
    event = {name: row[name] for name in FIELDS if name != "occurred_at"}
    return {**event, "id": str(row["id"]), "occurred_at": _moment(row["occurred_us"])}


def _moment(microseconds: str) -> str:
    try:
        return (_EPOCH + timedelta(microseconds=int(microseconds))).isoformat(timespec="microseconds")
    except (ValueError, OverflowError):
        return microseconds


def _shown(row: Row) -> AuditEvent:
    return AuditEvent.model_validate({name: row[name] for name in AuditEvent.model_fields})


def _fields(checkpoint: Checkpoint) -> tuple[int, bytes, datetime, bytes, bytes]:
    made_at = _EPOCH + timedelta(microseconds=checkpoint.made_at)
    return checkpoint.seq, checkpoint.hash, made_at, checkpoint.public_key, checkpoint.signature


def _checkpoint(row: Row) -> Checkpoint:
    try:
        made_at = int(row["made_us"])
    except ValueError:
        made_at = 0
    return Checkpoint(row["seq"], row["hash"], made_at, row["public_key"], row["signature"])
