"""Imports: what is good is in, what is bad is named, and nothing is read twice."""

from __future__ import annotations

import json
from typing import Any

import pytest

from support.bulk import (
    OWN,
    counts,
    embedding,
    export,
    exported,
    faults,
    import_file,
    lines,
    pieces,
    vector,
    without,
)
from support.memories import contents, store
from support.service import ServiceUnderTest
from tmws_memory.bulk import importing
from tmws_memory.bulk.splitting import MAX_RECORD_BYTES

WITHOUT_IMPERSONATION = frozenset({"memory:read", "memory:write"})


async def said(memory: ServiceUnderTest, namespace: str) -> list[str]:
    return [record["content"] for record in await exported(memory, namespace=namespace)]


@pytest.mark.parametrize("query", ["", "?vectors=true"])
async def test_own_export_comes_back_as_it_was(memory: ServiceUnderTest, query: str) -> None:
    source, target = f"source{len(query)}", f"target{len(query)}"
    await store(memory, "Long. " * 400, tags=["a"], importance=0.9, namespace=source)
    await store(memory, "港は南にある。", session_id="s", occurred_at="2024-01-01T00:00:00Z", namespace=source)
    await store(memory, "Twice.", namespace=source)
    await store(memory, "Twice.", namespace=source)
    await store(memory, "For a while.", ttl_seconds=3600, metadata={"k": [1]}, namespace=source)
    file = await export(memory, query, namespace=source)

    answer = await import_file(memory, file, namespace=target)

    before, after = [
        without(await exported(memory, query, namespace=name), *OWN, "version") for name in (source, target)
    ]
    assert counts(answer) == (4, 4, 0, 0)
    assert answer[-1]["file"] == "whole"
    assert after == before


async def test_imported_vectors_find_at_once(memory: ServiceUnderTest) -> None:
    await store(memory, "The harbour master signs the permits.", namespace="found1")
    file = await export(memory, "?vectors=true", namespace="found1")

    answer = await import_file(memory, file, namespace="found2")

    assert answer[-1]["pending"] == 0
    assert await contents(memory, "Who signs permits?", mode="semantic", namespace="found2")


async def test_import_without_vectors_is_pending_and_found_by_words(memory: ServiceUnderTest) -> None:
    answer = await import_file(memory, lines({"content": "A pelican on the pier."}), namespace="pending")

    assert answer[-1]["pending"] == 1
    assert await contents(memory, "pelican", namespace="pending") == ["A pelican on the pier."]


async def test_bad_lines_are_named_and_good_ones_kept(memory: ServiceUnderTest) -> None:
    file = b"\n".join(
        [
            b'{"content": "Good one."}',
            b"nonsense",
            b'{"content": "Too important.", "importance": 1.1}',
            b"",
            b'{"content": "Cut in \xe6\xb8"}',
            b'{"content": "Unknown field.", "is_admin": true}',
            b'{"content": "Twice.", "content": "Twice."}',
            b'{"content": "Nul \\u0000"}',
            b'{"content": "Surrogate \\ud800"}',
            b'{"content": NaN}',
            b"[1, 2]",
            b'{"nothing": "known"}',
            b'{"content": "Good two."}',
        ]
    )

    answer = await import_file(memory, file, namespace="bad")

    assert counts(answer) == (12, 2, 0, 10)
    assert faults(answer) == [
        (2, ""),
        (3, "/importance"),
        (5, ""),
        (6, "/is_admin"),
        (7, "/content"),
        (8, "/content"),
        (9, "/content"),
        (10, "/content"),
        (11, ""),
        (12, ""),
    ]
    assert await said(memory, "bad") == ["Good one.", "Good two."]


async def test_rejected_values_are_not_repeated(memory: ServiceUnderTest) -> None:
    answer = await import_file(memory, b'{"content": "x", "tier": "sesame-tier", "created_at": "sesame-time"}\nsesame')

    assert len(faults(answer)) == 2
    assert "sesame" not in json.dumps(answer)


