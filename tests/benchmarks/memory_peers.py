"""Memory servers that ours is compared with, as their users run them, given the vectors they would have to compute.

mcp-memory-service runs its HTTP server on sqlite-vec and asks an embedding endpoint (ours: vectors known already);
chroma runs its server and is sent the vectors. Each stores texts one by one and is then searched.
"""

from __future__ import annotations

import http.client
import json
import os
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tmws_local.paths import free_port

PACKAGES = {"mcp-memory-service": ["mcp-memory-service==12.2.0"], "chroma": ["chromadb==1.5.9"]}
START_TIMEOUT_S = 120.0
_CHROMA = "/api/v2/tenants/default_tenant/databases/default_database/collections"

Vectors = Mapping[str, NDArray[np.float32]]


class Server(NamedTuple):
    """A running peer: its port, and how a text is stored and searched for (method, path, body)."""

    port: int
    store: Callable[[str], tuple[str, str, Any]]
    search: Callable[[str], tuple[str, str, Any]]


class Figures(NamedTuple):
    """What was measured: rates a second for one caller and for eight, and the p50 of one, in milliseconds."""

    store_1: float
    search_1: float
    search_8: float
    p50_ms: float


def install(peers: Path) -> None:
    """Make an environment for each peer that has none."""
    for name, packages in PACKAGES.items():
        python = peers / name / "bin" / "python"
        if not python.is_file():
            print(f"installing {name}", flush=True)
            subprocess.run([_python(), "-m", "venv", peers / name], check=True)
            subprocess.run([python, "-m", "pip", "install", "--quiet", *packages], check=True)


def _python() -> str:
    """Return a Python whose sqlite3 loads extensions, which sqlite-vec needs: this one, or the system's."""
    return sys.executable if hasattr(sqlite3.Connection, "enable_load_extension") else "/usr/bin/python3"


def measure(peers: Path, name: str, texts: Sequence[str], queries: Sequence[str], vectors: Vectors) -> Figures:
    """Store texts one by one, then search."""
    run = {"mcp-memory-service": _mcp_memory_service, "chroma": _chroma}[name]
    with (
        tempfile.TemporaryDirectory(prefix="tmws-peer-", ignore_cleanup_errors=True) as folder,
        run(peers / name / "bin", Path(folder), vectors) as server,
    ):
        stored = _time(server.port, [server.store(text) for text in texts], 1)
        alone = _time(server.port, [server.search(query) for query in queries[:200]], 1)
        began = time.perf_counter()
        _time(server.port, [server.search(query) for query in queries[200:600]], 8)
        rate = 400 / (time.perf_counter() - began)
    return Figures(len(texts) / sum(stored), len(alone) / sum(alone), rate, statistics.median(alone) * 1000)


def _time(port: int, requests: Sequence[tuple[str, str, Any]], callers: int) -> list[float]:
    """Send requests and return the seconds of each."""
    local = threading.local()

    def send(request: tuple[str, str, Any]) -> float:
        if not hasattr(local, "connection"):
            local.connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        began = time.perf_counter()
        _call(local.connection, *request)
        return time.perf_counter() - began

    with ThreadPoolExecutor(callers) as pool:
        return list(pool.map(send, requests))


def _call(connection: http.client.HTTPConnection, method: str, path: str, body: Any = None) -> Any:
    connection.request(method, path, json.dumps(body), {"content-type": "application/json"})
    answer = connection.getresponse()
    content = answer.read()
    if answer.status >= 300:
        raise RuntimeError(f"{method} {path} answered {answer.status}: {content[:300]!r}")
    return json.loads(content) if content else None


@contextmanager
def _chroma(programs: Path, folder: Path, vectors: Vectors) -> Iterator[Server]:
    port = free_port()
    command = [str(programs / "chroma"), "run", "--path", str(folder / "c"), "--port", str(port)]
    with _running(command, folder, {"ANONYMIZED_TELEMETRY": "False"}, port, "/api/v2/heartbeat"):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        made = _call(connection, "POST", _CHROMA, {"name": "bench", "get_or_create": True})
        path = f"{_CHROMA}/{made['id']}"

        def store(text: str) -> tuple[str, str, Any]:
            body = {"ids": [text[:200]], "embeddings": [vectors[text].tolist()], "documents": [text]}
            return "POST", f"{path}/add", body

        def search(query: str) -> tuple[str, str, Any]:
            body = {"query_embeddings": [vectors[query].tolist()], "n_results": 10}
            return "POST", f"{path}/query", body

        yield Server(port, store, search)


@contextmanager
def _mcp_memory_service(programs: Path, folder: Path, vectors: Vectors) -> Iterator[Server]:
    port = free_port()
    with _embeddings(vectors) as url:
        settings = {
            "MCP_EXTERNAL_EMBEDDING_URL": url, "MCP_EXTERNAL_EMBEDDING_MODEL": "known", "MCP_HTTP_ENABLED": "true",
            "MCP_MEMORY_SQLITE_PATH": str(folder / "m.db"), "MCP_MEMORY_BASE_DIR": str(folder),
            "MCP_ALLOW_ANONYMOUS_ACCESS": "true", "HF_HUB_OFFLINE": "1", "MCP_HTTPS_ENABLED": "false",
            "MCP_MDNS_ENABLED": "false", "MCP_CONSOLIDATION_ENABLED": "false", "MCP_HTTP_HOST": "127.0.0.1",
            "MCP_HTTP_PORT": str(port),
        }  # fmt: skip
        command = [str(programs / "memory"), "server", "--http", "--http-port", str(port), "--http-host", "127.0.0.1"]
        with _running(command, folder, settings, port, "/api/health"):
            yield Server(
                port,
                lambda text: ("POST", "/api/memories", {"content": text, "tags": ["bench"]}),
                lambda query: ("POST", "/api/search", {"query": query, "n_results": 10}),
            )


@contextmanager
def _running(command: Sequence[str], folder: Path, settings: Mapping[str, str], port: int, path: str) -> Iterator[None]:
    """Run a peer's server until the block ends."""
    environment = {**os.environ, "HOME": str(folder), **settings}
    process = subprocess.Popen(
        command, cwd=folder, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        _wait_until_up(process, port, path)
        yield
    finally:
        process.kill()
        process.wait()


def _wait_until_up(process: subprocess.Popen[bytes], port: int, path: str) -> None:
    until = time.perf_counter() + START_TIMEOUT_S
    while time.perf_counter() < until and process.poll() is None:
        try:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
            connection.request("GET", path)
            if connection.getresponse().status < 500:
                return
        except OSError:
            time.sleep(0.1)
    raise RuntimeError(f"{process.args} does not answer")


@contextmanager
def _embeddings(vectors: Vectors) -> Iterator[str]:
    """Serve known vectors in the shape of OpenAI's endpoint; what is not known has the same one as anything else."""
    unknown = np.full(384, 1 / np.sqrt(384), np.float32)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["content-length"])))["input"]
            texts = [asked] if isinstance(asked, str) else asked
            data = [
                {"object": "embedding", "index": place, "embedding": vectors.get(text, unknown).tolist()}
                for place, text in enumerate(texts)
            ]
            usage = {"prompt_tokens": 1, "total_tokens": 1}
            body = json.dumps({"object": "list", "model": "known", "data": data, "usage": usage}).encode()
            self.send_response(200)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1/embeddings"
    finally:
        server.shutdown()
