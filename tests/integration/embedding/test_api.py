"""The service over HTTP."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import httpx2
import numpy as np
import pytest
from redis import Redis

from support.redis import RedisForTests
from tmws_contracts.embedding import (
    MODEL_HEADER,
    PRECISION_HEADER,
    RAW_VECTORS,
    Embeddings,
    EmbeddingStats,
    ServedModel,
    ServedModels,
)
from tmws_embedding.artifacts import CONVERTER_VERSION
from tmws_embedding.model import Embedder
from tmws_shared.auth import InternalTokens, Principal

Serve = Callable[..., AbstractAsyncContextManager[httpx2.AsyncClient]]
MODEL = "all-MiniLM-L6-v2"
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
        ({"texts": ["x"], "precision": "fp32"}, "/precision"),
        ({"texts": ["x"], "model": ""}, "/model"),
        ({"texts": ["x"], "model": ["all-MiniLM-L6-v2"]}, "/model"),
        ({"texts": ["x"], "dimension": 384}, "/dimension"),
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
    token = InternalTokens("embedding tests 0123456789abcdef").mint(Principal("tester"), "memory", "GET")

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


async def test_known_text_is_answered_from_the_cache(client: httpx2.AsyncClient) -> None:
    computed = await embed(client, ["a question asked twice"])
    repeated = await embed(client, ["a question asked twice"])
    after = await stats(client)

    assert repeated == computed
    assert (after.texts, after.cache.hits, after.cache.misses) == (1, 1, 1)


async def test_long_text_known_to_another_process_is_answered_from_redis(serve: Serve, empty_redis_url: str) -> None:
    async with serve(redis_url=empty_redis_url) as one:
        computed = await embed(one, [LONG])
    async with serve(redis_url=empty_redis_url) as other:
        repeated = await embed(other, [LONG])
        after = await stats(other)

    assert repeated == computed
    assert (after.texts, after.cache.hits, after.cache.misses) == (0, 1, 0)


async def test_redis_is_not_asked_to_keep_a_short_text(serve: Serve, empty_redis_url: str) -> None:
    async with serve(redis_url=empty_redis_url) as client:
        await embed(client, ["cheaper to compute than to ask for"])

    with Redis.from_url(empty_redis_url) as redis:
        assert redis.keys() == []


async def test_only_unknown_texts_are_computed(serve: Serve, empty_redis_url: str, embedder: Embedder) -> None:
    new, newer = f"new {LONG}", f"newer {LONG}"
    async with serve(redis_url=empty_redis_url) as client:
        await embed(client, [LONG])
        vectors = await embed(client, [new, LONG, newer])
        after = await stats(client)

    assert np.allclose(vectors, embedder.embed([new, LONG, newer]).vectors, atol=1e-7)
    assert after.texts == 3


async def test_cached_vector_expires(serve: Serve, empty_redis_url: str) -> None:
    async with serve(redis_url=empty_redis_url, embedding_cache_seconds=60) as client:
        await embed(client, [LONG])

    with Redis.from_url(empty_redis_url) as redis:
        assert [0 < redis.ttl(key) <= 60 for key in redis.scan_iter()] == [True]


@pytest.mark.parametrize(("seconds", "cache"), [(60, False), (0, True)], ids=["not asked for", "switched off"])
async def test_uncached_text_leaves_no_trace(serve: Serve, empty_redis_url: str, seconds: int, cache: bool) -> None:
    async with serve(redis_url=empty_redis_url, embedding_cache_seconds=seconds) as client:
        await embed(client, [LONG], cache=cache)

    with Redis.from_url(empty_redis_url) as redis:
        assert redis.keys() == []


async def test_value_of_another_length_in_the_cache_is_ignored(
    serve: Serve, empty_redis_url: str, embedder: Embedder
) -> None:
    async with serve(redis_url=empty_redis_url) as client:
        await embed(client, [LONG])
    with Redis.from_url(empty_redis_url) as redis:
        redis.set(redis.keys()[0], b"short")
    async with serve(redis_url=empty_redis_url) as client:
        vectors = await embed(client, [LONG])

    assert np.allclose(vectors, embedder.embed([LONG]).vectors, atol=1e-7)


async def test_redis_that_hangs_does_not_hang_a_request(serve: Serve, redis_server: RedisForTests) -> None:
    async with serve(redis_url=redis_server.url) as client:
        await embed(client, ["before"])
        redis_server.pause()
        try:
            async with asyncio.timeout(60):
                vectors = [await embed(client, [f"{number} {LONG}"]) for number in range(10)]
        finally:
            redis_server.resume()

    assert len(vectors) == 10


async def test_redis_that_is_gone_is_no_error(serve: Serve, tmp_path: Path) -> None:
    async with serve(redis_url=f"unix://{tmp_path}/nobody.sock") as client:
        vectors = await embed(client, ["alone"])

    assert len(vectors) == 1


async def served(client: httpx2.AsyncClient) -> list[ServedModel]:
    return ServedModels.model_validate_json((await client.get("/models")).content).models


async def test_one_model_is_served_by_default(client: httpx2.AsyncClient) -> None:
    expected = ServedModel(
        model=MODEL, precision="int8", dimension=384, revision=f"int8-{CONVERTER_VERSION}", is_current=True
    )

    assert await served(client) == [expected]


async def test_older_precision_is_served_beside_the_current_one(serve: Serve, exact_embedder: Embedder) -> None:
    async with serve(embedding_also=f"{MODEL}:fp32") as client:
        listed = [(item.precision, item.is_current) for item in await served(client)]
        response = await client.post("/embed", json={"texts": ["one"], "model": MODEL, "precision": "fp32"})

    answer = Embeddings.model_validate_json(response.content)
    assert listed == [("int8", True), ("fp32", False)]
    assert (answer.model, answer.precision) == (MODEL, "fp32")
    assert np.allclose(answer.vectors, exact_embedder.embed(["one"]).vectors, atol=1e-7)


async def test_raw_answer_names_the_model_that_was_asked_for(serve: Serve, own_model: Path) -> None:
    async with serve(embedding_also=str(own_model)) as client:
        name = (await served(client))[1].model
        body = {"texts": ["one"] * 6, "model": name}
        response = await client.post("/embed", json=body, headers={"accept": RAW_VECTORS})

    assert name.startswith("own@")
    assert (response.headers[MODEL_HEADER], response.headers[PRECISION_HEADER]) == (name, "file")
    assert np.frombuffer(response.content, "<f4").shape == (6 * 384,)


async def test_model_not_served_is_answered_with_what_is(serve: Serve) -> None:
    async with serve(embedding_also=f"{MODEL}:fp32") as client:
        response = await client.post("/embed", json={"texts": ["one"], "model": "private name"})

    assert (response.status_code, response.json()["title"]) == (422, "The model is not served here")
    assert response.json()["errors"] == [
        {"pointer": "/model", "detail": f"must be one of {MODEL} in int8, {MODEL} in fp32"}
    ]
    assert "private" not in response.text


async def test_the_same_text_has_a_vector_of_each_model(serve: Serve, empty_redis_url: str) -> None:
    async with serve(redis_url=empty_redis_url, embedding_also=f"{MODEL}:fp32") as client:
        first = await embed(client, [LONG])
        other = await embed(client, [LONG], precision="fp32")
        after = await stats(client)

    assert first != other
    assert after.cache.hits == 0


@pytest.mark.parametrize("path", ["/models", "/stats"])
async def test_without_an_internal_token_nothing_is_told(client: httpx2.AsyncClient, path: str) -> None:
    assert (await client.get(path, headers={"authorization": ""})).status_code == 401


async def test_query_is_answered_while_the_bulk_lane_is_full(serve: Serve) -> None:
    body = {"texts": [f"{LONG} {number}" for number in range(256)]}
    async with serve(embedding_queue_texts=256, embedding_threads=1) as client:
        first = asyncio.create_task(client.post("/embed", json=body))
        await wait_for_bulk_work(client)
        response = await client.post("/embed", json={"texts": ["short"]})
        is_bulk_done = first.done()
        first.cancel()

    assert (response.status_code, is_bulk_done) == (200, False)
