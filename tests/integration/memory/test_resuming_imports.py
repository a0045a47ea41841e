"""Imports tell how far they are, and go on where they were broken off."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from support.bulk import counts, exported, faults, import_file, lines, pieces
from support.service import ServiceUnderTest
from tmws_memory.bulk import importer, importing


async def said(memory: ServiceUnderTest, namespace: str) -> list[str]:
    return [record["content"] for record in await exported(memory, namespace=namespace)]


async def test_whole_file_goes_on_where_a_truncated_one_ended(memory: ServiceUnderTest) -> None:
    file = lines({"content": "Line one."}, {"content": "Line two."}, {"content": "Line three."})
    cut = await import_file(memory, file[:-9], "?import_id=later", namespace="later")

    answer = await import_file(memory, file, "?import_id=later", namespace="later")

    assert (counts(cut), cut[-1]["file"]) == ((3, 2, 0, 1), "truncated")
    assert answer[0]["resumed_after"] == 2
    assert counts(answer) == (3, 3, 0, 0)


async def test_progress_is_told_batch_by_batch(memory: ServiceUnderTest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importing, "BATCH_RECORDS", 10)

    answer = await import_file(memory, lines(*({"content": f"Step {n}"} for n in range(25))), namespace="steps")

    assert [line["line"] for line in answer if "stored" in line] == [10, 20, 25, 25]
    assert [line["stored"] for line in answer if "stored" in line] == [10, 20, 25, 25]


async def test_import_that_was_broken_off_goes_on_after_the_last_committed_record(
    memory: ServiceUnderTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importing, "BATCH_RECORDS", 10)
    records = [{"content": f"Part {n}"} for n in range(25)]
    records[3] = {"content": "Part 3", "importance": 7}
    file = lines(*records)
    await import_file(memory, file[: len(lines(*records[:20]))], "?import_id=one", namespace="parts")

    answer = await import_file(memory, file, "?import_id=one", namespace="parts")

    assert answer[0] == {"import_id": "one", "resumed_after": 20}
    assert faults(answer) == [(4, "/importance")]
    assert counts(answer) == (25, 24, 0, 1)
    assert len(await said(memory, "parts")) == 24


async def test_idempotency_key_is_the_import_id(memory: ServiceUnderTest) -> None:
    file = lines({"content": "Once."}, {"content": "And again."})
    await import_file(memory, file, headers={"idempotency-key": "k1"}, namespace="keyed")

    answer = await import_file(memory, file, headers={"idempotency-key": "k1"}, namespace="keyed")

    assert answer[0] == {"import_id": "k1", "resumed_after": 2}
    assert counts(answer) == (2, 2, 0, 0)


async def test_import_id_of_another_file_is_refused(memory: ServiceUnderTest) -> None:
    await import_file(memory, lines({"content": "File A."}, {"content": "More A."}), "?import_id=f", namespace="files")

    answer = await import_file(
        memory, lines({"content": "File B."}, {"content": "More."}), "?import_id=f", namespace="files"
    )
    shorter = await import_file(memory, lines({"content": "File A."}), "?import_id=f", namespace="files")

    assert answer[-1]["error"]["errors"][0]["pointer"] == "?import_id"
    assert shorter[-1]["error"]["status"] == 422
    assert sorted(await said(memory, "files")) == ["File A.", "More A."]


async def test_import_id_means_nothing_to_others(memory: ServiceUnderTest) -> None:
    await import_file(memory, lines({"content": "Mine."}), "?import_id=shared", namespace="here")

    elsewhere = await import_file(memory, lines({"content": "Yours."}), "?import_id=shared", namespace="there")
    persona = await import_file(
        memory, lines({"content": "Hera's."}), "?import_id=shared", namespace="here", persona="hera"
    )

    assert elsewhere[0]["resumed_after"] == 0
    assert persona[0]["resumed_after"] == 0


async def test_import_without_an_id_is_given_one(memory: ServiceUnderTest) -> None:
    file = lines({"content": "Named by us."})
    first = await import_file(memory, file, namespace="given")

    second = await import_file(memory, file, f"?import_id={first[0]['import_id']}", namespace="given")

    assert second[0]["resumed_after"] == 1


async def test_import_may_take_longer_than_a_request(memory: ServiceUnderTest) -> None:
    async def slowly() -> AsyncIterator[bytes]:
        for n in range(5):
            yield lines({"content": f"Slow {n}"})
            await asyncio.sleep(0.1)

    headers = {"x-tmws-timeout-ms": "200"}

    answer = await import_file(memory, slowly(), headers=headers, namespace="slow")

    assert counts(answer) == (5, 5, 0, 0)


async def test_same_import_by_two_at_once_is_done_once(memory: ServiceUnderTest) -> None:
    file = lines(*({"content": f"Raced {n}"} for n in range(50)))

    answers = await asyncio.gather(*(import_file(memory, file, "?import_id=r", namespace="raced") for _ in range(2)))

    assert [counts(answer) for answer in answers] == [(50, 50, 0, 0)] * 2
    assert sorted(answer[0]["resumed_after"] for answer in answers) == [0, 50]
    assert len(await said(memory, "raced")) == 50


async def test_same_file_by_two_imports_at_once_is_there_once(memory: ServiceUnderTest) -> None:
    file = lines(*({"content": f"Doubled {n}"} for n in range(300)))

    answers = await asyncio.gather(*(import_file(memory, file, namespace="doubled") for _ in range(2)))

    assert sum(counts(answer)[1] for answer in answers) == 300
    assert len(await said(memory, "doubled")) == 300


async def test_import_beyond_those_at_once_is_told_to_come_back(
    memory: ServiceUnderTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importer, "MAX_AT_ONCE", 0)

    answer = await memory.call("POST", "/api/v1/memory/import", content=lines({"content": "Later."}))

    assert answer.status_code == 503
    assert answer.headers["retry-after"]


async def test_large_import_in_its_own_process_answers_alike(memory: ServiceUnderTest) -> None:
    file = lines({"content": "One."}, {"content": "Bad.", "importance": 2}, {"content": "Two."})
    here = await import_file(memory, file, "?import_id=same", namespace="here2")

    apart = await import_file(memory, pieces(file), "?import_id=same", namespace="apart2")

    assert apart == here
