"""The persona service on a fresh database for each test module, and the services that it asks.

It asks them at sockets of one folder: a test that wants one of them to be up asks for its fixture.
"""

import asyncio
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import uvicorn
from fastapi import FastAPI

from support.postgres import DatabaseUrls, PostgresForTests
from support.service import SECRET, ServiceUnderTest, app_of, running, settings_for
from support.waiting import until
from support.workflow_engine import Engine
from tmws_memory.app import build as build_memory
from tmws_memory.settings import MemorySettings
from tmws_persona.app import build
from tmws_persona.settings import PersonaSettings
from tmws_shared.app import server_config
from tmws_task.app import build as build_task
from tmws_task.settings import TaskSettings
from tmws_workflow.app import build as build_workflow
from tmws_workflow.settings import WorkflowSettings

START_TIMEOUT_S = 120.0


@pytest.fixture(scope="module")
def database(postgres: PostgresForTests) -> DatabaseUrls:
    return postgres.create_database()


@pytest.fixture(scope="module")
def folder(short_directory: Path) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(dir=short_directory) as name:
        yield Path(name)


def at(folder: Path, service: str) -> str:
    """Return the URL of a service in a folder."""
    return f"unix://{folder}/{service}.sock"


def everywhere(folder: Path) -> dict[str, str]:
    return {f"{name}_url": at(folder, name) for name in ("embedding", "memory", "task", "workflow")}


@pytest.fixture(scope="module")
def embedding(folder: Path) -> Iterator[None]:
    """A running embedding service with the built-in model."""
    environment = {
        "PATH": os.environ["PATH"],
        "TMWS_SECRET_KEY": SECRET,
        "TMWS_DATA_DIR": str(folder / "data"),
        "TMWS_LISTEN": at(folder, "embedding"),
    }
    process = subprocess.Popen([sys.executable, "-m", "tmws_embedding.app"], env=environment)
    try:
        # It listens once the model is warm.
        deadline = time.monotonic() + START_TIMEOUT_S
        while not (folder / "embedding.sock").exists():
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.05)
        yield
    finally:
        process.terminate()
        process.wait(10)


@asynccontextmanager
async def served(app: FastAPI, name: str, folder: Path) -> AsyncGenerator[ServiceUnderTest]:
    """Run a service in this process at its socket."""
    server = uvicorn.Server(server_config(app, at(folder, name)))
    serving = asyncio.create_task(server.serve())
    await until(lambda: server.started)
    try:
        service = ServiceUnderTest(app, name)
        async with service.client:
            yield service
    finally:
        server.should_exit = True
        await serving


@pytest.fixture
async def memory(database: DatabaseUrls, folder: Path) -> AsyncGenerator[ServiceUnderTest]:
    settings = settings_for(MemorySettings, "memory", database, embedding_url=at(folder, "embedding"))
    async with served(app_of(build_memory, settings), "memory", folder) as service:
        yield service


@pytest.fixture
async def task(database: DatabaseUrls, folder: Path) -> AsyncGenerator[ServiceUnderTest]:
    async with served(app_of(build_task, settings_for(TaskSettings, "task", database)), "task", folder) as service:
        yield service


@pytest.fixture
async def workflow(database: DatabaseUrls, folder: Path) -> AsyncGenerator[ServiceUnderTest]:
    urls = {"task_url": at(folder, "task"), "memory_url": at(folder, "memory")}
    settings = settings_for(WorkflowSettings, "workflow", database, **urls)
    async with served(app_of(build_workflow, settings), "workflow", folder) as service:
        yield service


@pytest.fixture
async def engine(database: DatabaseUrls, folder: Path, workflow: ServiceUnderTest) -> Engine:
    """The running workflow service with what tests of it use."""
    return Engine(database, folder, "", workflow)


@pytest.fixture
async def persona(database: DatabaseUrls, folder: Path) -> AsyncGenerator[ServiceUnderTest]:
    """The persona service; which of the others are up is what else a test asks for."""
    settings = settings_for(PersonaSettings, "persona", database, **everywhere(folder))
    async with running(app_of(build, settings), "persona") as service:
        yield service


@pytest.fixture
async def persona_alone(database: DatabaseUrls, tmp_path: Path) -> AsyncGenerator[ServiceUnderTest]:
    """The same service while every other one is down."""
    settings = settings_for(PersonaSettings, "persona", database, **everywhere(tmp_path))
    async with running(app_of(build, settings), "persona") as service:
        yield service
