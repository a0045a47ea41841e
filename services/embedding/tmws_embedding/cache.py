"""Vectors already known, in Redis; without it everything is computed anew."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import cast

import numpy as np
from numpy.typing import NDArray

from tmws_embedding.artifacts import Artifact
from tmws_shared.redis import OptionalRedis, RedisDown

Vector = NDArray[np.float32]


class VectorCache:
    """Vectors by the hash of model, revision and text, as raw float32."""

    def __init__(self, redis: OptionalRedis, artifact: Artifact, dimension: int, ttl_s: int) -> None:
        self._redis = redis
        self._seed = f"{artifact.name}\0{artifact.revision}\0".encode()
        self._size_bytes = dimension * 4
        self._ttl_s = ttl_s

    @property
    def is_on(self) -> bool:
        """Whether vectors are kept at all."""
        return self._ttl_s > 0 and self._redis.client is not None

    def key(self, text: str) -> str:
        """Return the name under which the vector of `text` is kept; it does not tell the text."""
        return f"tmws:embedding:{hashlib.sha256(self._seed + text.encode()).hexdigest()}"

    async def get(self, texts: Sequence[str]) -> dict[str, Vector]:
        """Return the vectors known of `texts`; none when Redis does not answer."""
        try:
            answer = await self._redis.ask(self._redis.require().mget([self.key(text) for text in texts]))
        except RedisDown:
            return {}
        values = cast("list[bytes | None]", answer)
        return {
            text: np.frombuffer(value, "<f4")
            for text, value in zip(texts, values, strict=True)
            if value and len(value) == self._size_bytes
        }

    async def put(self, vectors: Mapping[str, Vector]) -> None:
        """Keep vectors; does nothing when Redis does not answer."""
        try:
            pipeline = self._redis.require().pipeline(transaction=False)
            for text, vector in vectors.items():
                pipeline.set(self.key(text), vector.astype("<f4").tobytes(), ex=self._ttl_s)
            await self._redis.ask(pipeline.execute())
        except RedisDown:
            return
