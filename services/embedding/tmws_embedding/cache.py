"""Vectors already known: the latest ones in this process, dear ones in Redis; without it they are computed anew."""

from __future__ import annotations

import hashlib
import time
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from typing import cast

import numpy as np
from numpy.typing import NDArray

from tmws_embedding.artifacts import Artifact
from tmws_shared.redis import OptionalRedis, RedisDown

Vector = NDArray[np.float32]

# Three megabytes of 384 numbers each.
RECENT_VECTORS = 2048
# Asking Redis in vain costs a short query 0.6 ms, a seventh of its time; what was asked lately is here anyhow. From
# about 60 tokens on computing takes ten times as long as asking.
REDIS_MIN_CHARACTERS = 256


class Recent:
    """The vectors used last, in this process, for at most `ttl_s` seconds."""

    def __init__(self, capacity: int, ttl_s: float) -> None:
        self._capacity = capacity
        self._ttl_s = ttl_s
        self._vectors: OrderedDict[str, tuple[float, Vector]] = OrderedDict()

    def get(self, key: str) -> Vector | None:
        """Return the vector kept under `key`."""
        kept_until, vector = self._vectors.get(key, (0.0, None))
        if vector is None or kept_until < time.monotonic():
            return None
        self._vectors.move_to_end(key)
        return vector

    def put(self, key: str, vector: Vector) -> None:
        """Keep a vector; the one that was not used for the longest time makes room."""
        # A copy: a row would keep the whole array of its request.
        self._vectors[key] = (time.monotonic() + self._ttl_s, vector.copy())
        self._vectors.move_to_end(key)
        if len(self._vectors) > self._capacity:
            self._vectors.popitem(last=False)


class VectorCache:
    """Vectors by the hash of model, revision and text; in Redis as raw float32."""

    def __init__(self, redis: OptionalRedis, ttl_s: int) -> None:
        self._redis = redis
        self._ttl_s = ttl_s
        self._recent = Recent(RECENT_VECTORS, ttl_s)

    @property
    def is_on(self) -> bool:
        """Whether vectors are kept at all."""
        return self._ttl_s > 0

    async def get(self, artifact: Artifact, dimension: int, texts: Sequence[str]) -> dict[str, Vector]:
        """Return the vectors known of `texts`."""
        keys = {text: cache_key(artifact, text) for text in texts}
        known = {text: vector for text in texts if (vector := self._recent.get(keys[text])) is not None}
        dear = [text for text in texts if text not in known and is_dear(text)]
        if dear and self._redis.client is not None:
            known |= await self._ask_redis({text: keys[text] for text in dear}, dimension * 4)
        return known

    def keep_recent(self, artifact: Artifact, vectors: Mapping[str, Vector]) -> None:
        """Keep vectors in this process."""
        for text, vector in vectors.items():
            self._recent.put(cache_key(artifact, text), vector)

    async def put(self, artifact: Artifact, vectors: Mapping[str, Vector]) -> None:
        """Keep vectors of dear texts in Redis; does nothing when it does not answer."""
        dear = {cache_key(artifact, text): vector for text, vector in vectors.items() if is_dear(text)}
        if not dear:
            return
        try:
            pipeline = self._redis.require().pipeline(transaction=False)
            for key, vector in dear.items():
                pipeline.set(key, vector.astype("<f4").tobytes(), ex=self._ttl_s)
            await self._redis.ask(pipeline.execute())
        except RedisDown:
            return

    async def _ask_redis(self, keys: Mapping[str, str], size_bytes: int) -> dict[str, Vector]:
        try:
            answer = await self._redis.ask(self._redis.require().mget(list(keys.values())))
        except RedisDown:
            return {}
        values = cast("Iterable[bytes | None]", answer)
        return {
            text: np.frombuffer(value, "<f4")
            for text, value in zip(keys, values, strict=True)
            if value and len(value) == size_bytes
        }


def is_dear(text: str) -> bool:
    """Whether computing the text's vector costs far more than asking Redis for it."""
    return len(text) >= REDIS_MIN_CHARACTERS


def cache_key(artifact: Artifact, text: str) -> str:
    """Return the name under which the vector of `text` is kept; it does not tell the text."""
    seed = f"{artifact.name}\0{artifact.revision}\0".encode()
    return f"tmws:embedding:{hashlib.sha256(seed + text.encode()).hexdigest()}"
