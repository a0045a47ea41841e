"""Old records go, and the chain stays one that can be checked; nobody lets records go in another way."""

import time
from pathlib import Path

import asyncpg
import orjson
import pytest

from support.audit import SECRET, exchange, first_fault, tamper, verify
from support.gateway import running_gateway
from support.postgres import DatabaseUrls
from support.waiting import eventually
from tmws_contracts.audit import Fault
from tmws_gateway.audit.exporting import export_lines
from tmws_gateway.audit.log import AuditLog
from tmws_gateway.audit.offline import check_export
from tmws_gateway.audit.retention import Retention
from tmws_gateway.audit.verification import ChainVerifier
from tmws_gateway.chain.signing import Signer
from tmws_gateway.repository.audit import AuditFilter, begin_behind, find_head, lock_chain
from tmws_shared.database import Database

DAY_NS = 86_400 * 1_000_000_000
# How many records there were, and how many days ago.
OLD, YOUNG, RECORDS = 4, 6, 9
AGES = ((31, OLD), (29, YOUNG - OLD), (0, RECORDS - YOUNG))
SIGNER = Signer(SECRET)
AGAIN = """INSERT INTO audit_records SELECT 2, hash, version, gen_random_uuid(), occurred_at, namespace, subject,
    key_id, persona, address, action, resource, decision, status, request_id, trace_id, changed_fields, field_digests,
    duration_us, repeats FROM audit_records WHERE seq = 5"""
FORGED = "INSERT INTO audit_beginnings SELECT seq, hash, made_at, public_key, signature FROM audit_checkpoints"


