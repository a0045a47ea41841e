"""How fast texts become vectors here and with the libraries others use; exits 1 when a bar is missed.

    python tests/benchmarks/embedding_speed.py --data FOLDER --peers FOLDER --install

The contenders embed the same 400 texts in turn, five rounds, each in a process of its own with two threads.
Figures are medians; ratios are medians of each round's ratio: only neighbours in time compare on a shared machine.
A peer whose environment is not in the folder of peers is left out, and named; `--install` makes it. FOLDER of the
data may hold `stsb/en-test.csv` and `cranfield/corpus.jsonl`; without them the texts are made up.
"""

from __future__ import annotations

import argparse
import asyncio
import http.client
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path

import embedding_peers
import orjson
import psutil
from embedding_texts import QUERY, mixed_texts

from tmws_contracts.embedding import RAW_VECTORS
from tmws_embedding.artifacts import prepare_model
from tmws_embedding.batcher import Batcher
from tmws_embedding.model import Embedder
from tmws_shared.auth import InternalTokens, Principal

MODEL = "all-MiniLM-L6-v2"
SECRET = "a secret for one measurement only"
THREADS = embedding_peers.THREADS
ROUNDS = 5
QUERIES = 50
REQUEST_TEXTS = 200
IN_PROCESS, SERVICE, EXACT = "int8, in process", "int8, service over its socket", "fp32, in process"
BARS = {"sentence-transformers": 4.0, "infinity": 4.5}
MAX_QUERY_MS = 2.0
MAX_RSS_MB = 250

Embed = Callable[[Sequence[str]], float]


@dataclass
class Contender:
    """What embeds texts and tells the seconds it took, in which process, and what was measured."""

    embed: Embed
    pid: int
    texts_s: list[float] = field(default_factory=list)
    query_ms: list[float] = field(default_factory=list)

    @property
    def rss_mb(self) -> float:
        return psutil.Process(self.pid).memory_info().rss / 2**20


class UnixConnection(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(self.host)


@contextmanager
def service(data_dir: Path) -> Generator[Contender]:
    """The service as it is started by the stack, without Redis; nothing is cached."""
    path = data_dir / "embedding.sock"
    environment = {
        "PATH": os.environ["PATH"],
        "TMWS_SECRET_KEY": SECRET,
        "TMWS_DATA_DIR": str(data_dir),
        "TMWS_LISTEN": f"unix://{path}",
        "TMWS_EMBEDDING_THREADS": str(THREADS),
    }
    process = subprocess.Popen([sys.executable, "-m", "tmws_embedding.app"], env=environment)
    connection = UnixConnection(str(path))
    try:
        while True:
            try:
                connection.connect()
                break
            except (FileNotFoundError, ConnectionRefusedError):
                time.sleep(0.05)
        yield Contender(lambda texts: post(connection, texts), process.pid)
    finally:
        connection.close()
        process.terminate()
        process.wait()


def post(connection: UnixConnection, texts: Sequence[str]) -> float:
    """Embed texts in requests of at most 200; return the seconds from the first byte sent to the last one read."""
    token = InternalTokens(SECRET).mint(Principal("benchmark"), "embedding", "POST")
    headers = {"authorization": f"Bearer {token}", "content-type": "application/json", "accept": RAW_VECTORS}
    parts = [texts[start : start + REQUEST_TEXTS] for start in range(0, len(texts), REQUEST_TEXTS)]
    bodies = [orjson.dumps({"texts": part, "cache": False}) for part in parts]
    if len(texts) > 1:
        # The service hangs up after 75 idle seconds, and others may have taken longer; this opens a new connection.
        connection.close()
    started = time.perf_counter()
    for body in bodies:
        connection.request("POST", "/embed", body, headers)
        answer = connection.getresponse()
        answer.read()
        assert answer.status == 200
    return time.perf_counter() - started


@contextmanager
def in_process(data_dir: Path, precision: str) -> Generator[Contender]:
    """The model and its threads without HTTP."""
    context = get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=embed_in_process, args=(there, data_dir, precision), daemon=True)
    process.start()
    assert process.pid is not None

    def embed(texts: Sequence[str]) -> float:
        here.send(texts)
        return here.recv()

    try:
        yield Contender(embed, process.pid)
    finally:
        process.kill()
        process.join()


