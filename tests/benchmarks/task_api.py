"""How fast tasks are created, read and listed, beside a bare service of FastAPI, asyncpg and orjson.

    python tests/benchmarks/task_api.py [--tasks 20000] [--requests 4000] [--connections 32] [--rounds 5]

Both run as one process each, beside the same PostgreSQL (fsync off: the disk is no part of the comparison), and take
turns. The bare one has a table of the same columns, checks nothing, and has no auth, history, events or metrics.
Prints medians of the rounds, and the ratio.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Protocol
from uuid import UUID

import asyncpg
import orjson
from fastapi import FastAPI, Request, Response
from task_claims import Service, task_service

sys.path.insert(0, str(Path(__file__).parents[1]))

from support.postgres import PostgresForTests
from tmws_shared.app import server_config
from tmws_shared.clock import new_id

BODY = {
    "title": "Write the report",
    "description": "Two pages, by Friday",
    "priority": "high",
    "labels": ["docs", "q4"],
    "metadata": {"source": "mail", "pages": 2},
}
LISTED = 50
_TABLE = """
    CREATE SCHEMA bare;
    CREATE TABLE bare.tasks (
        id uuid PRIMARY KEY, namespace text NOT NULL, title text NOT NULL, description text, status text NOT NULL,
        priority text NOT NULL, labels text[] NOT NULL, metadata jsonb NOT NULL, version integer NOT NULL DEFAULT 1,
        created_at timestamptz NOT NULL DEFAULT now(), updated_at timestamptz NOT NULL DEFAULT now());
    CREATE INDEX bare_newest ON bare.tasks (namespace, created_at DESC, id DESC);
    GRANT USAGE ON SCHEMA bare TO tmws_task;
    GRANT ALL ON bare.tasks TO tmws_task;
"""
_INSERT = """INSERT INTO bare.tasks (id, namespace, title, description, status, priority, labels, metadata)
    VALUES ($1, 'bench', $2, $3, 'pending', $4, $5, $6) RETURNING *"""
_GET = "SELECT * FROM bare.tasks WHERE namespace = 'bench' AND id = $1"
_LIST = "SELECT * FROM bare.tasks WHERE namespace = 'bench' ORDER BY created_at DESC, id DESC LIMIT $1"


def bare(url: str) -> FastAPI:
    """Return the service to compare with."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncGenerator[None]:
        app.state.pool = await asyncpg.create_pool(url, min_size=1, max_size=16, init=_use_orjson)
        yield
        await app.state.pool.close()

    app = FastAPI(lifespan=lifespan)

    @app.get("/readyz")
    async def ready() -> Response:
        return _answer({"status": "ready"})

    @app.post("/api/v1/tasks")
    async def create(request: Request) -> Response:
        body = orjson.loads(await request.body())
        fields = ("title", "description", "priority", "labels", "metadata")
        return _answer(dict(await app.state.pool.fetchrow(_INSERT, new_id(), *(body[name] for name in fields))))

    @app.get("/api/v1/tasks/{task_id}")
    async def get(task_id: UUID) -> Response:
        return _answer(dict(await app.state.pool.fetchrow(_GET, task_id)))

    @app.get("/api/v1/tasks")
    async def page(limit: int = LISTED) -> Response:
        return _answer({"items": [dict(row) for row in await app.state.pool.fetch(_LIST, limit)]})

    return app


async def _use_orjson(raw: asyncpg.Connection) -> None:
    await raw.set_type_codec(
        "jsonb", schema="pg_catalog", encoder=lambda value: orjson.dumps(value).decode(), decoder=orjson.loads
    )


def _answer(body: dict[str, Any]) -> Response:
    return Response(orjson.dumps(body, default=str), media_type="application/json")


class Api(Protocol):
    """What is measured."""

    async def call(self, method: str, path: str, json: object = None, **params: Any) -> Any:
        """Return the answer to a request."""