async def test_truncated_export_is_recognised_and_what_was_good_is_in(memory: ServiceUnderTest) -> None:
    for n in range(5):
        await store(memory, f"Entry {n}.", namespace="cut1")
    file = await export(memory, namespace="cut1")
    middle = file.index(b"Entry 3")

    answer = await import_file(memory, file[:middle], namespace="cut2")

    assert counts(answer) == (4, 3, 0, 1)
    assert faults(answer) == [(5, "")]
    assert answer[-1]["file"] == "truncated"
    assert await said(memory, "cut2") == ["Entry 0.", "Entry 1.", "Entry 2."]


async def test_export_without_some_of_its_lines_is_recognised(memory: ServiceUnderTest) -> None:
    for n in range(3):
        await store(memory, f"Line {n}.", namespace="lost1")
    file = (await export(memory, namespace="lost1")).splitlines(keepends=True)

    answer = await import_file(memory, b"".join(file[:1] + file[2:]), namespace="lost2")

    assert answer[-1]["file"] == "truncated"


async def test_file_cut_within_a_character_loses_only_that_line(memory: ServiceUnderTest) -> None:
    file = lines({"content": "Whole."}, {"content": "半分"})

    answer = await import_file(memory, file[:-5], namespace="utf8")

    assert counts(answer) == (2, 1, 0, 1)
    assert await said(memory, "utf8") == ["Whole."]


async def test_huge_line_is_passed_over_and_named(memory: ServiceUnderTest) -> None:
    huge = b'{"content": "' + b"x" * (MAX_RECORD_BYTES + 1) + b'"}\n'
    file = lines({"content": "Before."}) + huge + lines({"content": "After."})

    answer = await import_file(memory, pieces(file, 65536), namespace="huge")

    assert faults(answer) == [(2, "")]
    assert await said(memory, "huge") == ["Before.", "After."]


@pytest.mark.parametrize(
    ("record", "pointer"),
    [
        ({"content": " "}, "/content"),
        ({"content": "x" * 65_537}, "/content"),
        ({"content": "x", "metadata": {str(n): n for n in range(300)}}, "/metadata"),
        ({"content": "x", "tier": "eternal"}, "/tier"),
        ({"content": "x", "ttl_seconds": 0}, "/ttl_seconds"),
        ({"content": "x", "ttl_seconds": 10**12}, "/ttl_seconds"),
        ({"content": "x", "created_at": "2999-01-01T00:00:00Z"}, "/created_at"),
        ({"content": "x", "created_at": "0001-01-01T00:00:00Z"}, "/created_at"),
        ({"content": "x", "tier": "short_term", "expires_at": "2020-01-01T00:00:00Z"}, "/expires_at"),
        ({"content": "x", "tier": "long_term", "expires_at": "2999-01-01T00:00:00Z"}, "/expires_at"),
        ({"content": "x", "store_count": 0}, "/store_count"),
        ({"content": "x", "embedding": embedding(1, vectors=["AAAA"])}, "/embedding/vectors/0"),
        ({"content": "x", "embedding": embedding(1, vectors=[vector(1), "A" * 1024])}, "/embedding/vectors/1"),
        ({"content": "x", "embedding": embedding(1, vectors=["/n7+" * 256])}, "/embedding/vectors/0"),
        ({"content": "x", "embedding": embedding(1, dtype="int8")}, "/embedding/dtype"),
        ({"format": "tmws-memories", "version": 2}, "/version"),
        ({"type": "entity", "name": "E"}, "/entityType"),
        ({"memory": 5}, "/memory"),
        ({"content": "x", "content_hash": "h", "created_at": "soon"}, "/created_at"),
    ],
)
async def test_bad_field_is_named(memory: ServiceUnderTest, record: dict[str, Any], pointer: str) -> None:
    answer = await import_file(memory, lines(record), namespace="fields")

    assert faults(answer) == [(1, pointer)]
    assert await said(memory, "fields") == []


