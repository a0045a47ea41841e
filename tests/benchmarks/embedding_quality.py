"""How good and how fast the built-in embedding model is here; exits 1 when a bar is missed.

    python tests/benchmarks/embedding_quality.py --data FOLDER

FOLDER may hold `stsb/en-test.csv` (STS benchmark: two sentences and their similarity, 0 to 5) and
`cranfield/corpus.jsonl` (abstracts). What is absent is skipped, and said so. Every figure is of this process:
no HTTP, no cache. Only ratios of one run compare between machines.
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

import numpy as np
import psutil
from numpy.typing import NDArray

from tmws_embedding.artifacts import prepare_model
from tmws_embedding.model import Embedder, Vectors
from tmws_embedding.settings import usable_cores

MODEL = "all-MiniLM-L6-v2"
QUERY = "When did Melanie sign up for the pottery class?"
SAMPLE = 200
MIN_COSINE = 0.98
MIN_MEAN_COSINE = 0.99
MIN_SPEARMAN = 0.815
MAX_RSS_MB = 250


@dataclass(frozen=True)
class Figure:
    """A measured value and the bar it has to reach, if any."""

    name: str
    value: float
    at_least: float | None = None
    at_most: float | None = None

    @property
    def is_met(self) -> bool:
        above = self.at_least is None or self.value >= self.at_least
        return above and (self.at_most is None or self.value <= self.at_most)

    def __str__(self) -> str:
        bar = f"  (at least {self.at_least})" if self.at_least is not None else ""
        bar += f"  (at most {self.at_most})" if self.at_most is not None else ""
        return f"{self.name:52s} {self.value:10.4f}{bar}{'' if self.is_met else '  MISSED'}"


def embed_all(embedder: Embedder, texts: Sequence[str]) -> Vectors:
    """Embed on all cores as the service does: one text at a time on each."""
    with ThreadPoolExecutor(usable_cores()) as pool:
        return np.concatenate([embedded.vectors for embedded in pool.map(embedder.embed, [[text] for text in texts])])


def ranks(values: NDArray[np.floating]) -> NDArray[np.floating]:
    """Return the rank of each value; equal values share the mean of their ranks."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return (last - (counts - 1) / 2)[inverse]


def spearman(left: NDArray[np.floating], right: NDArray[np.floating]) -> float:
    """Return the correlation of the ranks."""
    return float(np.corrcoef(ranks(left), ranks(right))[0, 1])


def similarity_figures(int8: Embedder, fp32: Embedder, path: Path) -> Iterator[Figure]:
    """Compare int8 with fp32, and both with human judgement."""
    rows = list(csv.reader(path.open(encoding="utf-8", newline="")))
    gold = np.array([float(row[2]) for row in rows])
    texts = [row[0] for row in rows] + [row[1] for row in rows]
    quantised, exact = embed_all(int8, texts), embed_all(fp32, texts)
    cosine = (quantised * exact).sum(axis=1)
    yield Figure(f"int8 · fp32, lowest of the first {SAMPLE} texts", float(cosine[:SAMPLE].min()), MIN_COSINE)
    yield Figure(f"int8 · fp32, mean of the first {SAMPLE} texts", float(cosine[:SAMPLE].mean()), MIN_MEAN_COSINE)
    yield Figure(f"int8 · fp32, lowest of all {len(texts)}", float(cosine.min()))
    yield Figure(f"int8 · fp32, 1st percentile of all {len(texts)}", float(np.percentile(cosine, 1)), MIN_COSINE)
    for name, vectors, bar in (("int8", quantised, MIN_SPEARMAN), ("fp32", exact, None)):
        predicted = (vectors[: len(rows)] * vectors[len(rows) :]).sum(axis=1)
        yield Figure(f"STS-B Spearman {name}", spearman(predicted, gold), bar)


def latency_figures(embedder: Embedder) -> Iterator[Figure]:
    """Time one short query at a time."""
    times_ms: list[float] = []
    for _ in range(300):
        started = perf_counter()
        embedder.embed([QUERY])
        times_ms.append((perf_counter() - started) * 1000)
    yield Figure("short query p50, ms", float(np.percentile(times_ms, 50)))
    yield Figure("short query p99, ms", float(np.percentile(times_ms, 99)))


def throughput_figures(embedder: Embedder, texts: Sequence[str]) -> Iterator[Figure]:
    """Embed the texts on all cores, best of three rounds; the peak of memory comes with it."""
    embed_all(embedder, texts[:40])
    best_s = float("inf")
    for _ in range(3):
        started = perf_counter()
        embed_all(embedder, texts)
        best_s = min(best_s, perf_counter() - started)
    tokens = sum(embedder.embed([text]).tokens for text in texts)
    yield Figure(f"texts/s, {len(texts)} texts of {tokens / len(texts):.0f} tokens", len(texts) / best_s)
    yield Figure("tokens/s", tokens / best_s)


def mixed_texts(data: Path) -> list[str]:
    """Return 400 texts, short and long in turn; made-up ones where the data is absent."""
    stsb, cranfield = data / "stsb" / "en-test.csv", data / "cranfield" / "corpus.jsonl"
    if not (stsb.is_file() and cranfield.is_file()):
        print("texts/s uses made-up texts: stsb or cranfield is absent")
        return [f"note {number} " + "agents remember what they were told " * (number % 12) for number in range(400)]
    short = [row[0] for row in csv.reader(stsb.open(encoding="utf-8", newline=""))][:200]
    long = [json.loads(line)["text"] for line in cranfield.open(encoding="utf-8")][:200]
    return [text for pair in zip(short, long, strict=True) for text in pair]


def measure(data: Path, data_dir: Path) -> Iterator[Figure]:
    """Yield all figures; int8's memory is read before fp32 is loaded."""
    started = perf_counter()
    artifact = prepare_model(MODEL, "int8", data_dir)
    yield Figure("conversion, s", perf_counter() - started)
    int8 = Embedder(artifact)
    yield from latency_figures(int8)
    yield from throughput_figures(int8, mixed_texts(data))
    yield Figure(
        "resident memory of this process with int8, MB", psutil.Process().memory_info().rss / 2**20, None, MAX_RSS_MB
    )
    stsb = data / "stsb" / "en-test.csv"
    if stsb.is_file():
        yield from similarity_figures(int8, Embedder(prepare_model(MODEL, "fp32", data_dir)), stsb)
    else:
        print("similarity skipped: stsb is absent")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("benchmark-data"))
    arguments = parser.parse_args()
    missed = False
    with tempfile.TemporaryDirectory() as data_dir:
        for figure in measure(arguments.data, Path(data_dir)):
            print(figure, flush=True)
            missed |= not figure.is_met
    sys.exit(missed)


if __name__ == "__main__":
    main()
