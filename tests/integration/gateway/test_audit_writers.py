"""The chain has no gap and no double, whoever writes it and whatever breaks meanwhile."""

import asyncio
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import Any

import asyncpg
import orjson
import pytest

from support.audit import SECRET, exchange, tamper, verify, waiting_event
from support.postgres import DatabaseUrls
from tmws_contracts.audit import Decision
from tmws_gateway.audit.checkpoint_file import CheckpointFile
from tmws_gateway.audit.events import describe
from tmws_gateway.audit.exporting import export_lines
from tmws_gateway.audit.log import AuditLog
from tmws_gateway.audit.offline import check_export
from tmws_gateway.audit.writer import BATCH, ChainWriter
from tmws_gateway.chain.records import GENESIS, Head
from tmws_gateway.chain.signing import Signer
from tmws_gateway.repository.audit import AuditFilter, add_events, last_checkpoint, list_events
from tmws_shared.database import Database
from tmws_shared.problems import Unavailable


def events(count: int) -> list[dict[str, Any]]:
    return [describe(exchange(), b"key") for _ in range(count)]


def writer(database: Database, folder: Path) -> ChainWriter:
    folder.mkdir(parents=True, exist_ok=True)
    return ChainWriter(database, Signer(SECRET), CheckpointFile(folder / "checkpoints.jsonl"))


async def count(database: Database) -> int:
    return await database.fetchval("SELECT count(*) FROM audit_records")


async def test_gateways_that_write_at_once_make_one_chain(
    database: Database, urls: DatabaseUrls, tmp_path: Path
) -> None:
    other = await Database.connect(urls.for_service("gateway"), name="other", max_size=3)
    writers = [writer(database, tmp_path / "a"), writer(other, tmp_path / "b")]
    await asyncio.gather(*(writers[number % 2].append(events(7)) for number in range(40)))
    await other.close()
    found = await verify(database, tmp_path)
    assert (found.intact, found.head, await count(database)) == (True, 280, 280)


async def test_writer_that_dies_leaves_no_gap(database: Database, urls: DatabaseUrls, tmp_path: Path) -> None:
    doomed = await Database.connect(urls.for_service("gateway"), name="doomed", max_size=3)
    batches = [events(20) for _ in range(30)]
    first = writer(doomed, tmp_path / "a")

    async def write_all() -> None:
        for batch in batches:
            await first.append(batch)

    writing = asyncio.create_task(write_all())
    await asyncio.sleep(0.05)
    admin = await asyncpg.connect(urls.admin)
    await admin.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'doomed'")
    await admin.close()
    with suppress(Unavailable):
        await writing
    await doomed.close()
    # Whoever comes next cannot know which of them were written.
    second = writer(database, tmp_path / "b")
    for batch in batches:
        await second.append(batch)
    found = await verify(database, tmp_path)
    assert (found.intact, found.head, await count(database)) == (True, 600, 600)


async def test_what_the_release_before_has_written_is_chained_at_the_first_start(
    database: Database, tmp_path: Path
) -> None:
    await add_events(database, [waiting_event(request_id=f"old {number}") for number in range(3)])
    log = AuditLog(database, tmp_path, SECRET)
    assert await log.flush()
    records = [event for event, _ in await list_events(database, "default", AuditFilter(), None, 10)]
    assert [(record.seq, record.request_id) for record in records] == [(3, "old 2"), (2, "old 1"), (1, "old 0")]
    assert records[0].duration_ms == 1.5
    assert (await verify(database, tmp_path)).intact
    assert await database.fetchval("SELECT count(*) FROM audit_events") == 0


async def test_many_that_wait_are_chained_bit_by_bit(database: Database, tmp_path: Path) -> None:
    await add_events(database, [waiting_event() for _ in range(BATCH + 1)])
    chain = writer(database, tmp_path / "a")
    assert await chain.append([])
    assert not await chain.append([])
    assert (await verify(database, tmp_path)).head == BATCH + 1


