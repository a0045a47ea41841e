"""Settings of the embedding service."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal, NamedTuple

from pydantic import Field

from tmws_shared.settings import Settings

Precision = Literal["int8", "fp32"]
PRECISIONS = ("int8", "fp32")
CGROUP_LIMIT = Path("/sys/fs/cgroup/cpu.max")


def usable_cores() -> int:
    """Return how many cores this process may use, a container's CPU limit counted."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        return cores_within(CGROUP_LIMIT.read_text(encoding="ascii"), cores)
    except OSError:
        return cores


def cores_within(limit: str, cores: int) -> int:
    """Return how many of `cores` a cgroup's `cpu.max` (quota and period in microseconds) leaves, rounded up."""
    quota, _, period = limit.strip().partition(" ")
    if not (quota.isdigit() and period.isdigit()):
        return cores
    return max(1, min(cores, -(-int(quota) // int(period))))


class ModelChoice(NamedTuple):
    """A model by its name or folder, and a precision (of a built-in one)."""

    model: str
    precision: str


class EmbeddingSettings(Settings):
    """What the embedding service is told by its environment."""

    embedding_model: str = Field(
        "all-MiniLM-L6-v2", min_length=1, description="built-in model, or a folder with model.onnx and tokenizer.json"
    )
    embedding_precision: Precision = Field("int8", description="arithmetic of the built-in model")
    embedding_also: str = Field(
        "", max_length=4096, description="more models to serve, comma-separated name[:precision]; loaded at the start"
    )
    vector_dimension: int = Field(384, ge=1, le=16_000, description="length of a vector; must be the model's")
    # No number by default: the generated page about settings must not depend on the machine.
    embedding_threads: int | None = Field(
        None, ge=1, le=256, description="texts embedded at the same time; empty: as many as there are usable cores"
    )
    embedding_queue_texts: int = Field(
        2048, ge=256, le=100_000, description="texts that may wait in each lane before requests get 503"
    )
    embedding_cache_seconds: int = Field(
        86_400, ge=0, le=2_592_000, description="seconds a vector is kept in the process and in Redis; 0 keeps none"
    )

    @property
    def choices(self) -> list[ModelChoice]:
        """Return the current model and the others to serve, each once."""
        others = [named.strip() for named in self.embedding_also.split(",")]
        chosen = [ModelChoice(self.embedding_model, self.embedding_precision)]
        chosen += [self._choice(named) for named in others if named]
        return list(dict.fromkeys(chosen))

    def _choice(self, named: str) -> ModelChoice:
        name, _, precision = named.rpartition(":")
        # A folder's path may have a colon of its own.
        return ModelChoice(name, precision) if precision in PRECISIONS else ModelChoice(named, self.embedding_precision)
