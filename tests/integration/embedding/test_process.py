"""The service as the process that others start."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path

import httpx2
import orjson
import pytest

from support.service import InternalAuth
from tmws_contracts.embedding import EmbeddingStats
from tmws_shared.auth import InternalTokens, Principal
from tmws_shared.settings import EXIT_CONFIGURATION

pytestmark = pytest.mark.long

SECRET = "embedding tests 0123456789abcdef"
MAX_RSS_MB = 250


@contextmanager
def running(path: Path, data_dir: Path, **settings: str) -> Generator[subprocess.Popen[str]]:
    environment = {
        "PATH": os.environ["PATH"],
        "TMWS_SECRET_KEY": SECRET,
        "TMWS_DATA_DIR": str(data_dir),
        "TMWS_LISTEN": f"unix://{path}",
        **settings,
    }
    command = [sys.executable, "-m", "tmws_embedding.app"]
    process = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def open_client(path: Path) -> httpx2.Client:
    transport = httpx2.HTTPTransport(uds=str(path), trust_env=False)
    auth = InternalAuth(SECRET, "embedding")
    return httpx2.Client(transport=transport, base_url="http://embedding", auth=auth, timeout=60)


def is_listening(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        return probe.connect_ex(str(path)) == 0


def wait_until_ready(path: Path, process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 60
    while not is_listening(path):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.02)
    with open_client(path) as client:
        assert client.get("/readyz").status_code == 200


def rss_mb(pid: int) -> int:
    lines = Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) // 1024 for line in lines if line.startswith("VmRSS"))


def test_first_start_converts_serves_and_stops_within_two_seconds(short_directory: Path, tmp_path: Path) -> None:
    path = short_directory / "embedding-first.sock"
    with running(path, tmp_path) as process:
        wait_until_ready(path, process)
        with open_client(path) as client:
            answer = client.post("/embed", json={"texts": ["hello"]})
        process.terminate()
        process.wait(2)

    assert (answer.status_code, process.returncode) == (200, 0)


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="resident memory is read from /proc")
def test_serving_process_stays_small(short_directory: Path, data_dir: Path) -> None:
    path = short_directory / "embedding-small.sock"
    texts = [f"{number} agents remember what they were told " * 40 for number in range(32)]
    with running(path, data_dir, TMWS_EMBEDDING_THREADS="2") as process:
        wait_until_ready(path, process)
        with open_client(path) as client:
            client.post("/embed", json={"texts": texts})
        size_mb = rss_mb(process.pid)

    assert size_mb < MAX_RSS_MB


async def test_caller_that_hangs_up_frees_the_queue(short_directory: Path, data_dir: Path) -> None:
    path = short_directory / "embedding-gone.sock"
    body = orjson.dumps({"texts": [f"{number} agents remember what they were told " * 40 for number in range(256)]})
    token = InternalTokens(SECRET).mint(Principal("tester"), "embedding", "POST")
    head = f"POST /embed HTTP/1.1\r\nhost: embedding\r\nauthorization: Bearer {token}\r\n"
    head += f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    with running(path, data_dir, TMWS_EMBEDDING_THREADS="1") as process:
        await asyncio.to_thread(wait_until_ready, path, process)
        _, writer = await asyncio.open_unix_connection(str(path))
        writer.write(head.encode() + body)
        await writer.drain()
        queued = await asyncio.to_thread(wait_for_queue, path, lambda bulk: bulk > 0)
        writer.close()
        await writer.wait_closed()
        left = await asyncio.to_thread(wait_for_queue, path, lambda bulk: bulk == 0)

    assert (queued.queue.bulk, left.texts) == (256, 0)


def wait_for_queue(path: Path, is_reached: Callable[[int], bool]) -> EmbeddingStats:
    # 256 such texts take over two seconds on one thread of a fast machine.
    deadline = time.monotonic() + 1.5
    with open_client(path) as client:
        while time.monotonic() < deadline:
            stats = EmbeddingStats.model_validate_json(client.get("/stats").content)
            if is_reached(stats.queue.bulk):
                return stats
            time.sleep(0.005)
    raise AssertionError("the queue did not change")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("TMWS_VECTOR_DIMENSION", "768"),
        ("TMWS_EMBEDDING_MODEL", "no-such-model"),
        ("TMWS_EMBEDDING_PRECISION", "int4"),
        ("TMWS_EMBEDDING_ALSO", "no-such-model"),
    ],
)
def test_wrong_setting_ends_the_start_with_its_name(
    name: str, value: str, short_directory: Path, data_dir: Path
) -> None:
    with running(short_directory / "embedding-wrong.sock", data_dir, **{name: value}) as process:
        _, errors = process.communicate(timeout=60)

    assert process.returncode == EXIT_CONFIGURATION
    assert f"- {name}" in errors
    assert "Traceback" not in errors


def test_model_that_cannot_be_made_ends_the_start_with_one_sentence(short_directory: Path, tmp_path: Path) -> None:
    occupied = tmp_path / "occupied"
    occupied.write_text("")

    with running(short_directory / "embedding-occupied.sock", occupied) as process:
        _, errors = process.communicate(timeout=60)

    assert process.returncode == 1
    assert errors.startswith("TMWS cannot start: all-MiniLM-L6-v2 could not be converted")
    assert "Traceback" not in errors