async def test_event_that_comes_again_is_in_the_chain_once(database: Database, tmp_path: Path) -> None:
    chain = writer(database, tmp_path / "a")
    batch = events(3)
    await chain.append([batch[0], batch[1]])
    await chain.append([batch[1], batch[2], batch[2]])
    assert await count(database) == 3


async def test_files_of_the_release_before_are_read(database: Database, tmp_path: Path) -> None:
    log = AuditLog(database, tmp_path, SECRET)
    (tmp_path / "audit" / "1.ndjson").write_bytes(orjson.dumps(waiting_event(request_id="spooled")))
    assert await log.flush()
    ((record, _),) = await list_events(database, "default", AuditFilter(), None, 10)
    assert (record.request_id, record.duration_ms) == ("spooled", 1.5)


@pytest.mark.parametrize("line", [b"", b"nonsense", b"{}", b"[]", b'{"id":1}'])
async def test_damaged_line_keeps_no_other_from_the_chain(database: Database, tmp_path: Path, line: bytes) -> None:
    log = AuditLog(database, tmp_path, SECRET)
    good = orjson.dumps(events(1)[0])
    (tmp_path / "audit" / "1.ndjson").write_bytes(b"\n".join([good, line, b"nonsense"]))
    assert await log.flush()
    assert await count(database) == 1
    assert [path.name for path in (tmp_path / "audit").glob("1.*")] == ["1.damaged"]


async def test_chain_is_signed_every_thousand_records(database: Database, tmp_path: Path) -> None:
    chain = writer(database, tmp_path / "audit")
    for _ in range(5):
        await chain.append(events(500))
    rows = await database.fetch("SELECT seq FROM audit_checkpoints ORDER BY seq")
    assert [row["seq"] for row in rows] == [500, 1500, 2500]
    lines = (tmp_path / "audit" / "checkpoints.jsonl").read_bytes().splitlines()
    assert [orjson.loads(line)["seq"] for line in lines] == [500, 1500, 2500]


async def test_chain_is_signed_after_a_minute(database: Database, urls: DatabaseUrls, tmp_path: Path) -> None:
    chain = writer(database, tmp_path / "audit")
    await chain.append(events(1))
    await chain.append(events(1))
    signed = await last_checkpoint(database)
    assert signed is not None
    assert signed.seq == 1
    await tamper(urls, "UPDATE audit_checkpoints SET made_at = made_at - interval '60 seconds'")
    await chain.append([])
    signed = await last_checkpoint(database)
    assert signed is not None
    assert signed.seq == 2


async def test_file_gets_the_checkpoints_of_other_gateways_and_those_it_missed(
    database: Database, tmp_path: Path
) -> None:
    first, second = writer(database, tmp_path / "a"), writer(database, tmp_path / "b")
    await first.append(events(1000))
    await first.append(events(1000))
    await second.append([])
    texts = [(tmp_path / name / "checkpoints.jsonl").read_text() for name in "ab"]
    assert texts[0] == texts[1] != ""


