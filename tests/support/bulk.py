"""Files of memories: imported and exported in tests, read back as the lines they are."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator, Iterable
from pathlib import Path
from typing import Any

import numpy as np

from support.service import ServiceUnderTest

SAMPLES = Path(__file__).parents[1] / "integration" / "memory" / "samples"
# What an imported memory gets anew.
OWN = ("id", "source", "updated_at")


def lines(*records: dict[str, Any]) -> bytes:
    """Return records as NDJSON."""
    return b"".join(json.dumps(record, ensure_ascii=False).encode() + b"\n" for record in records)


def vector(seed: int) -> str:
    """Return some vector of length 1, as an export has it."""
    numbers = np.random.default_rng(seed).standard_normal(384)
    return base64.b64encode((numbers / np.linalg.norm(numbers)).astype("<f2").tobytes()).decode()


def embedding(seed: int, **fields: Any) -> dict[str, Any]:
    """Return the `embedding` of a line of an export."""
    made = {"model": "sentence-transformers/all-MiniLM-L6-v2", "precision": "int8", "dtype": "float16"}
    return {**made, "vectors": [vector(seed)], **fields}


async def pieces(data: bytes, size: int = 1000) -> AsyncIterator[bytes]:
    """Yield data as a slow sender would."""
    for start in range(0, len(data), size):
        yield data[start : start + size]


async def import_file(
    memory: ServiceUnderTest, data: bytes | AsyncIterator[bytes], query: str = "", **caller: Any
) -> list[dict[str, Any]]:
    """Import a file and return the lines of the answer."""
    path = f"/api/v1/memory/import{query}"
    headers = {"content-type": "application/x-ndjson", **caller.pop("headers", {})}
    answer = await memory.call("POST", path, content=data, headers=headers, **caller)
    assert answer.status_code == 200, answer.text
    return read_lines(answer.content)


async def export(memory: ServiceUnderTest, query: str = "", **caller: Any) -> bytes:
    """Return an export."""
    answer = await memory.call("GET", f"/api/v1/memory/export{query}", **caller)
    assert answer.status_code == 200, answer.text
    return answer.content


async def exported(memory: ServiceUnderTest, query: str = "", **caller: Any) -> list[dict[str, Any]]:
    """Return the memories of an export, oldest first."""
    return read_lines(await export(memory, query, **caller))[1:-1]


def read_lines(data: bytes) -> list[dict[str, Any]]:
    """Return the objects of NDJSON."""
    return [json.loads(line) for line in data.splitlines()]


def counts(answer: list[dict[str, Any]]) -> tuple[int, int, int, int]:
    """Return what the last line of an answer says: read, stored, deduplicated, failed."""
    last = answer[-1]
    return last["read"], last["stored"], last["deduplicated"], last["failed"]


def faults(answer: list[dict[str, Any]]) -> list[tuple[int, str]]:
    """Return line and first pointer of each bad record that an answer names."""
    return [(line["line"], line["errors"][0]["pointer"]) for line in answer if "errors" in line]


def without(records: Iterable[dict[str, Any]], *names: str) -> list[dict[str, Any]]:
    """Return records without some fields."""
    return [{key: value for key, value in record.items() if key not in names} for record in records]
