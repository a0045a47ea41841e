"""Records as a file that can be checked without the database.

A line is `{"event", "hash", "previous", "seq"}`: the canonical form of an event, and the hashes (hex) of its record and
of the one before it. The last line is `{"export": {"records", "sha256", "public_key", "signature"}}`: the SHA-256 of
all bytes before it, and its Ed25519 signature. A file without that line is cut off.
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncGenerator

import orjson

from tmws_gateway.chain.records import canonical
from tmws_gateway.chain.signing import Signer
from tmws_gateway.repository.audit import AuditFilter, Linked, export_records, find_head
from tmws_shared.database import Database

NDJSON = "application/x-ndjson"
_PAGE = 500


async def export_lines(
    database: Database, signer: Signer, namespace: str | None, wanted: AuditFilter
) -> AsyncGenerator[bytes]:
    """Yield the records of a namespace (None: of all) that are there now, some lines at a time, oldest first."""
    until = (await find_head(database)).seq
    digest, count, after = hashlib.sha256(), 0, 0
    while page := await export_records(database, namespace, wanted, after, until, _PAGE):
        lines = b"".join(record_line(linked) for linked in page)
        digest.update(lines)
        count += len(page)
        after = page[-1].record.seq
        yield lines
    yield trailer_line(signer, count, digest.digest())


def record_line(linked: Linked) -> bytes:
    """Return a record as a line."""
    record, previous = linked
    if previous is None and record.seq == 1:
        previous = bytes(32)
    fields = {
        "seq": record.seq,
        "previous": previous.hex() if previous else None,
        "hash": record.hash.hex(),
        "event": orjson.Fragment(canonical(record.event, record.version)),
    }
    return orjson.dumps(fields, option=orjson.OPT_APPEND_NEWLINE | orjson.OPT_SORT_KEYS)


def trailer_line(signer: Signer, count: int, digest: bytes) -> bytes:
    """Return the last line of a file with so many records and this SHA-256."""
    export = {
        "records": count,
        "sha256": digest.hex(),
        "public_key": signer.verifier.public_key.hex(),
        "signature": signer.sign_export(digest).hex(),
    }
    return orjson.dumps({"export": export}, option=orjson.OPT_APPEND_NEWLINE)
