"""The real model, converted once for all these tests, and the service around it."""

from __future__ import annotations

import shutil
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import httpx2
import pytest

from support.service import InternalAuth
from tmws_embedding.app import build
from tmws_embedding.artifacts import prepare_model
from tmws_embedding.model import Embedder
from tmws_embedding.settings import EmbeddingSettings

SECRET = "embedding tests 0123456789abcdef"
Serve = Callable[..., AbstractAsyncContextManager[httpx2.AsyncClient]]


@pytest.fixture(scope="session")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data directory in which the model is converted already."""
    data_dir = tmp_path_factory.mktemp("embedding")
    prepare_model("all-MiniLM-L6-v2", "int8", data_dir)
    return data_dir


@pytest.fixture(scope="session")
def embedder(data_dir: Path) -> Embedder:
    """The built-in model in int8."""
    return Embedder(prepare_model("all-MiniLM-L6-v2", "int8", data_dir))


@pytest.fixture(scope="session")
def exact_embedder(data_dir: Path) -> Embedder:
    """The built-in model in fp32."""
    return Embedder(prepare_model("all-MiniLM-L6-v2", "fp32", data_dir))


@pytest.fixture(scope="session")
def own_model(tmp_path_factory: pytest.TempPathFactory, exact_embedder: Embedder) -> Path:
    """A folder with a model of one's own: the exact one under another name."""
    folder = tmp_path_factory.mktemp("models") / "own"
    shutil.copytree(exact_embedder.artifact.folder, folder)
    return folder


@pytest.fixture
def serve(data_dir: Path) -> Serve:
    """`async with serve(redis_url=…) as client`: the service in this process, called with an internal token."""

    @asynccontextmanager
    async def serve(**settings: object) -> AsyncGenerator[httpx2.AsyncClient]:
        app = build(EmbeddingSettings.model_validate({"secret_key": SECRET, "data_dir": data_dir, **settings}))
        auth = InternalAuth(SECRET, "embedding")
        transport = httpx2.ASGITransport(app)
        async with (
            app.router.lifespan_context(app),
            httpx2.AsyncClient(transport=transport, base_url="http://embedding", auth=auth) as client,
        ):
            yield client

    return serve


@pytest.fixture
async def client(serve: Serve) -> AsyncGenerator[httpx2.AsyncClient]:
    """The service without Redis."""
    async with serve() as client:
        yield client
