"""Exports: everything a caller owns, as a stream that tells whether it is whole."""

from __future__ import annotations

import base64
from typing import Any

import numpy as np

from support.bulk import export, exported, import_file, lines, read_lines
from support.memories import store
from support.service import ServiceUnderTest
from tmws_memory.bulk import exporting


async def test_header_comes_first_and_trailer_with_the_count_last(memory: ServiceUnderTest) -> None:
    await store(memory, "First.", namespace="framed")
    await store(memory, "Second.", namespace="framed")

    header, *_, trailer = read_lines(await export(memory, namespace="framed"))

    assert (header["format"], header["version"], header["vectors"]) == ("tmws-memories", 1, False)
    assert header["count_estimate"] == 2
    assert trailer == {"end": "tmws-memories", "count": 2}


async def test_export_of_nothing_is_whole(memory: ServiceUnderTest) -> None:
    assert read_lines(await export(memory, namespace="void"))[-1] == {"end": "tmws-memories", "count": 0}


async def test_export_is_ndjson(memory: ServiceUnderTest) -> None:
    answer = await memory.call("GET", "/api/v1/memory/export", namespace="void")

    assert answer.headers["content-type"] == "application/x-ndjson"


async def test_memory_is_exported_as_it_is(memory: ServiceUnderTest) -> None:
    fields: dict[str, Any] = {
        "importance": 0.8,
        "metadata": {"title": "Vault", "nested": {"a": [1, 2.5, None]}},
        "tags": ["b", "a"],
        "session_id": "s",
        "occurred_at": "2024-02-03T04:05:06.000007Z",
    }
    stored = await store(memory, "The key is in the vault.", namespace="asis", **fields)

    (record,) = await exported(memory, namespace="asis")

    left_out = {"namespace", "deduplicated", "embedding_model", "embedding_precision", "deleted_at"}
    assert {**record, "embedding": None} == {
        **{key: value for key, value in stored.items() if key not in left_out},
        "embedding": None,
    }


async def test_export_comes_oldest_first_over_many_pages(memory: ServiceUnderTest) -> None:
    count = 2 * exporting.PAGE + 7
    file = lines(
        *({"content": f"Memory {n}", "created_at": f"2024-01-{n % 28 + 1:02}T00:00:00Z"} for n in range(count))
    )
    await import_file(memory, file, namespace="pages")

    records = await exported(memory, namespace="pages")

    times = [record["created_at"] for record in records]
    assert len({record["content"] for record in records}) == count
    assert times == sorted(times)


async def test_vectors_are_those_of_the_parts(memory: ServiceUnderTest) -> None:
    long = " ".join(f"Sentence number {n} says something about the harbour." for n in range(120))
    await store(memory, long, namespace="vectors")

    (record,) = await exported(memory, "?vectors=true", namespace="vectors")

    packed = record["embedding"]
    vectors = np.stack([np.frombuffer(base64.b64decode(text), "<f2") for text in packed["vectors"]])
    assert (packed["precision"], packed["dtype"]) == ("int8", "float16")
    assert vectors.shape[0] > 3
    assert np.allclose(np.linalg.norm(vectors.astype(float), axis=1), 1, atol=0.01)


async def test_pending_memory_is_exported_without_vectors(memory_alone: ServiceUnderTest) -> None:
    await store(memory_alone, "Not embedded yet.", namespace="pending")

    (record,) = await exported(memory_alone, "?vectors=true", namespace="pending")

    assert record["embedding"] is None


async def test_filters_choose_what_is_exported(memory: ServiceUnderTest) -> None:
    await store(memory, "Tagged.", tags=["x", "y"], namespace="filtered")
    await store(memory, "Other.", tags=["y"], namespace="filtered")

    records = await exported(memory, "?tags=x&tags=y", namespace="filtered")

    assert [record["content"] for record in records] == ["Tagged."]


async def test_deleted_memory_is_not_exported(memory: ServiceUnderTest) -> None:
    stored = await store(memory, "Gone.", namespace="gone")
    await memory.call("DELETE", f"/api/v1/memory/{stored['id']}", namespace="gone")

    assert await exported(memory, namespace="gone") == []


async def test_unknown_filter_is_refused(memory: ServiceUnderTest) -> None:
    answer = await memory.call("GET", "/api/v1/memory/export?vector=true")

    assert answer.status_code == 422
    assert answer.json()["errors"][0]["pointer"] == "?vector"


async def test_export_needs_the_right_to_read(memory: ServiceUnderTest) -> None:
    answer = await memory.call("GET", "/api/v1/memory/export", scopes=frozenset({"memory:write"}))

    assert answer.status_code == 403


async def test_other_namespaces_and_personas_are_not_exported(memory: ServiceUnderTest) -> None:
    await store(memory, "Ours.", namespace="ours")
    await store(memory, "Hera's.", persona="hera", visibility="private", namespace="theirs")
    await store(memory, "Everybody's.", namespace="theirs")

    records = await exported(memory, persona="eris", namespace="theirs")
    header = read_lines(await export(memory, persona="eris", namespace="theirs"))[0]

    assert [record["content"] for record in records] == ["Everybody's."]
    assert header["count_estimate"] == 1


async def test_memory_that_is_only_shared_with_the_caller_is_not_exported(memory: ServiceUnderTest) -> None:
    stored = await store(memory, "Lent.", namespace="lender")
    await memory.call(
        "POST", f"/api/v1/memory/{stored['id']}/share", json={"namespace": "borrower"}, namespace="lender"
    )

    assert await exported(memory, namespace="borrower") == []
