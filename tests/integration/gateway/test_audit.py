"""The audit log in a real Postgres, and while it is away."""

from pathlib import Path
from typing import Any

import asyncpg
import pytest

from support.audit import SECRET, exchange
from support.gateway import GatewayUnderTest
from support.postgres import DatabaseUrls
from tmws_gateway.audit.log import AuditLog
from tmws_gateway.repository.audit import AuditFilter, list_events
from tmws_shared.database import Database


async def recorded(database: Database) -> list[Any]:
    return [event for event, _ in await list_events(database, "default", AuditFilter(), None, 100)]


async def test_record_says_who_did_what(database: Database, tmp_path: Path) -> None:
    log = AuditLog(database, tmp_path, SECRET)
    log.record(exchange(changed_fields=[("title", b"hash")], location="/api/v1/tasks/7"))
    await log.flush()
    event = (await recorded(database))[0]
    assert (event.subject, event.key_id, event.address) == ("alice", "k1", "192.0.2.1")
    assert (event.action, event.resource) == ("POST /api/v1/tasks", "/api/v1/tasks/7")
    assert (event.decision, event.status, event.changed_fields) == ("allowed", 201, ["title"])


@pytest.mark.parametrize("status", [401, 403, 421, 429])
async def test_denial_is_recorded_though_nobody_is_known(database: Database, tmp_path: Path, status: int) -> None:
    log = AuditLog(database, tmp_path, SECRET)
    log.record(exchange(status, principal=None, route=None))
    await log.flush()
    event = (await recorded(database))[0]
    assert (event.decision, event.status, event.subject) == ("denied", status, None)


async def test_flood_over_the_limit_is_one_record(database: Database, tmp_path: Path) -> None:
    log = AuditLog(database, tmp_path, SECRET)
    for _ in range(500):
        log.record(exchange(429))
    await log.flush()
    assert [event.repeats for event in await recorded(database)] == [500]


async def test_flood_of_strangers_is_counted(database: Database, tmp_path: Path) -> None:
    log = AuditLog(database, tmp_path, SECRET)
    for status in (401, 421):
        for _ in range(250):
            log.record(exchange(status, principal=None, route=None))
    await log.flush()
    repeats = sorted(event.repeats for event in await recorded(database))
    assert repeats == [*[1] * 20, 230, 250]


@pytest.mark.parametrize("table", ["audit_records", "audit_checkpoints"])
@pytest.mark.parametrize("change", ["UPDATE {} SET seq = 7", "DELETE FROM {}", "TRUNCATE {}"])
async def test_record_cannot_be_changed(
    database: Database, urls: DatabaseUrls, tmp_path: Path, change: str, table: str
) -> None:
    log = AuditLog(database, tmp_path, SECRET)
    log.record(exchange())
    await log.flush()
    with pytest.raises(asyncpg.InsufficientPrivilegeError, match="permission denied"):
        await database.execute(change.format(table))
    # The trigger holds where grants do not: for the superuser, who may even say that this is replication.
    admin = await asyncpg.connect(urls.admin, server_settings={"search_path": "gateway"})
    await admin.execute("SET session_replication_role = replica")
    with pytest.raises(asyncpg.InsufficientPrivilegeError, match="can only be added"):
        await admin.execute(change.format(table))
    await admin.close()


async def test_records_wait_in_files_while_postgres_is_away(
    database: Database, urls: DatabaseUrls, tmp_path: Path
) -> None:
    log = AuditLog(database, tmp_path, SECRET)
    await database.close()
    log.record(exchange())
    assert not await log.flush()
    assert len(list((tmp_path / "audit").glob("*.ndjson"))) == 1


async def test_files_are_written_once_when_postgres_is_back(
    database: Database, urls: DatabaseUrls, tmp_path: Path
) -> None:
    away = await Database.connect(urls.for_service("gateway"), name="away")
    await away.close()
    lost = AuditLog(away, tmp_path, SECRET)
    lost.record(exchange())
    await lost.flush()
    spooled = next((tmp_path / "audit").glob("*.ndjson"))
    copy = spooled.read_bytes()
    back = AuditLog(database, tmp_path, SECRET)
    assert await back.flush()
    assert not spooled.exists()
    spooled.write_bytes(copy)
    assert await back.flush()
    assert len(await recorded(database)) == 1


async def test_close_writes_what_waits(database: Database, tmp_path: Path) -> None:
    log = AuditLog(database, tmp_path, SECRET)
    for _ in range(700):
        log.record(exchange())
    await log.close()
    assert await database.fetchval("SELECT count(*) FROM audit_records") == 700


def test_request_is_recorded_by_field_names_not_values(gateway: GatewayUnderTest) -> None:
    created = gateway.ask("POST", "/api/v1/tasks", json={"title": "hunter2", "labels": ["audited"]})
    records = gateway.ask("GET", f"/api/v1/audit?request_id={created.headers['x-request-id']}")
    record = records.json["items"][0]
    assert record["changed_fields"] == ["title", "labels"]
    assert record["resource"] == created.headers["location"]
    assert record["trace_id"] in created.headers["traceparent"]
    assert b"hunter2" not in records.body


def test_reading_is_not_recorded(gateway: GatewayUnderTest) -> None:
    read = gateway.ask("GET", "/api/v1/tasks")
    records = gateway.ask("GET", f"/api/v1/audit?request_id={read.headers['x-request-id']}")
    assert records.json["items"] == []


def test_records_are_listed_by_filter_and_page(gateway: GatewayUnderTest) -> None:
    for title in ("a", "b", "c"):
        gateway.ask("POST", "/api/v1/tasks", json={"title": title}, headers={"X-Request-ID": "paged"})
    first = gateway.ask("GET", "/api/v1/audit?request_id=paged&limit=2").json
    rest = gateway.ask("GET", f"/api/v1/audit?request_id=paged&limit=2&cursor={first['next_cursor']}").json
    assert [len(first["items"]), len(rest["items"]), rest["next_cursor"]] == [2, 1, None]
    assert first["items"][0]["seq"] > first["items"][1]["seq"] > rest["items"][0]["seq"]


def test_cursor_of_other_filters_is_refused(gateway: GatewayUnderTest) -> None:
    for _ in range(2):
        gateway.ask("DELETE", "/api/v1/tasks/0199c0de-0000-7000-8000-000000000000")
    cursor = gateway.ask("GET", "/api/v1/audit?limit=1").json["next_cursor"]
    assert gateway.ask("GET", f"/api/v1/audit?limit=1&status=404&cursor={cursor}").status == 400


def test_sigterm_loses_no_record(gateway: GatewayUnderTest) -> None:
    created = [gateway.ask("POST", "/api/v1/tasks", json={"title": "x"}) for _ in range(20)]
    assert gateway.stop("gateway") == 0
    gateway.start("gateway")
    gateway.wait_until_ready()
    page = gateway.ask("GET", "/api/v1/audit?limit=200").json["items"]
    assert {record["request_id"] for record in page} >= {answer.headers["x-request-id"] for answer in created}
