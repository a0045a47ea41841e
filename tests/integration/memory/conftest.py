"""The memory service on a fresh database for each test module, beside a real embedding process."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import AsyncGenerator, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from support.postgres import DatabaseUrls, PostgresForTests
from support.service import SECRET, ServiceUnderTest, app_of, running, settings_for
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


@contextmanager
def embedding_service(directory: Path, name: str, **settings: str) -> Iterator[str]:
    """Run an embedding service and yield its URL."""
    path = directory / f"{name}.sock"
    environment = {
        "PATH": os.environ["PATH"],
        "TMWS_SECRET_KEY": SECRET,
        "TMWS_DATA_DIR": str(directory / "data"),
        "TMWS_LISTEN": f"unix://{path}",
        **settings,
    }
    process = subprocess.Popen([sys.executable, "-m", "tmws_embedding.app"], env=environment)
    try:
        wait_until_listening(path, process)
        yield f"unix://{path}"
    finally:
        process.terminate()
        process.wait(10)


@pytest.fixture(scope="session")
def embedding_url(short_directory: Path) -> Iterator[str]:
    """The URL of a running embedding service with the built-in model."""
    with embedding_service(short_directory, "embedding") as url:
        yield url


@pytest.fixture(scope="module")
def exact_embedding_url(short_directory: Path) -> Iterator[str]:
    """One whose current model is another one, and that serves the first one, too."""
    settings = {"TMWS_EMBEDDING_PRECISION": "fp32", "TMWS_EMBEDDING_ALSO": "all-MiniLM-L6-v2:int8"}
    with embedding_service(short_directory, "exact", **settings) as url:
        yield url


@pytest.fixture(scope="module")
def database(postgres: PostgresForTests) -> DatabaseUrls:
    return postgres.create_database()


@pytest.fixture
async def memory(database: DatabaseUrls, embedding_url: str) -> AsyncGenerator[ServiceUnderTest]:
    settings = settings_for(MemorySettings, "memory", database, embedding_url=embedding_url)
    async with running(app_of(build, settings), "memory") as service:
        yield service


@pytest.fixture
async def memory_alone(database: DatabaseUrls, tmp_path: Path) -> AsyncGenerator[ServiceUnderTest]:
    """The same service while the embedding service is down."""
    nowhere = f"unix://{tmp_path}/nobody.sock"
    settings = settings_for(MemorySettings, "memory", database, embedding_url=nowhere)
    async with running(app_of(build, settings), "memory") as service:
        yield service
