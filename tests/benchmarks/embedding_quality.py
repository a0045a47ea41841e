"""How good and how fast the built-in embedding model is here; exits 1 when a bar is missed.

    python tests/benchmarks/embedding_quality.py --data FOLDER --peers FOLDER

FOLDER may hold `stsb/en-test.csv` (STS benchmark: two sentences and their similarity, 0 to 5) and
`cranfield/corpus.jsonl` (abstracts); the peers' one an environment with sentence-transformers, the reference
(`embedding_speed.py --install` makes it). What is absent is skipped, and said so. Every figure is of this process:
no HTTP, no cache. `embedding_speed.py` measures speed in comparison.
"""

from __future__ import annotations

import argparse
import csv
import sys
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

import embedding_peers
import numpy as np
import psutil
from embedding_texts import QUERY, mixed_texts
from numpy.typing import NDArray

from tmws_embedding.artifacts import prepare_model
from tmws_embedding.model import Embedder, Vectors
from tmws_embedding.settings import usable_cores

MODEL = "all-MiniLM-L6-v2"
MIN_COSINE = 0.98
MIN_MEAN_COSINE = 0.99
MAX_SPEARMAN_LOSS = 0.003
MAX_DIFFERENCE = 1e-5
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
        return f"{self.name:52s} {self.value:10.4g}{bar}{'' if self.is_met else '  MISSED'}"


def embed_all(embedder: Embedder, texts: Sequence[str]) -> Vectors:
    """Embed on all cores as the service does."""
    tokens = embedder.tokenize(texts)
    batches = embedder.batches([len(ids) for ids in tokens])

    def infer(batch: list[int]) -> Vectors:
        return embedder.infer([tokens[index] for index in batch])

    with ThreadPoolExecutor(usable_cores()) as pool:
        done = list(pool.map(infer, batches))
    vectors = np.empty((len(texts), embedder.dimension), np.float32)
    vectors[[index for batch in batches for index in batch]] = np.concatenate(done)
    return vectors


def ranks(values: NDArray[np.floating]) -> NDArray[np.floating]:
    """Return the rank of each value; equal values share the mean of their ranks."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return (last - (counts - 1) / 2)[inverse]


def spearman(left: NDArray[np.floating], right: NDArray[np.floating]) -> float:
    """Return the correlation of the ranks."""
    return float(np.corrcoef(ranks(left), ranks(right))[0, 1])


def similarity_figures(int8: Embedder, fp32: Embedder, path: Path, peers: Path) -> Iterator[Figure]:
    """Compare int8 with fp32, both with human judgement, and fp32 with the reference."""
    rows = list(csv.reader(path.open(encoding="utf-8", newline="")))
    gold = np.array([float(row[2]) for row in rows])
    texts = [row[0] for row in rows] + [row[1] for row in rows]
    quantised, exact = embed_all(int8, texts), embed_all(fp32, texts)
    yield from cosine_figures(f"{len(texts)} STS-B sentences", quantised, exact)
    exact_rho, int8_rho = (spearman(cosines(vectors, len(rows)), gold) for vectors in (exact, quantised))
    yield Figure("STS-B Spearman fp32", exact_rho)
    yield Figure("STS-B Spearman int8", int8_rho, exact_rho - MAX_SPEARMAN_LOSS)
    yield from reference_figures(exact, texts, peers)


def cosines(vectors: Vectors, pairs: int) -> Vectors:
    """Return the cosine of each pair; first come all left sides, then all right ones."""
    return (vectors[:pairs] * vectors[pairs:]).sum(axis=1)


def cosine_figures(name: str, quantised: Vectors, exact: Vectors) -> Iterator[Figure]:
    """Say how close int8 is to fp32."""
    cosine = (quantised * exact).sum(axis=1)
    yield Figure(f"int8 · fp32, lowest of {name}", float(cosine.min()), MIN_COSINE)
    yield Figure(f"int8 · fp32, mean of {name}", float(cosine.mean()), MIN_MEAN_COSINE)


def reference_figures(exact: Vectors, texts: Sequence[str], peers: Path) -> Iterator[Figure]:
    """Compare fp32 with sentence-transformers."""
    name = "sentence-transformers"
    if not embedding_peers.python_of(peers, name).is_file():
        print(f"comparison with {name} skipped: it is absent from {peers}")
        return
    driver = embedding_peers.start(peers, name)
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "vectors.npy"
        embedding_peers.ask(driver, texts, out)
        reference = np.load(out)
    driver.kill()
    driver.communicate()
    yield Figure(f"fp32 - {name}, largest difference", float(np.abs(exact - reference).max()), None, MAX_DIFFERENCE)


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


def measure(data: Path, peers: Path, data_dir: Path) -> Iterator[Figure]:
    """Yield all figures; int8's memory is read before fp32 is loaded."""
    started = perf_counter()
    artifact = prepare_model(MODEL, "int8", data_dir)
    yield Figure("conversion, s", perf_counter() - started)
    int8, texts = Embedder(artifact), mixed_texts(data)
    yield from latency_figures(int8)
    yield from throughput_figures(int8, texts)
    yield Figure(
        "resident memory of this process with int8, MB", psutil.Process().memory_info().rss / 2**20, None, MAX_RSS_MB
    )
    fp32 = Embedder(prepare_model(MODEL, "fp32", data_dir))
    yield from cosine_figures(f"{len(texts)} mixed texts", embed_all(int8, texts), embed_all(fp32, texts))
    stsb = data / "stsb" / "en-test.csv"
    if stsb.is_file():
        yield from similarity_figures(int8, fp32, stsb, peers)
    else:
        print("similarity skipped: stsb is absent")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("benchmark-data"))
    parser.add_argument("--peers", type=Path, default=Path("benchmark-peers"))
    arguments = parser.parse_args()
    missed = False
    with tempfile.TemporaryDirectory() as data_dir:
        for figure in measure(arguments.data, arguments.peers.absolute(), Path(data_dir)):
            print(figure, flush=True)
            missed |= not figure.is_met
    sys.exit(missed)


if __name__ == "__main__":
    main()
