"""How fast files of memories come in and go out, through the gateway of a whole stack.

    python tests/benchmarks/memory_import.py [--memories 20000]

Imports memories of some sixty words without vectors, then others with vectors, exports both, and imports the second
file once more, when all of it is known. Prints lines a second. What has no vectors is embedded in the background
meanwhile: that runs on the same machine, and is part of what a user sees.
"""

from __future__ import annotations

import argparse
import base64
import itertools
import json
import random
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from support.stack import Stack, running_stack

WORDS = 20_000
WORDS_A_MEMORY = 60
MODEL = {"model": "all-MiniLM-L6-v2", "precision": "int8", "dtype": "float16"}
BAR = 3_000
TIMEOUT_S = 600.0


def memories(count: int, name: str, *, with_vectors: bool) -> Iterator[bytes]:
    """Yield lines of memories with words as frequent as in a language (Zipf)."""
    rng, numbers = random.Random(name), np.random.default_rng(1)  # noqa: S311 -- no secret
    letters = "abcdefghijklmnopqrstuvwxyz"
    words = ["".join(rng.choices(letters, k=rng.randint(3, 9))) for _ in range(WORDS)]
    weights = list(itertools.accumulate(1 / (rank + 1) for rank in range(WORDS)))
    for number in range(count):
        memory: dict[str, Any] = {
            "content": " ".join(rng.choices(words, cum_weights=weights, k=WORDS_A_MEMORY)),
            "metadata": {"file": name, "number": number},
            "tags": [f"tag{number % 50}"],
            "session_id": f"session {number // 40}",
            "importance": number % 10 / 10,
        }
        if with_vectors:
            vector = numbers.standard_normal(384)
            packed = (vector / np.linalg.norm(vector)).astype("<f2").tobytes()
            memory["embedding"] = {**MODEL, "vectors": [base64.b64encode(packed).decode()]}
        yield json.dumps(memory).encode() + b"\n"


def import_file(client: httpx2.Client, file: Iterable[bytes]) -> tuple[float, dict[str, Any]]:
    """Import and return the seconds it took, with the summary."""
    began = time.perf_counter()
    headers = {"content-type": "application/x-ndjson"}
    answer = client.post("/api/v1/memory/import", content=file, headers=headers, timeout=TIMEOUT_S)
    answer.raise_for_status()
    return time.perf_counter() - began, json.loads(answer.text.splitlines()[-1])


def export_file(client: httpx2.Client, query: str) -> tuple[float, int, int]:
    """Export and return the seconds it took, with the lines and the bytes."""
    began = time.perf_counter()
    lines = size = 0
    with client.stream("GET", f"/api/v1/memory/export{query}", timeout=TIMEOUT_S) as answer:
        for piece in answer.iter_bytes():
            lines, size = lines + piece.count(b"\n"), size + len(piece)
    return time.perf_counter() - began, lines, size


def pieces(file: bytes) -> Iterator[bytes]:
    """Yield a file as a client would send it."""
    for start in range(0, len(file), 2**16):
        yield file[start : start + 2**16]


def measure(stack: Stack, count: int) -> None:
    """Measure and print."""
    files = {kind: b"".join(memories(count, kind, with_vectors=kind == "vectors")) for kind in ("words", "vectors")}
    with stack.client() as client:
        for kind in ("vectors", "words"):
            seconds, summary = import_file(client, pieces(files[kind]))
            report(f"import, {kind}", summary["stored"], seconds, len(files[kind]), BAR if kind == "vectors" else None)
            if kind == "vectors":
                seconds, summary = import_file(client, pieces(files[kind]))
                report("import, vectors, all known", summary["deduplicated"], seconds, len(files[kind]))
                seconds, lines, size = export_file(client, "?vectors=true")
                report("export, vectors", lines - 2, seconds, size)
        seconds, lines, size = export_file(client, "")
        report("export, words", lines - 2, seconds, size)


def report(what: str, lines: int, seconds: float, size: int, bar: int | None = None) -> None:
    """Print a row."""
    wanted = f"   >= {bar}/s" if bar else ""
    print(
        f"{what:30}{lines:>9} lines{size / 1e6:>8.0f} MB{seconds:>8.1f} s{lines / seconds:>9.0f}/s{wanted}", flush=True
    )


def main() -> None:
    """Start a stack, measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--memories", type=int, default=20_000)
    arguments = parser.parse_args()
    with running_stack(TMWS_RATE_LIMIT_REQUESTS="1000000") as stack:
        measure(stack, arguments.memories)


if __name__ == "__main__":
    main()
