"""Idempotency-Key: a write happens once, and its answer is kept in the same transaction.

Source: draft-ietf-httpapi-idempotency-key-header. Every schema that writes has the table of `TABLE_DDL`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Annotated

from fastapi import Depends, Header, Request

from tmws_shared.auth import Principal
from tmws_shared.database import Connection, Database
from tmws_shared.problems import Conflict, InvalidRequest

KEPT_HOURS = 24

TABLE_DDL = """
CREATE TABLE idempotency_keys (
    owner text NOT NULL,
    key text NOT NULL,
    request_hash bytea NOT NULL,
    status smallint NOT NULL,
    headers jsonb NOT NULL,
    body bytea NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (owner, key)
);
CREATE INDEX idempotency_keys_created_at ON idempotency_keys (created_at);
"""

# One transaction at a time may work under a key; a second one is told so at once.
_LOCK = "SELECT pg_try_advisory_xact_lock(hashtextextended($1 || chr(31) || $2, 7))"
_KNOWN = "SELECT request_hash, status, headers, body FROM idempotency_keys WHERE owner = $1 AND key = $2"
_KEEP = """INSERT INTO idempotency_keys (owner, key, request_hash, status, headers, body)
           VALUES ($1, $2, $3, $4, $5, $6)"""
_FORGET = "DELETE FROM idempotency_keys WHERE created_at < now() - make_interval(hours => $1)"


class RequestInFlight(Conflict):
    """A request with this Idempotency-Key is still being worked on."""

    retryable = True


class KeyReused(InvalidRequest):
    """This Idempotency-Key was used with another request."""


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer that can be kept: status, headers, JSON body."""

    status: int
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Attempt:
    """One request, as far as it matters for doing it once; `key` is None when the caller gave none."""

    owner: str
    key: str | None
    request_hash: bytes


async def _attempt(
    request: Request,
    idempotency_key: Annotated[
        str | None,
        Header(
            min_length=1,
            max_length=255,
            pattern=r"^[\x21-\x7e]+$",
            description="a retry with the same key gets the first answer (kept 24 h)",
        ),
    ] = None,
) -> Attempt:
    principal: Principal = request.state.principal
    if idempotency_key is None:
        return Attempt(f"{principal.namespace}/{principal.subject}", None, b"")
    digest = hashlib.sha256(f"{request.method} {request.url.path}\n".encode() + await request.body())
    return Attempt(f"{principal.namespace}/{principal.subject}", idempotency_key, digest.digest())


Once = Annotated[Attempt, Depends(_attempt)]


async def do_once(database: Database, attempt: Attempt, work: Callable[[Connection], Awaitable[Reply]]) -> Reply:
    """Run `work` in one transaction, or give the answer it gave the first time.

    Raises:
        RequestInFlight: another request with the key has not ended.
        KeyReused: the key came with another request.
    """
    async with database.transaction() as connection:
        if attempt.key is None:
            return await work(connection)
        if not await connection.fetchval(_LOCK, attempt.owner, attempt.key):
            raise RequestInFlight("Wait for the first request to end, then ask again.", headers={"Retry-After": "1"})
        known = await connection.fetchrow(_KNOWN, attempt.owner, attempt.key)
        if known is not None:
            if known["request_hash"] != attempt.request_hash:
                raise KeyReused.of("@Idempotency-Key", "must not be used again with another request")
            return Reply(known["status"], known["body"], {**known["headers"], "Idempotent-Replayed": "true"})
        reply = await work(connection)
        await connection.execute(
            _KEEP,
            attempt.owner,
            attempt.key,
            attempt.request_hash,
            reply.status,
            reply.headers,
            reply.body,
        )
        return reply


async def forget_old_keys(database: Database) -> int:
    """Delete the answers older than 24 hours and return how many there were."""
    return await database.execute(_FORGET, KEPT_HOURS)
