"""How fast memories are found, stored and imported through the gateway, and how many of the nearest are found.

    python tests/benchmarks/memory_search.py DATA [--memories 100000] [--small 5000] [--cache DIR]
        [--peers DIR --install]

DATA holds `cranfield` and `stsb` (see retrieval.py): their sentences, and mixtures of them with vectors mixed alike,
become two namespaces of a fresh stack that is started for it with auth, limit and audit on. Queries are Cranfield's own
and never repeat, so no cache helps. Vectors of the sentences are kept in the cache folder.

With `--peers`, mcp-memory-service and chroma are measured on 3,000 such texts in the same run. Their vectors are given;
so ours are those of searches asked for the second time.
"""

from __future__ import annotations

import argparse
import base64
import csv
import http.client
import json
import os
import random
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tmws_embedding.artifacts import prepare_model
from tmws_embedding.model import Embedder
from tmws_local.paths import free_port

sys.path.insert(0, str(Path(__file__).parent))
import memory_peers
from stack import start, stop

Vectors = NDArray[np.float32]
MODEL = "all-MiniLM-L6-v2"
PRECISION = "int8"
ROUNDS = 200
TMWS = str(Path(sys.executable).parent / "tmws")
INDEX_TIMEOUT_S = 7200
PEERS_SIZE = 3_000


