"""The audit log in tests: events, what the chain holds, and a hand that reaches around its guards."""

# asyncpg has no type stubs.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import asyncpg

from support.postgres import DatabaseUrls
from tmws_contracts.audit import AuditFault, AuditVerification
from tmws_gateway.audit.checkpoint_file import CheckpointFile
from tmws_gateway.audit.events import describe
from tmws_gateway.audit.verification import ChainVerifier
from tmws_gateway.chain.signing import Signer
from tmws_gateway.exchange import Exchange
from tmws_gateway.models import SCHEMA
from tmws_gateway.upstreams import ROUTES
from tmws_shared.auth import Principal
from tmws_shared.database import Database
from tmws_shared.migrations import migrate

TABLES = ("audit_records", "audit_checkpoints", "audit_beginnings")
SECRET = "7hQp2vXz9LmK4tRw8YbN1cFg6JdS3aEu5ToP"
CREATE = next(route for route in ROUTES if route.action == "POST /api/v1/tasks")


def exchange(status: int = 201, **fields: Any) -> Exchange:
    """Return an answered request."""
    known: dict[str, Any] = {
        "route": CREATE,
        "principal": Principal("alice", key_id="k1", persona="artemis"),
        "status": status,
    }
    return Exchange("POST", "/api/v1/tasks", "192.0.2.1", "request-1", "0af7651916cd43dd", **{**known, **fields})


def waiting_event(**fields: Any) -> dict[str, Any]:
    """Return an event as it is left to be chained, by a key change or by the release before."""
    event = {**describe(exchange(), b"key"), "duration_ms": 1.5, "decision": "allowed"}
    return {name: value for name, value in event.items() if name not in {"duration_us", "field_digests"}} | fields


def migrate_gateway(urls: DatabaseUrls) -> None:
    """Bring the schema of a database to the newest revision."""
    asyncio.run(migrate(urls.for_service("gateway"), "tmws_gateway", SCHEMA))


async def verify(database: Database, folder: Path, after: int = 0, limit: int = 10_000) -> AuditVerification:
    """Check the chain."""
    file = CheckpointFile(folder / "audit" / "checkpoints.jsonl")
    return await ChainVerifier(database, Signer(SECRET).verifier, file).verify(after, limit)


async def first_fault(database: Database, folder: Path) -> AuditFault:
    """Return what is wrong with the chain."""
    fault = (await verify(database, folder)).fault
    assert fault is not None
    return fault


async def tamper(urls: DatabaseUrls, *statements: str) -> None:
    """Do as the superuser, with the guards of the audit tables out of the way, what nobody should."""
    connection = await asyncpg.connect(urls.admin, server_settings={"search_path": "gateway"})
    async with connection.transaction():
        for table in TABLES:
            await connection.execute(f"ALTER TABLE {table} DISABLE TRIGGER ALL")
        for statement in statements:
            await connection.execute(statement)
        for table in TABLES:
            await connection.execute(f"ALTER TABLE {table} ENABLE ALWAYS TRIGGER {table}_append_only")
        await connection.execute("ALTER TABLE audit_records ENABLE ALWAYS TRIGGER audit_records_removal")
    await connection.close()
