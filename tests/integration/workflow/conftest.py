"""The workflow service on a fresh database for each test module."""

import tempfile
from collections.abc import AsyncGenerator, Iterator
from pathlib import Path

import pytest

from support.postgres import DatabaseUrls, PostgresForTests
from support.workflow_engine import Engine, running_engine


@pytest.fixture(scope="module")
def database(postgres: PostgresForTests) -> DatabaseUrls:
    return postgres.create_database()


@pytest.fixture(scope="module")
def folder(short_directory: Path) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(dir=short_directory) as name:
        yield Path(name)


@pytest.fixture
async def engine(database: DatabaseUrls, folder: Path) -> AsyncGenerator[Engine]:
    async with running_engine(database, folder) as running:
        yield running


@pytest.fixture
async def empty_queue(engine: Engine) -> None:
    """Forget what earlier tests left ready, so that a claim takes the steps of this test."""
    await engine.sql("TRUNCATE executions, step_executions, events CASCADE")
