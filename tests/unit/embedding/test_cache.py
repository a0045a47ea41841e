"""What names a cached vector, and what happens without Redis."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tmws_embedding.artifacts import Artifact
from tmws_embedding.cache import REDIS_MIN_CHARACTERS, Recent, VectorCache, cache_key, is_dear
from tmws_shared.redis import OptionalRedis

INT8 = Artifact("all-MiniLM-L6-v2", "int8", "int8-1", Path())
FP32 = Artifact("all-MiniLM-L6-v2", "fp32", "fp32-1", Path())
INT8_CONVERTED_ANEW = Artifact("all-MiniLM-L6-v2", "int8", "int8-2", Path())
OTHER = Artifact("other@0123456789ab", "file", "int8-1", Path())
ONE, TWO, THREE = (np.array([number], np.float32) for number in (1, 2, 3))


def cache_without_redis(ttl_s: int = 60) -> VectorCache:
    return VectorCache(OptionalRedis.at(""), ttl_s)


def test_same_text_has_the_same_key() -> None:
    assert cache_key(INT8, "hello") == cache_key(INT8, "hello")


@pytest.mark.parametrize("other", [FP32, INT8_CONVERTED_ANEW, OTHER])
def test_model_precision_and_conversion_have_keys_of_their_own(other: Artifact) -> None:
    assert cache_key(other, "hello") != cache_key(INT8, "hello")


@pytest.mark.parametrize("other", ["hello ", "Hello", "hell", ""])
def test_every_text_has_a_key_of_its_own(other: str) -> None:
    assert cache_key(INT8, other) != cache_key(INT8, "hello")


def test_key_does_not_tell_the_text() -> None:
    assert "secret" not in cache_key(INT8, "secret")


async def test_without_redis_nothing_is_known_at_first() -> None:
    assert await cache_without_redis().get(INT8, 1, ["hello"]) == {}


async def test_without_redis_keeping_a_dear_vector_is_no_error() -> None:
    await cache_without_redis().put(INT8, {"a" * REDIS_MIN_CHARACTERS: ONE})


async def test_recent_vector_is_known_without_redis() -> None:
    cache = cache_without_redis()

    cache.keep_recent(INT8, {"hello": ONE})

    assert await cache.get(INT8, 1, ["hello", "other"]) == {"hello": ONE}


async def test_recent_vector_of_another_model_is_not_taken() -> None:
    cache = cache_without_redis()

    cache.keep_recent(INT8, {"hello": ONE})

    assert await cache.get(FP32, 1, ["hello"]) == {}


def test_cache_of_no_seconds_is_off() -> None:
    assert not cache_without_redis(ttl_s=0).is_on


def test_vector_not_used_for_the_longest_time_makes_room() -> None:
    recent = Recent(capacity=2, ttl_s=60)
    recent.put("one", ONE)
    recent.put("two", TWO)
    recent.get("one")

    recent.put("three", THREE)

    assert (recent.get("one"), recent.get("two"), recent.get("three")) == (ONE, None, THREE)


def test_recent_vector_expires() -> None:
    recent = Recent(capacity=2, ttl_s=-1)

    recent.put("one", ONE)

    assert recent.get("one") is None


def test_recent_vector_does_not_change_with_the_array_it_came_from() -> None:
    recent = Recent(capacity=2, ttl_s=60)
    vector = ONE.copy()
    recent.put("one", vector)

    vector[0] = 7

    assert recent.get("one") == ONE


@pytest.mark.parametrize(("characters", "dear"), [(REDIS_MIN_CHARACTERS - 1, False), (REDIS_MIN_CHARACTERS, True)])
def test_redis_is_asked_for_long_texts_only(characters: int, dear: bool) -> None:
    assert is_dear("a" * characters) is dear
