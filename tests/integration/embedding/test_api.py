"""The service over HTTP."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import httpx2
import numpy as np
import pytest
from redis import Redis

from support.redis import RedisForTests
from tmws_contracts.embedding import RAW_VECTORS, Embeddings, EmbeddingStats
from tmws_embedding.model import Embedder
from tmws_shared.auth import InternalTokens, Principal

Serve = Callable[..., AbstractAsyncContextManager[httpx2.AsyncClient]]
LONG = "agents remember what they were told " * 40


async def embed(client: httpx2.AsyncClient, texts: list[str], **more: object) -> list[list[float]]:
    response = await client.post("/embed", json={"texts": texts, **more})
    assert response.status_code == 200, response.text
    return Embeddings.model_validate_json(response.content).vectors


async def stats(client: httpx2.AsyncClient) -> EmbeddingStats:
    return EmbeddingStats.model_validate_json((await client.get("/stats")).content)


async def wait_for_bulk_work(client: httpx2.AsyncClient) -> None:
    for _ in range(500):
        if (await stats(client)).queue.bulk:
            return
        await asyncio.sleep(0.01)
    raise AssertionError("no bulk work began")


async def test_json_answer_tells_vectors_and_their_model(client: httpx2.AsyncClient, embedder: Embedder) -> None:
    response = await client.post("/embed", json={"texts": ["one", "two"]})

    answer = Embeddings.model_validate_json(response.content)
    assert (answer.model, answer.precision, answer.dimension) == ("all-MiniLM-L6-v2", "int8", 384)
    assert np.allclose(answer.vectors, embedder.embed(["one", "two"]).vectors, atol=1e-7)


async def test_raw_answer_is_little_endian_float32(client: httpx2.AsyncClient, embedder: Embedder) -> None:
    response = await client.post("/embed", json={"texts": ["one", "two"]}, headers={"accept": RAW_VECTORS})

    assert response.headers["content-type"] == RAW_VECTORS
    assert response.headers["x-tmws-embedding-model"] == "all-MiniLM-L6-v2"
    assert response.headers["x-tmws-embedding-precision"] == "int8"
    assert response.headers["x-tmws-embedding-dimension"] == "384"
    assert np.frombuffer(response.content, "<f4").tobytes() == embedder.embed(["one", "two"]).vectors.tobytes()


async def test_answer_keeps_the_order_of_256_texts(client: httpx2.AsyncClient, embedder: Embedder) -> None:
    texts = [f"note number {number}" for number in range(256)]

    vectors = await embed(client, texts)

    assert np.allclose(vectors[200], embedder.embed([texts[200]]).vectors[0], atol=1e-7)


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"texts": []}, "/texts"),
        ({"texts": ["fine", ""]}, "/texts/1"),
        ({"texts": ["x" * 65_537]}, "/texts/0"),
        ({"texts": ["x"] * 257}, "/texts"),
        ({"texts": "x"}, "/texts"),
        ({"texts": [["x"]]}, "/texts/0"),
        ({}, "/texts"),
        ({"texts": ["x"], "model": "other"}, "/model"),
        ({"texts": ["x"], "cache": "maybe"}, "/cache"),
    ],
)
async def test_wrong_field_is_named(client: httpx2.AsyncClient, body: dict[str, object], pointer: str) -> None:
    response = await client.post("/embed", json=body)

    assert response.status_code == 422
    assert [error["pointer"] for error in response.json()["errors"]] == [pointer]


async def test_rejected_text_is_not_repeated(client: httpx2.AsyncClient) -> None:
    response = await client.post("/embed", json={"texts": ["very private " * 6000]})

    assert response.status_code == 422
    assert "private" not in response.text


@pytest.mark.parametrize(
    ("body", "status"),
    [(b'{"texts": [', 400), (b"", 422), (b'{"texts": ["\\ud800"]}', 422), (b'{"texts": [NaN]}', 422), (b"[]", 422)],
)
async def test_broken_body_is_the_callers_fault(client: httpx2.AsyncClient, body: bytes, status: int) -> None:
    response = await client.post("/embed", content=body, headers={"content-type": "application/json"})

    assert (response.status_code, response.headers["content-type"]) == (status, "application/problem+json")


@pytest.mark.parametrize("authorization", ["", "Bearer nonsense"])
async def test_without_an_internal_token_nothing_is_embedded(client: httpx2.AsyncClient, authorization: str) -> None:
    response = await client.post("/embed", json={"texts": ["x"]}, headers={"authorization": authorization})

    assert response.status_code == 401
    assert (await stats(client)).texts == 0


async def test_token_for_another_service_is_refused(client: httpx2.AsyncClient) -> None:
    token = InternalTokens("embedding tests 0123456789abcdef").mint(Principal("tester"), "memory")

    response = await client.get("/stats", headers={"authorization": f"Bearer {token}"})

    assert response.status_code == 401


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/metrics"])
async def test_health_needs_no_token(client: httpx2.AsyncClient, path: str) -> None:
    assert (await client.get(path, headers={"authorization": ""})).status_code == 200


async def test_metrics_tell_texts_and_queue(client: httpx2.AsyncClient) -> None:
    await embed(client, ["one"])

    metrics = (await client.get("/metrics")).text

    assert "tmws_embedding_texts_total" in metrics
    assert 'tmws_embedding_queued_texts{lane="interactive"} 0.0' in metrics


async def test_request_past_its_deadline_is_given_up_and_its_texts_dropped(client: httpx2.AsyncClient) -> None:
    texts = [f"{LONG} {number}" for number in range(256)]

    response = await client.post("/embed", json={"texts": texts}, headers={"x-tmws-timeout-ms": "50"})

    after = await stats(client)
    assert response.status_code == 503
    assert (after.queue.bulk, after.texts) == (0, 0)


async def test_full_queue_answers_503_with_retry_after(serve: Serve) -> None:
    body = {"texts": [f"{LONG} {number}" for number in range(256)]}
    async with serve(embedding_queue_texts=256, embedding_threads=1) as client:
        first = asyncio.create_task(client.post("/embed", json=body))
        await wait_for_bulk_work(client)
        refused = await client.post("/embed", json=body)
        first.cancel()

    assert refused.status_code == 503
    assert refused.json()["title"] == "Too many texts are waiting to be embedded"
    assert int(refused.headers["retry-after"]) >= 1


async def test_known_text_is_answered_from_the_cache(serve: Serve, empty_redis_url: str) -> None:
    async with serve(redis_url=empty_redis_url) as client:
        computed = await embed(client, ["a question asked twice"])
        repeated = await embed(client, ["a question asked twice"])
        after = await stats(client)

    assert repeated == computed
    assert (after.texts, after.cache.hits, after.cache.misses) == (1, 1, 1)


async def test_only_unknown_texts_are_computed(serve: Serve, empty_redis_url: str, embedder: Embedder) -> None:
    async with serve(redis_url=empty_redis_url) as client:
        await embed(client, ["known"])
        vectors = await embed(client, ["new", "known", "newer"])
        after = await stats(client)

    assert np.allclose(vectors, embedder.embed(["new", "known", "newer"]).vectors, atol=1e-7)
    assert after.texts == 3


async def test_cached_vector_expires(serve: Serve, empty_redis_url: str) -> None:
    async with serve(redis_url=empty_redis_url, embedding_cache_seconds=60) as client:
        await embed(client, ["for a minute"])

    with Redis.from_url(empty_redis_url) as redis:
        assert [0 < redis.ttl(key) <= 60 for key in redis.scan_iter()] == [True]


@pytest.mark.parametrize(("seconds", "cache"), [(60, False), (0, True)], ids=["not asked for", "switched off"])
async def test_uncached_text_leaves_no_trace(serve: Serve, empty_redis_url: str, seconds: int, cache: bool) -> None:
    async with serve(redis_url=empty_redis_url, embedding_cache_seconds=seconds) as client:
        await embed(client, ["to be forgotten"], cache=cache)

    with Redis.from_url(empty_redis_url) as redis:
        assert redis.keys() == []


async def test_value_of_another_length_in_the_cache_is_ignored(
    serve: Serve, empty_redis_url: str, embedder: Embedder
) -> None:
    async with serve(redis_url=empty_redis_url) as client:
        await embed(client, ["overwritten"])
        with Redis.from_url(empty_redis_url) as redis:
            redis.set(redis.keys()[0], b"short")
        vectors = await embed(client, ["overwritten"])

    assert np.allclose(vectors, embedder.embed(["overwritten"]).vectors, atol=1e-7)


async def test_redis_that_hangs_delays_a_request_by_a_moment_only(serve: Serve, redis_server: RedisForTests) -> None:
    async with serve(redis_url=redis_server.url) as client:
        await embed(client, ["before"])
        redis_server.pause()
        try:
            started = time.monotonic()
            vectors = [await embed(client, [f"meanwhile {number}"]) for number in range(10)]
            took_s = time.monotonic() - started
        finally:
            redis_server.resume()

    assert len(vectors) == 10
    assert took_s < 2


async def test_redis_that_is_gone_is_no_error(serve: Serve, tmp_path: Path) -> None:
    async with serve(redis_url=f"unix://{tmp_path}/nobody.sock") as client:
        vectors = await embed(client, ["alone"])

    assert len(vectors) == 1
