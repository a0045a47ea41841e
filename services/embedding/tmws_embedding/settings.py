"""Settings of the embedding service."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

from pydantic import Field

from tmws_shared.settings import Settings

Precision = Literal["int8", "fp32"]
CGROUP_LIMIT = Path("/sys/fs/cgroup/cpu.max")


def usable_cores(limit: Path = CGROUP_LIMIT) -> int:
    """Return how many cores this process may use: its affinity, and a container's CPU limit rounded up."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = limit.read_text(encoding="ascii").split()
    except (OSError, ValueError):
        return cores
    return cores if quota == "max" else max(1, min(cores, -(-int(quota) // int(period))))


class EmbeddingSettings(Settings):
    """What the embedding service is told by its environment."""

    embedding_model: str = Field(
        "all-MiniLM-L6-v2", min_length=1, description="built-in model, or a folder with model.onnx and tokenizer.json"
    )
    embedding_precision: Precision = Field("int8", description="arithmetic of the built-in model")
    vector_dimension: int = Field(384, ge=1, le=16_000, description="length of a vector; must be the model's")
    embedding_threads: int = Field(
        default_factory=usable_cores,
        ge=1,
        le=256,
        description="texts embedded at the same time; by default one per core",
    )
    embedding_queue_texts: int = Field(
        2048, ge=256, le=100_000, description="texts that may wait in each lane before requests get 503"
    )
    embedding_cache_seconds: int = Field(
        86_400, ge=0, le=2_592_000, description="seconds a vector stays in Redis; 0 keeps none"
    )