@dataclass(frozen=True)
class Corpus:
    """Sentences with their vectors, and queries with theirs."""

    sentences: list[str]
    vectors: Vectors
    queries: list[str]
    query_vectors: Vectors

    def grow(self, count: int, seed: int) -> tuple[list[str], Vectors]:
        """Return `count` texts and vectors: each a sentence with some words, and some meaning, of another one."""
        rng, choice = np.random.default_rng(seed), random.Random(seed)  # noqa: S311 -- no secret
        one, two, three = (rng.integers(0, len(self.sentences), count) for _ in range(3))
        own = rng.uniform(0.6, 0.95, (count, 1)).astype(np.float32)
        away = self.vectors[two] - self.vectors[three]
        away /= np.maximum(np.linalg.norm(away, axis=1, keepdims=True), 1e-9)
        vectors = own * self.vectors[one] + np.sqrt(1 - own * own) * away
        texts = []
        for place, (first, second) in enumerate(zip(one.tolist(), two.tolist(), strict=True)):
            words = self.sentences[second].split()
            some = " ".join(choice.sample(words, min(6, len(words))))
            texts.append(f"{self.sentences[first]} {some} {seed}-{place}")
        return texts, vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def read_corpus(data: Path, cache: Path) -> Corpus:
    """Read and embed the sentences and queries."""
    documents = [json.loads(line)["text"] for line in (data / "cranfield/corpus.jsonl").open(encoding="utf-8")]
    sentences = [part.strip() for text in documents for part in re.split(r"(?<=\.)\s+", text)]
    sentences += [cell for row in csv.reader((data / "stsb/en-test.csv").open(encoding="utf-8")) for cell in row]
    sentences = list(dict.fromkeys(one for one in sentences if len(one.split()) > 4))
    queries = [json.loads(line)["text"] for line in (data / "cranfield/queries.jsonl").open(encoding="utf-8")]
    # As many again, so that a query is never asked twice in one namespace.
    queries += [f"what is known about {' '.join(one.split()[:9])}" for one in sentences[:: len(sentences) // 4000]]
    kept = cache / f"memory_search-{MODEL}-{PRECISION}.npy"
    if not kept.exists():
        cache.mkdir(parents=True, exist_ok=True)
        embedder = Embedder(prepare_model(MODEL, PRECISION, cache))
        with ThreadPoolExecutor(2) as pool:
            made = np.concatenate(list(pool.map(lambda text: embedder.embed([text]).vectors, sentences + queries)))
        np.save(kept, made)
    vectors = np.load(kept)
    return Corpus(sentences, vectors[: len(sentences)], queries, vectors[len(sentences) :])


def records(texts: Sequence[str], vectors: Vectors) -> Iterator[bytes]:
    """The lines of an import with vectors; one in a hundred has the tag `rare`."""
    for place, (text, vector) in enumerate(zip(texts, vectors, strict=True)):
        packed = base64.b64encode(vector.astype("<f2").tobytes()).decode()
        embedding = {"model": MODEL, "precision": PRECISION, "dtype": "float16", "vectors": [packed]}
        tags = ["rare"] if place % 100 == 0 else ["common"]
        yield json.dumps({"content": text, "tags": tags, "embedding": embedding}).encode() + b"\n"


class Namespace:
    """A namespace of the stack, reached through the gateway."""

    def __init__(self, port: int, environ: dict[str, str], name: str) -> None:
        made = subprocess.run(
            [TMWS, "keys", "create", "--name", name, "--namespace", name, "--scopes", "all"],
            env=environ, capture_output=True, text=True, check=True,
        )  # fmt: skip
        key = re.search(r"tmws_\S+", made.stdout)
        assert key is not None, made.stdout
        self._port = port
        self._headers = {"Authorization": f"Bearer {key[0]}", "Content-Type": "application/json"}
        self._local = threading.local()

    def call(self, method: str, path: str, body: bytes | None = None, **headers: str) -> bytes:
        """Send a request on this thread's connection, as cheaply as Python can: the client shares the processor."""
        if not hasattr(self._local, "connection"):
            self._local.connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=600)
        connection: http.client.HTTPConnection = self._local.connection
        connection.request(method, f"/api/v1/memory{path}", body, {**self._headers, **headers})
        answer = connection.getresponse()
        content = answer.read()
        if answer.status >= 300:
            raise SystemExit(f"{method} {path} answered {answer.status}: {content[:500]!r}")
        return content

    def post(self, path: str, body: object) -> dict[str, Any]:
        """Send JSON and return JSON."""
        return json.loads(self.call("POST", path, json.dumps(body).encode()))

    def load(self, texts: Sequence[str], vectors: Vectors) -> float:
        """Import memories with their vectors; return how many a second."""
        body = b"".join(records(texts, vectors))
        began = time.perf_counter()
        answer = self.call("POST", "/import", body, **{"Content-Type": "application/x-ndjson"})
        took = time.perf_counter() - began
        summary = json.loads(answer.splitlines()[-1])
        assert summary["stored"] == len(texts), summary
        return len(texts) / took

    def search(self, query: str, **fields: object) -> list[dict[str, Any]]:
        """Search, and return the results."""
        return self.post("/search", {"query": query, "limit": 10, **fields})["results"]

    def time_searches(self, queries: Sequence[str], **fields: object) -> list[float]:
        """Return the milliseconds of each search."""
        took = []
        for query in queries:
            began = time.perf_counter()
            self.search(query, **fields)
            took.append((time.perf_counter() - began) * 1000)
        return took

    def time_gets(self, memory_id: str) -> list[float]:
        """Return the milliseconds of reading a memory, over and over: what any call through the gateway costs."""
        took = []
        for _ in range(ROUNDS):
            began = time.perf_counter()
            self.call("GET", f"/{memory_id}")
            took.append((time.perf_counter() - began) * 1000)
        return took

    def searches_per_second(self, queries: Sequence[str], callers: int) -> float:
        """Return how many searches a second so many callers get at once."""
        began = time.perf_counter()
        with ThreadPoolExecutor(callers) as pool:
            list(pool.map(self.search, queries))
        return len(queries) / (time.perf_counter() - began)

    def wait_until_indexed(self, size: int) -> float:
        """Wait until nearly all words are folded and vectors settled; return the seconds."""
        began = time.perf_counter()
        while time.perf_counter() - began < INDEX_TIMEOUT_S:
            stats = json.loads(self.call("GET", "/stats"))
            if min(stats["folded"], stats["settled"]) >= 0.95 * size:
                break
            time.sleep(0.5)
        return time.perf_counter() - began

    def recall_at_10(self, corpus: Corpus, vectors: Vectors, count: int, *, is_filtered: bool = False) -> float:
        """Return how many of the ten nearest, by exact comparison, a search by meaning finds.

        What is as near as the tenth within the error of 16 bits counts as found.
        """
        if is_filtered:
            vectors = vectors[::100]
        hits = 0
        for query, vector in zip(corpus.queries[-count:], corpus.query_vectors[-count:], strict=True):
            tenth = np.partition(vectors @ vector, -10)[-10]
            fields = {"filters": {"tags": ["rare"]}} if is_filtered else {}
            found = self.search(query, mode="semantic", **fields)
            hits += sum(item["similarity"] >= tenth - 2e-3 for item in found)
        return hits / (10 * count)


Row = tuple[str, str, str]


def show(what: str, value: str, bar: str) -> None:
    """Print a row."""
    print(f"{what:52}{value:>20}   {bar}", flush=True)


def quantiles(milliseconds: Sequence[float]) -> str:
    """Return p50 and p99."""
    ordered = sorted(milliseconds)
    return f"{statistics.median(ordered):.1f} / {ordered[int(len(ordered) * 0.99)]:.1f} ms"


def measure_namespace(
    space: Namespace, corpus: Corpus, vectors: Vectors, queries: Sequence[str], bar: str
) -> Iterator[Row]:
    """Search one namespace in every way, never asking a query twice."""
    size = f"{len(vectors):,}"
    space.time_searches(queries[8 * ROUNDS : 8 * ROUNDS + 50])
    memory = space.search(queries[0])[0]["id"]
    yield f"get one of {size}, one caller, p50 / p99", quantiles(space.time_gets(str(memory))), ""
    yield f"search among {size}, one caller, p50 / p99", quantiles(space.time_searches(queries[:ROUNDS])), bar
    keyword = space.time_searches(queries[ROUNDS : 2 * ROUNDS], mode="keyword")
    yield "  by words only", quantiles(keyword), ""
    rare = space.time_searches(queries[2 * ROUNDS : 3 * ROUNDS], filters={"tags": ["rare"]})
    yield "  under a filter that 1 % pass", quantiles(rare), ""
    common = space.time_searches(queries[3 * ROUNDS : 4 * ROUNDS], filters={"tags": ["common"]})
    yield "  under a filter that 99 % pass", quantiles(common), ""
    rate = space.searches_per_second(queries[4 * ROUNDS : 8 * ROUNDS], 8)
    yield "  eight callers", f"{rate:.0f} searches/s", ">= 150"
    yield "  recall@10 of the vectors", f"{space.recall_at_10(corpus, vectors, 100):.3f}", ">= 0.97"
    filtered = space.recall_at_10(corpus, vectors, 100, is_filtered=True)
    yield "  recall@10 under the 1 % filter", f"{filtered:.3f}", ">= 0.99"


def measure_storing(space: Namespace, corpus: Corpus) -> Iterator[Row]:
    """Store one by one and in batches, embedding included."""
    texts, _ = corpus.grow(1_000, seed=3)
    began = time.perf_counter()
    for text in texts[:ROUNDS]:
        space.post("/store", {"content": text})
    yield "store, one caller", f"{ROUNDS / (time.perf_counter() - began):.0f} /s", ">= 120"
    began = time.perf_counter()
    for start_at in range(ROUNDS, 1_000, 200):
        space.post("/store/batch", {"items": [{"content": text} for text in texts[start_at : start_at + 200]]})
    yield "store in batches of 200", f"{(1_000 - ROUNDS) / (time.perf_counter() - began):.0f} /s", ">= 200"


def measure(corpus: Corpus, port: int, environ: dict[str, str], small: int, large: int) -> Iterator[Row]:
    """Fill a running stack and measure it."""
    for seed, (name, size, bar) in enumerate((("small", small, "<= 8 / 40"), ("large", large, "<= 15 / 40"))):
        space = Namespace(port, environ, name)
        texts, vectors = corpus.grow(size, seed)
        yield f"import of {size:,} with vectors", f"{space.load(texts, vectors):,.0f} /s", ">= 3,000"
        yield "  until all of it is indexed", f"{space.wait_until_indexed(size):.0f} s", ""
        queries = corpus.queries[seed * len(corpus.queries) // 2 :]
        yield from measure_namespace(space, corpus, vectors, queries, bar)
    yield from measure_storing(space, corpus)


def measure_peers(corpus: Corpus, port: int, environ: dict[str, str], peers: Path) -> Iterator[Row]:
    """Store and search the same texts with ours and with each peer, vectors known to all."""
    texts, vectors = corpus.grow(PEERS_SIZE, seed=4)
    space, queries = Namespace(port, environ, "peers"), corpus.queries[:600]
    space.load(texts, vectors)
    space.wait_until_indexed(PEERS_SIZE)
    space.time_searches(queries)
    alone = space.time_searches(queries[:200])
    rate = space.searches_per_second(queries[200:], 8)
    yield f"{PEERS_SIZE:,} memories, vectors known: tmws", f"{statistics.median(alone):.1f} ms, {rate:.0f} /s", ""
    known = {**dict(zip(texts, vectors, strict=True)), **dict(zip(queries, corpus.query_vectors, strict=False))}
    for name in memory_peers.PACKAGES:
        found = memory_peers.measure(peers, name, texts, queries, known)
        yield f"  {name}: search, one caller, eight", f"{found.p50_ms:.1f} ms, {found.search_8:.0f} /s", ""
        yield f"  {name}: store, one caller", f"{found.store_1:.0f} /s", ""


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--memories", type=int, default=100_000)
    parser.add_argument("--small", type=int, default=5_000)
    parser.add_argument("--cache", type=Path, default=Path(".tmws/benchmarks"))
    parser.add_argument("--peers", type=Path, help="folder of the peers' environments")
    parser.add_argument("--install", action="store_true", help="install the peers that are absent")
    given = parser.parse_args()
    if given.peers and given.install:
        memory_peers.install(given.peers)
    corpus = read_corpus(given.data, given.cache)
    data = Path(tempfile.mkdtemp(prefix="tmws-bench-"))
    environ = {
        **os.environ,
        "TMWS_DATA_DIR": str(data / "data"),
        "TMWS_RATE_LIMIT_REQUESTS": "1000000",
        "TMWS_AUTH_ENABLED": "true",
        "TMWS_API_PORT": str(free_port()),
    }
    try:
        process, _ = start([TMWS, "up"], data, int(environ["TMWS_API_PORT"]), environ)
        port = int(environ["TMWS_API_PORT"])
        for row in measure(corpus, port, environ, given.small, given.memories):
            show(*row)
        for row in measure_peers(corpus, port, environ, given.peers.absolute()) if given.peers else ():
            show(*row)
        size_mb = sum(file.stat().st_size for file in (data / "data/postgres").rglob("*") if file.is_file()) / 1e6
        print(f"{'database on disk':52}{size_mb:>17,.0f} MB")
        stop(process)
    finally:
        shutil.rmtree(data, ignore_errors=True)


if __name__ == "__main__":
    main()
