"""Whatever is done to the records behind our back, `verify` names the first one that is wrong."""

import asyncio
import json
import shutil
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

from support.audit import SECRET, exchange, first_fault, migrate_gateway, tamper, verify
from support.postgres import DatabaseUrls, PostgresForTests
from tmws_gateway.audit.log import AuditLog
from tmws_gateway.chain.records import Head, extend
from tmws_gateway.chain.signing import Signer
from tmws_gateway.repository.audit import last_checkpoint, read_records
from tmws_shared.database import Database
from tmws_shared.problems import InvalidRequest

FLIPS = {
    "seq": "30",
    "hash": "set_byte(hash, 31, get_byte(hash, 31) # 1)",
    "version": "version # 1",
    "id": "overlay(id::text placing 'f' from 1)::uuid",
    "occurred_at": "occurred_at + interval '1 microsecond'",
    "namespace": "namespace || ' '",
    "subject": "null",
    "key_id": "'k3'",
    "persona": "'athena'",
    "address": "'192.0.2.3'",
    "action": "lower(action)",
    "resource": "resource || E'\\n'",
    "decision": "'denied'",
    "status": "status # 1",
    "request_id": "''",
    "trace_id": "null",
    "changed_fields": "array['titlf']",
    "field_digests": "'{}'",
    "duration_us": "duration_us # 1",
    "repeats": "repeats # 1",
}
TABLES = ("audit_records", "audit_checkpoints")
RECORDS = 6