def embed_in_process(requests: Connection, data_dir: Path, precision: str) -> None:
    """Answer each list of texts with the seconds it took."""
    embedder = Embedder(prepare_model(MODEL, precision, data_dir))
    batcher = Batcher(THREADS, 1024)
    with asyncio.Runner() as runner:
        while True:
            texts = requests.recv()
            started = time.perf_counter()
            runner.run(batcher.embed(embedder, texts))
            requests.send(time.perf_counter() - started)


@contextmanager
def peer(peers: Path, name: str) -> Generator[Contender]:
    """A library in its own environment."""
    driver = embedding_peers.start(peers, name)
    process = psutil.Process(driver.pid)

    def embed(texts: Sequence[str]) -> float:
        process.resume()
        try:
            return embedding_peers.ask(driver, texts)
        finally:
            # infinity's threads never rest: they would take a quarter of a core from the others.
            process.suspend()

    try:
        yield Contender(embed, driver.pid)
    finally:
        driver.kill()
        driver.communicate()


def measure(contenders: dict[str, Contender], texts: Sequence[str]) -> None:
    """Let everybody embed everything, in turn, so that noise meets all alike."""
    for contender in contenders.values():
        contender.embed(texts[:40])
    for number in range(ROUNDS):
        for contender in contenders.values():
            contender.texts_s.append(len(texts) / contender.embed(texts))
        for contender in contenders.values():
            times = [contender.embed([QUERY]) * 1000 for _ in range(QUERIES)]
            contender.query_ms.append(statistics.median(times))
        rates = ", ".join(f"{name} {contender.texts_s[-1]:.0f}" for name, contender in contenders.items())
        print(f"round {number + 1}: texts/s {rates}", flush=True)


def ratio(one: Contender, other: Contender) -> float:
    """Return how many times as fast one is as the other."""
    return statistics.median(a / b for a, b in zip(one.texts_s, other.texts_s, strict=True))


def report(contenders: dict[str, Contender]) -> list[str]:
    """Print the table; return the bars that were missed."""
    known = [name for name in BARS if name in contenders]
    columns = "".join(f" | x {name}" for name in known)
    print(f"\n| | texts/s{columns} | short query p50, ms | RSS, MB |\n|{' --- |' * (4 + len(known))}")
    for name, one in contenders.items():
        ratios = "".join(f" | {ratio(one, contenders[other]):.2f}" for other in known)
        query_ms = statistics.median(one.query_ms)
        print(f"| {name} | {statistics.median(one.texts_s):.0f}{ratios} | {query_ms:.2f} | {one.rss_mb:.0f} |")
    return list(missed_bars(contenders))


def missed_bars(contenders: dict[str, Contender]) -> Iterator[str]:
    """Yield what is not reached."""
    for name, bar in BARS.items():
        if name in contenders and (reached := ratio(contenders[IN_PROCESS], contenders[name])) < bar:
            yield f"{IN_PROCESS}: {reached:.2f} x {name}, at least {bar} wanted"
    if (query_ms := statistics.median(contenders[SERVICE].query_ms)) >= MAX_QUERY_MS:
        yield f"{SERVICE}: short query p50 {query_ms:.2f} ms, below {MAX_QUERY_MS} wanted"
    if (rss_mb := contenders[SERVICE].rss_mb) >= MAX_RSS_MB:
        yield f"{SERVICE}: {rss_mb:.0f} MB, below {MAX_RSS_MB} wanted"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("benchmark-data"))
    parser.add_argument("--peers", type=Path, default=Path("benchmark-peers"), help="folder of their environments")
    parser.add_argument("--install", action="store_true", help="install the peers that are absent")
    arguments = parser.parse_args()
    if arguments.install:
        embedding_peers.install(arguments.peers.absolute())
    texts = mixed_texts(arguments.data)
    with ExitStack() as stack:
        data_dir = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        contenders = {
            IN_PROCESS: stack.enter_context(in_process(data_dir, "int8")),
            SERVICE: stack.enter_context(service(data_dir)),
            EXACT: stack.enter_context(in_process(data_dir, "fp32")),
        }
        for name in embedding_peers.PACKAGES:
            if embedding_peers.python_of(arguments.peers, name).is_file():
                contenders[name] = stack.enter_context(peer(arguments.peers.absolute(), name))
            else:
                print(f"absent: {name} (--peers {arguments.peers} --install)")
        measure(contenders, texts)
        missed = report(contenders)
    for line in missed:
        print(f"MISSED {line}")
    sys.exit(bool(missed))


if __name__ == "__main__":
    main()