async def rate(work: Callable[[int], Awaitable[Any]], requests: int, connections: int) -> float:
    """Return how many requests a second so many connections get through."""
    numbers = iter(range(requests))

    async def client() -> None:
        for number in numbers:
            await work(number)

    began = time.perf_counter()
    await asyncio.gather(*(client() for _ in range(connections)))
    return requests / (time.perf_counter() - began)


async def one_round(api: Api, ids: list[str], requests: int, connections: int) -> tuple[float, float, float]:
    """Return creates, reads and lists a second."""
    created = await rate(lambda _: api.call("POST", "", BODY), requests, connections)
    read = await rate(lambda n: api.call("GET", f"/{ids[n * 7919 % len(ids)]}"), requests, connections)
    listed = await rate(lambda _: api.call("GET", "", limit=LISTED), requests // 4, connections)
    return created, read, listed


@asynccontextmanager
async def bare_service(folder: Path, url: str) -> AsyncGenerator[Service]:
    """Run the bare service as a process."""
    socket = f"unix://{folder}/bare.sock"
    environment = {**os.environ, "BARE_URL": url, "BARE_LISTEN": socket}
    process = subprocess.Popen([sys.executable, __file__, "--serve-bare"], env=environment)  # noqa: ASYNC220 -- a moment
    service = Service(socket)
    try:
        await service.wait_until_up()
        yield service
    finally:
        await service.close()
        process.terminate()
        process.wait(30)


async def measure(postgres: PostgresForTests, folder: Path, arguments: argparse.Namespace) -> None:
    """Measure both in turns and print."""
    database = postgres.create_database()
    tables = await asyncpg.connect(database.admin)
    await tables.execute(_TABLE)
    async with task_service(folder, database) as ours, bare_service(folder, database.for_service("task")) as other:
        apis = {"tmws": ours, "bare": other}
        ids = {name: await filled(api, arguments) for name, api in apis.items()}
        await tables.execute("VACUUM ANALYZE task.tasks")
        await tables.execute("VACUUM ANALYZE bare.tasks")
        rounds: dict[str, list[tuple[float, float, float]]] = {name: [] for name in apis}
        for _ in range(arguments.rounds):
            for name, api in apis.items():
                rounds[name].append(await one_round(api, ids[name], arguments.requests, arguments.connections))
    await tables.close()
    figures = {name: [statistics.median(one) for one in zip(*rows, strict=True)] for name, rows in rounds.items()}
    print(f"{'':>10} {'create/s':>10} {'get/s':>10} {f'list {LISTED}/s':>10}")
    for name, values in figures.items():
        print(f"{name:>10} " + " ".join(f"{value:>10,.0f}" for value in values))
    ratios = [mine / other for mine, other in zip(figures["tmws"], figures["bare"], strict=True)]
    print(f"{'ratio':>10} " + " ".join(f"{ratio:>10.2f}" for ratio in ratios))


async def filled(api: Api, arguments: argparse.Namespace) -> list[str]:
    """Create tasks and return their ids."""
    ids: list[str] = []

    async def create(_: int) -> None:
        ids.append((await api.call("POST", "", BODY))["id"])

    await rate(create, arguments.tasks, arguments.connections)
    return ids


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", type=int, default=20_000, help="in the tables before the first round")
    parser.add_argument("--requests", type=int, default=4_000, help="of each kind and round")
    parser.add_argument("--connections", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--serve-bare", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve_bare:
        import uvicorn

        uvicorn.Server(server_config(bare(os.environ["BARE_URL"]), os.environ["BARE_LISTEN"])).run()
        return
    with tempfile.TemporaryDirectory(prefix="tmws-bench-") as folder:
        postgres = PostgresForTests(Path(folder))
        postgres.start()
        try:
            asyncio.run(measure(postgres, Path(folder), arguments))
        finally:
            postgres.stop()


if __name__ == "__main__":
    main()