@pytest.fixture(scope="module")
def made(urls_of_module: DatabaseUrls, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A chain of six records, the last one signed, and copies to mend it from; returns the data directory."""
    folder = tmp_path_factory.mktemp("made")
    asyncio.run(_make(urls_of_module, folder))
    return folder


async def _make(urls: DatabaseUrls, folder: Path) -> None:
    database = await Database.connect(urls.for_service("gateway"), name="made")
    log = AuditLog(database, folder, SECRET)
    for number in range(RECORDS):
        log.record(exchange(location=f"/api/v1/tasks/{number}", changed_fields=[("title", b"hash")]))
    await log.flush()
    await database.close()
    await tamper(urls, *(f"CREATE TABLE kept_{table} AS TABLE {table}" for table in TABLES))


@pytest.fixture(scope="module")
def urls_of_module(postgres: PostgresForTests) -> DatabaseUrls:
    return postgres.create_database(template="gateway", prepare=migrate_gateway)


@pytest.fixture
def urls(urls_of_module: DatabaseUrls) -> DatabaseUrls:
    return urls_of_module


@pytest.fixture
async def chain(database: Database, urls: DatabaseUrls, made: Path, tmp_path: Path) -> AsyncGenerator[Database]:
    shutil.copytree(made, tmp_path, dirs_exist_ok=True)
    yield database
    await tamper(
        urls,
        "DROP TABLE IF EXISTS copy",
        *(f"TRUNCATE {table}" for table in TABLES),
        *(f"INSERT INTO {table} SELECT * FROM kept_{table}" for table in TABLES),
    )


async def test_untouched_chain_is_intact(chain: Database, tmp_path: Path) -> None:
    found = await verify(chain, tmp_path)
    assert (found.intact, found.checked_to, found.head, found.next) == (True, RECORDS, RECORDS, None)
    assert found.checkpoints == 2  # one in the table, one in the file


async def test_every_column_is_tried(chain: Database) -> None:
    columns = await chain.fetch(
        "SELECT column_name FROM information_schema.columns WHERE table_schema = 'gateway' AND table_name = $1",
        "audit_records",
    )
    assert {row["column_name"] for row in columns} == FLIPS.keys()


@pytest.mark.parametrize("column", FLIPS)
async def test_flipped_byte_is_named(chain: Database, urls: DatabaseUrls, tmp_path: Path, column: str) -> None:
    await tamper(urls, f"UPDATE audit_records SET {column} = {FLIPS[column]} WHERE seq = 3")
    fault = await first_fault(chain, tmp_path)
    assert (fault.seq, fault.fault) == (3, "missing" if column == "seq" else "edited")


@pytest.mark.parametrize("moment", ["infinity", "-infinity", "0044-03-15 BC"])
async def test_time_that_is_none_is_named(chain: Database, urls: DatabaseUrls, tmp_path: Path, moment: str) -> None:
    await tamper(urls, f"UPDATE audit_records SET occurred_at = '{moment}' WHERE seq = 3")
    assert (await first_fault(chain, tmp_path)).seq == 3


CHANGES = {
    "removed": (["DELETE FROM audit_records WHERE seq = 3"], 3, "missing"),
    "the first one removed": (["DELETE FROM audit_records WHERE seq = 1"], 1, "missing"),
    "removed, and the gap closed": (
        [
            "DELETE FROM audit_records WHERE seq = 3",
            *(f"UPDATE audit_records SET seq = {n - 1} WHERE seq = {n}" for n in (4, 5, 6)),
        ],
        3,
        "edited",
    ),
    "swapped": (
        [f"UPDATE audit_records SET seq = {new} WHERE seq = {old}" for old, new in ((3, 30), (5, 3), (30, 5))],
        3,
        "moved",
    ),
    "inserted": (
        [
            *(f"UPDATE audit_records SET seq = {n + 1} WHERE seq = {n}" for n in (6, 5, 4, 3)),
            "CREATE TABLE copy AS SELECT * FROM audit_records WHERE seq = 2",
            "UPDATE copy SET seq = 3, id = gen_random_uuid()",
            "INSERT INTO audit_records SELECT * FROM copy",
        ],
        3,
        "moved",
    ),
    "inserted before the first one": (
        [
            "CREATE TABLE copy AS SELECT * FROM audit_records WHERE seq = 2",
            "UPDATE copy SET seq = -1, id = gen_random_uuid()",
            "INSERT INTO audit_records SELECT * FROM copy",
        ],
        -1,
        "edited",
    ),
    "tail cut off": (["DELETE FROM audit_records WHERE seq > 4"], 5, "cut"),
    "tail and its checkpoint cut off": (
        ["DELETE FROM audit_records WHERE seq > 4", "DELETE FROM audit_checkpoints"],
        5,
        "cut",
    ),
    "all removed": (["TRUNCATE audit_records, audit_checkpoints"], 1, "cut"),
    "checkpoint removed": (["DELETE FROM audit_checkpoints"], RECORDS, "forged"),
    "checkpoint of a record that never was": (
        ["INSERT INTO audit_checkpoints SELECT 99, hash, made_at, public_key, signature FROM audit_checkpoints"],
        99,
        "forged",
    ),
}  # fmt: skip


@pytest.mark.parametrize("change", CHANGES)
async def test_change_of_the_chain_is_named(chain: Database, urls: DatabaseUrls, tmp_path: Path, change: str) -> None:
    statements, seq, name = CHANGES[change]
    await tamper(urls, *statements)
    fault = await first_fault(chain, tmp_path)
    assert (fault.seq, fault.fault) == (seq, name)


@pytest.mark.parametrize(
    "flip",
    [
        "seq = 5",
        "seq = -5",
        "hash = set_byte(hash, 0, get_byte(hash, 0) # 1)",
        "made_at = made_at + interval '1 microsecond'",
        "public_key = set_byte(public_key, 0, get_byte(public_key, 0) # 1)",
        "signature = set_byte(signature, 0, get_byte(signature, 0) # 1)",
    ],
)
async def test_flipped_byte_of_a_checkpoint_is_named(
    chain: Database, urls: DatabaseUrls, tmp_path: Path, flip: str
) -> None:
    await tamper(urls, f"UPDATE audit_checkpoints SET {flip}")
    assert (await first_fault(chain, tmp_path)).fault == "forged"


async def write_more(database: Database, folder: Path, count: int) -> None:
    log = AuditLog(database, folder, SECRET)
    for _ in range(count):
        log.record(exchange())
    await log.flush()


async def test_tail_that_was_not_signed_yet_cannot_be_cut_off(
    chain: Database, urls: DatabaseUrls, tmp_path: Path
) -> None:
    await write_more(chain, tmp_path, 3)
    await tamper(urls, "DELETE FROM audit_records WHERE seq > 7")
    fault = await first_fault(chain, tmp_path)
    assert (fault.seq, fault.fault) == (8, "cut")


async def test_gateway_that_goes_on_does_not_forget_what_was_cut_off(
    chain: Database, urls: DatabaseUrls, tmp_path: Path
) -> None:
    await write_more(chain, tmp_path, 3)
    await tamper(urls, "DELETE FROM audit_records WHERE seq > 7")
    await write_more(chain, tmp_path, 1)
    assert (await first_fault(chain, tmp_path)).fault == "cut"
    await write_more(chain, tmp_path, 9)
    fault = await first_fault(chain, tmp_path)
    assert (fault.seq, fault.fault, fault.detail) == (7, "rewritten", "records 7 to 9 are not those that were signed")


async def test_forged_note_of_the_head_is_named(chain: Database, tmp_path: Path) -> None:
    path = tmp_path / "audit" / "head.json"
    path.write_text(path.read_text().replace('"seq":6', '"seq":7'))
    assert (await first_fault(chain, tmp_path)).fault == "forged"


async def test_chain_that_was_computed_anew_is_not_the_signed_one(
    chain: Database, urls: DatabaseUrls, tmp_path: Path
) -> None:
    records = await read_records(chain, 0, RECORDS, RECORDS)
    events = [{**record.event, "subject": "mallory"} for record in records]
    forged = extend(Head(), events)
    await tamper(
        urls,
        "UPDATE audit_records SET subject = 'mallory'",
        *(f"UPDATE audit_records SET hash = '\\x{record.hash.hex()}' WHERE seq = {record.seq}" for record in forged),
    )
    fault = await first_fault(chain, tmp_path)
    assert (fault.seq, fault.fault, fault.detail) == (1, "rewritten", "records 1 to 6 are not those that were signed")


async def test_checkpoint_of_another_key_is_forged(chain: Database, urls: DatabaseUrls, tmp_path: Path) -> None:
    signed = await last_checkpoint(chain)
    assert signed is not None
    forged = Signer("another secret of thirty-two bytes or more").checkpoint(signed.head, signed.made_at)
    key, signature = forged.public_key.hex(), forged.signature.hex()
    await tamper(urls, f"UPDATE audit_checkpoints SET public_key = '\\x{key}', signature = '\\x{signature}'")
    assert (await first_fault(chain, tmp_path)).fault == "forged"


@pytest.mark.parametrize("field", ["seq", "hash", "made_at", "public_key", "signature"])
async def test_changed_file_of_checkpoints_is_named(chain: Database, tmp_path: Path, field: str) -> None:
    path = tmp_path / "audit" / "checkpoints.jsonl"
    fields = json.loads(path.read_text())
    value = fields[field]
    fields[field] = value - 1 if isinstance(value, int) else ("1" if value[0] == "0" else "0") + value[1:]
    path.write_text(json.dumps(fields) + "\n")
    assert (await first_fault(chain, tmp_path)).fault == "forged"


async def test_checkpoint_of_no_record_is_named(chain: Database, tmp_path: Path) -> None:
    path = tmp_path / "audit" / "checkpoints.jsonl"
    path.write_text(path.read_text().replace('"seq":6', '"seq":-6'))
    fault = await first_fault(chain, tmp_path)
    assert (fault.seq, fault.fault) == (-6, "forged")


async def test_line_that_is_no_checkpoint_is_named(chain: Database, tmp_path: Path) -> None:
    with (tmp_path / "audit" / "checkpoints.jsonl").open("a") as file:
        file.write("nonsense\n")
    assert (await first_fault(chain, tmp_path)).detail == "line 2 of the file holds no checkpoint"


async def test_check_goes_on_where_it_ended(chain: Database, tmp_path: Path) -> None:
    first = await verify(chain, tmp_path, limit=4)
    assert (first.checked_to, first.next) == (4, 4)
    rest = await verify(chain, tmp_path, after=4, limit=4)
    assert (rest.intact, rest.checked_to, rest.next) == (True, RECORDS, None)


async def test_check_cannot_begin_after_a_record_that_is_not_there(chain: Database, tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest):
        await verify(chain, tmp_path, after=RECORDS + 1)