@pytest.fixture
async def log(database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AuditLog:
    log = AuditLog(database, tmp_path, SECRET)
    for days, count in AGES:
        with monkeypatch.context() as patch:
            then = time.time_ns() - days * DAY_NS
            patch.setattr("tmws_gateway.audit.writer.time.time_ns", lambda then=then: then)
            await write(log, count)
    return log


async def write(log: AuditLog, count: int) -> None:
    for number in range(count):
        log.record(exchange(location=f"/api/v1/tasks/{number}"))
    assert await log.flush()


def retention(database: Database, log: AuditLog, days: int = 30) -> Retention:
    return Retention(database, SIGNER, ChainVerifier(database, SIGNER.verifier, log.checkpoints), days)


async def numbers(database: Database) -> list[int]:
    return [row["seq"] for row in await database.fetch("SELECT seq FROM audit_records ORDER BY seq")]


async def test_records_behind_an_old_checkpoint_go_and_the_rest_is_intact(
    database: Database, log: AuditLog, tmp_path: Path
) -> None:
    await retention(database, log).remove_old()
    assert await numbers(database) == list(range(OLD + 1, RECORDS + 1))
    found = await verify(database, tmp_path)
    assert (found.fault, found.begins_after, found.checked_to, found.head) == (None, OLD, RECORDS, RECORDS)
    assert (await verify(database, tmp_path, after=OLD, limit=2)).next == YOUNG


async def test_chain_goes_on_and_records_go_again(database: Database, log: AuditLog, tmp_path: Path) -> None:
    await retention(database, log).remove_old()
    await write(log, 2)
    await retention(database, log, days=28).remove_old()
    assert await numbers(database) == list(range(YOUNG + 1, RECORDS + 3))
    assert (await verify(database, tmp_path)).intact
    assert (await verify(database, tmp_path)).begins_after == YOUNG


async def test_last_record_stays_however_old(database: Database, log: AuditLog, tmp_path: Path) -> None:
    await retention(database, log, days=-1).remove_old()
    await write(log, 1)
    assert await numbers(database) == list(range(YOUNG + 1, RECORDS + 2))
    assert (await verify(database, tmp_path)).intact


async def test_many_records_go_in_steps(database: Database, log: AuditLog, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tmws_gateway.audit.retention.STEP", OLD)
    await retention(database, log, days=28).remove_old()
    assert await numbers(database) == list(range(YOUNG + 1, RECORDS + 1))
    assert await database.fetchval("SELECT count(*) FROM audit_beginnings") == 2


async def test_gateway_that_was_away_for_long_does_not_miss_what_was_removed(
    database: Database, log: AuditLog, tmp_path: Path
) -> None:
    noted = (tmp_path / "audit/head.json").read_bytes()
    old = orjson.dumps({**orjson.loads(noted), "seq": 2})
    await retention(database, log).remove_old()
    folder = tmp_path / "away"
    (folder / "audit").mkdir(parents=True)
    (folder / "audit/head.json").write_bytes(old)
    away = AuditLog(database, folder, SECRET)
    await write(away, 1)
    assert orjson.loads((folder / "audit/head.json").read_bytes())["seq"] == RECORDS + 1


async def test_export_begins_where_the_chain_begins(database: Database, log: AuditLog) -> None:
    await retention(database, log).remove_old()
    pieces = [piece async for piece in export_lines(database, SIGNER, None, AuditFilter())]
    assert check_export(b"".join(pieces).splitlines(keepends=True), SIGNER.verifier.public_key).records == RECORDS - OLD


async def test_what_is_not_intact_stays_as_evidence(
    database: Database, log: AuditLog, urls: DatabaseUrls, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    await tamper(urls, "UPDATE audit_records SET subject = 'mallory' WHERE seq = 3")
    await retention(database, log).remove_old()
    assert await numbers(database) == list(range(1, RECORDS + 1))
    assert (await first_fault(database, tmp_path)).seq == 3
    assert "stay, as evidence" in caplog.text


@pytest.mark.parametrize(
    ("statement", "fault", "seq"),
    [
        ("DELETE FROM audit_records WHERE seq = 5", Fault.MISSING, 5),
        ("DELETE FROM audit_beginnings", Fault.MISSING, 1),
        ("UPDATE audit_beginnings SET hash = sha256('x')", Fault.FORGED, OLD),
        ("UPDATE audit_beginnings SET seq = 3", Fault.FORGED, 3),
        (f"DELETE FROM audit_records WHERE seq <= {YOUNG}; {FORGED} WHERE seq = {YOUNG}", Fault.FORGED, YOUNG),
        ("UPDATE audit_records SET status = 500 WHERE seq = 5", Fault.EDITED, 5),
        (AGAIN, Fault.EDITED, 2),
    ],
    ids=["more", "beginning", "hash", "place", "checkpoint for a beginning", "edited", "back again"],
)  # fmt: skip
async def test_whoever_removes_more_is_found(
    database: Database, log: AuditLog, urls: DatabaseUrls, tmp_path: Path, statement: str, fault: Fault, seq: int
) -> None:
    await retention(database, log).remove_old()
    await tamper(urls, statement)
    found = await first_fault(database, tmp_path)
    assert (found.fault, found.seq) == (fault, seq)


async def test_records_behind_the_beginning_cannot_be_removed(
    database: Database, log: AuditLog, urls: DatabaseUrls
) -> None:
    await retention(database, log).remove_old()
    with pytest.raises(asyncpg.InsufficientPrivilegeError, match="permission denied"):
        await database.execute("DELETE FROM audit_records")
    admin = await asyncpg.connect(urls.admin, server_settings={"search_path": "gateway"})
    with pytest.raises(asyncpg.InsufficientPrivilegeError, match="can only be added"):
        await admin.execute("DELETE FROM audit_records WHERE seq = 5")
    await admin.close()


async def test_beginning_that_is_not_ours_fools_no_other_gateway(
    database: Database, log: AuditLog, tmp_path: Path
) -> None:
    stranger = Signer(SECRET[::-1])
    async with database.transaction() as connection:
        await lock_chain(connection)
        await begin_behind(connection, stranger.beginning(await find_head(connection), 1))
    await write(log, 1)
    assert (await first_fault(database, tmp_path)).fault is Fault.FORGED
    assert orjson.loads((tmp_path / "audit/head.json").read_bytes())["seq"] == RECORDS


async def test_gateway_removes_old_records_by_itself(
    log: AuditLog, urls: DatabaseUrls, redis_url: str, short_directory: Path
) -> None:
    del log
    settings = {"audit_retention_days": "30"}
    with running_gateway(urls, redis_url, short_directory / "old", processes=["gateway"], **settings) as gateway:
        assert eventually(lambda: gateway.ask("GET", "/api/v1/audit/verify").json["begins_after"]) == OLD
        assert gateway.ask("GET", "/api/v1/audit/verify").json["intact"] is True
