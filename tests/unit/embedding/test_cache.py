"""What names a cached vector, and what happens without Redis."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tmws_embedding.artifacts import Artifact
from tmws_embedding.cache import VectorCache
from tmws_shared.redis import OptionalRedis

INT8 = Artifact("all-MiniLM-L6-v2", "int8", "int8-1", Path())
FP32 = Artifact("all-MiniLM-L6-v2", "fp32", "fp32-1", Path())
INT8_CONVERTED_ANEW = Artifact("all-MiniLM-L6-v2", "int8", "int8-2", Path())
OTHER = Artifact("other@0123456789ab", "file", "int8-1", Path())


def cache_of(artifact: Artifact) -> VectorCache:
    return VectorCache(OptionalRedis.at(""), artifact, 384, 60)


def test_same_text_has_the_same_key() -> None:
    assert cache_of(INT8).key("hello") == cache_of(INT8).key("hello")


@pytest.mark.parametrize("other", [FP32, INT8_CONVERTED_ANEW, OTHER])
def test_model_precision_and_conversion_have_keys_of_their_own(other: Artifact) -> None:
    assert cache_of(other).key("hello") != cache_of(INT8).key("hello")


@pytest.mark.parametrize("other", ["hello ", "Hello", "hell", ""])
def test_every_text_has_a_key_of_its_own(other: str) -> None:
    assert cache_of(INT8).key(other) != cache_of(INT8).key("hello")


def test_key_does_not_tell_the_text() -> None:
    assert "secret" not in cache_of(INT8).key("secret")


async def test_without_redis_nothing_is_known() -> None:
    assert await cache_of(INT8).get(["hello"]) == {}


async def test_without_redis_keeping_a_vector_is_no_error() -> None:
    await cache_of(INT8).put({"hello": np.zeros(384, np.float32)})


def test_without_redis_the_cache_is_off() -> None:
    assert not cache_of(INT8).is_on