@pytest.mark.parametrize("body", [b"", b"\n \n", b"\xef\xbb\xbf{}"])
async def test_body_that_is_no_file_is_refused(memory: ServiceUnderTest, body: bytes) -> None:
    answer = await memory.call("POST", "/api/v1/memory/import", content=body)

    assert answer.status_code == 400


async def test_known_content_stays_as_it_is(memory: ServiceUnderTest) -> None:
    await store(memory, "Known.", importance=0.2, tags=["mine"], namespace="known")
    before = await exported(memory, namespace="known")

    answer = await import_file(
        memory, lines({"content": "Known.", "importance": 1}, {"content": "Known."}), namespace="known"
    )

    assert counts(answer) == (2, 0, 2, 0)
    assert await exported(memory, namespace="known") == before


async def test_same_content_twice_in_a_file_is_one_memory(memory: ServiceUnderTest) -> None:
    answer = await import_file(memory, lines(*[{"content": "Again."}] * 5), namespace="twice")

    assert counts(answer) == (5, 1, 4, 0)


async def test_vectors_of_another_model_are_kept_under_its_name(memory: ServiceUnderTest) -> None:
    other = embedding(3, model="another/model", precision="fp32")
    await import_file(memory, lines({"content": "Foreign vectors.", "embedding": other}), namespace="foreign")

    (record,) = await exported(memory, "?vectors=true", namespace="foreign")

    assert (record["embedding"]["model"], record["embedding"]["vectors"]) == ("another/model", other["vectors"])
    assert await contents(memory, "foreign", namespace="foreign") == ["Foreign vectors."]


async def test_models_beyond_the_limit_are_embedded_anew(
    memory: ServiceUnderTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importing, "MAX_MODELS", 0)
    record = {"content": "Odd vectors.", "embedding": embedding(4, model="odd/model")}

    answer = await import_file(memory, lines(record), namespace="odd")

    assert counts(answer) == (1, 1, 0, 0)
    assert answer[-1]["pending"] == 1


async def test_import_goes_into_the_callers_namespace_whatever_the_file_says(memory: ServiceUnderTest) -> None:
    await import_file(memory, lines({"content": "Planted.", "namespace": "victim"}), namespace="attacker")

    assert await said(memory, "victim") == []
    assert await said(memory, "attacker") == ["Planted."]


async def test_id_of_another_memory_is_not_taken(memory: ServiceUnderTest) -> None:
    stored = await store(memory, "The original.", namespace="victim2")

    await import_file(memory, lines({"content": "The impostor.", "id": stored["id"]}), namespace="attacker2")

    (impostor,) = await exported(memory, namespace="attacker2")
    assert impostor["id"] != stored["id"]
    assert await said(memory, "victim2") == ["The original."]


async def test_nobody_imports_into_another_persona(memory: ServiceUnderTest) -> None:
    file = lines(
        {"content": "Hera's secret.", "persona_id": "hera", "visibility": "private"},
        {"content": "My secret.", "visibility": "private"},
    )

    answer = await import_file(memory, file, persona="eris", scopes=WITHOUT_IMPERSONATION, namespace="personas")

    (mine,) = await exported(memory, persona="eris", namespace="personas")
    assert faults(answer) == [(1, "/persona_id")]
    assert (mine["content"], mine["persona_id"]) == ("My secret.", "eris")
    assert await exported(memory, persona="hera", namespace="personas") == []


async def test_content_of_others_is_not_told_by_deduplication(memory: ServiceUnderTest) -> None:
    await store(memory, "A guess.", namespace="hidden")
    await store(memory, "Another guess.", persona="hera", visibility="private", namespace="guesser")

    answer = await import_file(
        memory,
        lines({"content": "A guess."}, {"content": "Another guess."}),
        persona="eris",
        scopes=WITHOUT_IMPERSONATION,
        namespace="guesser",
    )

    assert counts(answer) == (2, 2, 0, 0)


async def test_import_needs_the_right_to_write(memory: ServiceUnderTest) -> None:
    answer = await memory.call("POST", "/api/v1/memory/import", content=b"{}", scopes=frozenset({"memory:read"}))

    assert answer.status_code == 403