async def test_full_ring_goes_to_a_file(database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tmws_gateway.audit.log.RING", 10)
    log = AuditLog(database, tmp_path, SECRET)
    for _ in range(25):
        log.record(exchange())
    assert len(list((tmp_path / "audit").glob("*.ndjson"))) == 2
    await log.flush()
    assert (await verify(database, tmp_path)).head == 25


async def test_locked_chain_keeps_nobody_waiting_for_long(
    database: Database, urls: DatabaseUrls, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tmws_gateway.audit.log.WRITE_TIMEOUT_S", 0.2)
    log = AuditLog(database, tmp_path, SECRET)
    log.record(exchange())
    hung = await asyncpg.connect(urls.for_service("gateway"))
    async with hung.transaction():
        await hung.execute("SELECT pg_advisory_xact_lock(hashtextextended('tmws audit chain', 0))")
        assert not await log.flush()
    await hung.close()
    assert await log.flush()
    assert await count(database) == 1


async def test_empty_chain_is_intact(database: Database, tmp_path: Path) -> None:
    found = await verify(database, tmp_path)
    assert (found.intact, found.head, found.checkpoints) == (True, 0, 0)


async def test_export_of_everything_follows_without_a_gap(database: Database, tmp_path: Path) -> None:
    await writer(database, tmp_path / "a").append(events(1200))
    signer = Signer(SECRET)
    pieces = [piece async for piece in export_lines(database, signer, None, AuditFilter())]
    lines = b"".join(pieces).splitlines(keepends=True)
    assert check_export(lines, signer.verifier.public_key).records == 1200
    records = [orjson.loads(line) for line in lines[:-1]]
    assert records[0]["previous"] == "00" * 32
    assert all(later["previous"] == record["hash"] for record, later in pairwise(records))


async def test_export_has_no_record_of_another_namespace(database: Database, tmp_path: Path) -> None:
    batch = [{**event, "namespace": f"team-{number % 2}"} for number, event in enumerate(events(6))]
    await writer(database, tmp_path / "a").append(batch)
    pieces = [piece async for piece in export_lines(database, Signer(SECRET), "team-1", AuditFilter())]
    records = [orjson.loads(line) for line in b"".join(pieces).splitlines()[:-1]]
    assert [(record["seq"], record["event"]["namespace"]) for record in records] == [
        (2, "team-1"), (4, "team-1"), (6, "team-1"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ({"persona": "artemis"}, 2), ({"persona": "athena"}, 0), ({"address": "192.0.2.1"}, 2),
        ({"subject": "alice"}, 2), ({"key_id": "k2"}, 0), ({"status": 201}, 1), ({"decision": Decision.DENIED}, 1),
        ({"request_id": "request-1"}, 2),
    ],
)  # fmt: skip
async def test_export_and_list_have_what_the_filter_asks_for(
    database: Database, tmp_path: Path, wanted: dict[str, Any], found: int
) -> None:
    batch = [describe(exchange(status), b"key") for status in (201, 403)]
    await writer(database, tmp_path / "a").append(batch)
    listed = await list_events(database, "default", AuditFilter(**wanted), None, 10)
    pieces = [piece async for piece in export_lines(database, Signer(SECRET), "default", AuditFilter(**wanted))]
    assert [len(listed), b"".join(pieces).count(b"\n") - 1] == [found, found]


def test_line_that_a_crash_tore_is_written_again(tmp_path: Path) -> None:
    path = tmp_path / "checkpoints.jsonl"
    first, second = (Signer(SECRET).checkpoint(Head(seq, GENESIS), 1) for seq in (1, 2))
    CheckpointFile(path).append([first])
    with path.open("ab") as file:
        file.write(second.line()[:50])
    assert CheckpointFile(path).read(0, 9).found == [first]
    CheckpointFile(path).append([first, second])
    found = CheckpointFile(path).read(0, 9)
    assert (found.found, found.last, found.unreadable_lines) == ([first, second], second, [])


@pytest.mark.parametrize("text", ["", "nonsense", "{}"])
async def test_damaged_note_of_the_head_is_written_anew(database: Database, tmp_path: Path, text: str) -> None:
    folder = tmp_path / "audit"
    await writer(database, folder).append(events(1))
    (folder / "head.json").write_text(text)
    assert (await verify(database, tmp_path)).intact
    await writer(database, folder).append(events(1))
    assert orjson.loads((folder / "head.json").read_bytes())["seq"] == 2


async def test_gateway_notes_what_others_have_written(database: Database, tmp_path: Path) -> None:
    first, second = writer(database, tmp_path / "a"), writer(database, tmp_path / "b")
    await first.append(events(3))
    await second.append([])
    assert orjson.loads((tmp_path / "b" / "head.json").read_bytes())["seq"] == 3
