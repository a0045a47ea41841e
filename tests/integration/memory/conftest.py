"""The memory service on a fresh database for each test module, beside a real embedding process."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import AsyncGenerator, Iterator
from pathlib import Path

import pytest

from support.postgres import DatabaseUrls, PostgresForTests
from support.service import SECRET, ServiceUnderTest, running, settings_for
from tmws_memory.app import build
from tmws_memory.settings import MemorySettings

READY_TIMEOUT_S = 120.0


def is_listening(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as client:
        return client.connect_ex(str(path)) == 0


def wait_until_listening(path: Path, process: subprocess.Popen[bytes]) -> None:
    # It listens once the model is warm.
    deadline = time.monotonic() + READY_TIMEOUT_S
    while not is_listening(path):
        if process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError("the embedding service did not become ready")
        time.sleep(0.05)


@pytest.fixture(scope="session")
def embedding_url(short_directory: Path) -> Iterator[str]:
    """The URL of a running embedding service with the built-in model."""
    path = short_directory / "embedding.sock"
    url = f"unix://{path}"
    environment = {
        "PATH": os.environ["PATH"],
        "TMWS_SECRET_KEY": SECRET,
        "TMWS_DATA_DIR": str(short_directory / "data"),
        "TMWS_LISTEN": url,
    }
    process = subprocess.Popen([sys.executable, "-m", "tmws_embedding.app"], env=environment)
    try:
        wait_until_listening(path, process)
        yield url
    finally:
        process.terminate()
        process.wait(10)


@pytest.fixture(scope="module")
def database(postgres: PostgresForTests) -> DatabaseUrls:
    return postgres.create_database()


@pytest.fixture
async def memory(database: DatabaseUrls, embedding_url: str) -> AsyncGenerator[ServiceUnderTest]:
    settings = settings_for(MemorySettings, "memory", database, embedding_url=embedding_url)
    async with running(build(settings), "memory") as service:
        yield service


@pytest.fixture
async def memory_alone(database: DatabaseUrls, tmp_path: Path) -> AsyncGenerator[ServiceUnderTest]:
    """The same service while the embedding service is down."""
    nowhere = f"unix://{tmp_path}/nobody.sock"
    settings = settings_for(MemorySettings, "memory", database, embedding_url=nowhere)
    async with running(build(settings), "memory") as service:
        yield service
