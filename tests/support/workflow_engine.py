"""The workflow service with real workers and a real task service, each reached as in the product.

async with running_engine(database, folder) as engine:
    async with engine.worker():                                  # in this process; `engine.worker_process()` is another
        execution = await engine.run({"id": "a", "uses": "transform", "with": {"x": 1}})

Run as a program it is a worker whose leases are as short as `BRISK` says.
"""

# asyncpg has no type stubs.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import asyncpg
import uvicorn

from support.postgres import DatabaseUrls
from support.service import SECRET, ServiceUnderTest, app_of, running, settings_for
from tmws_shared.app import serve, server_config
from tmws_task.app import build as build_task
from tmws_task.settings import TaskSettings
from tmws_workflow.app import build as build_workflow
from tmws_workflow.runner import Pace
from tmws_workflow.settings import WorkflowSettings
from tmws_workflow.worker import build as build_worker

BRISK = Pace(lease_s=2.0, heartbeat_s=0.4, sweep_s=0.2, watch_s=0.05, tick_s=0.05)
ENDED = frozenset({"completed", "failed", "cancelled", "timed_out"})
TIMEOUT_S = 20.0
POLL_S = 0.02
WORKFLOWS = "/api/v1/workflows"
Json = dict[str, Any]


class Engine:
    """Saves workflows, runs them and looks at what became of them."""

    def __init__(self, database: DatabaseUrls, folder: Path, redis_url: str, api: ServiceUnderTest) -> None:
        self.api = api
        self.database = database
        self.task_url = f"unix://{folder / 'task.sock'}"
        self.folder = folder
        self._redis_url = redis_url

    def settings(self, **others: Any) -> WorkflowSettings:
        """Return the settings of a worker."""
        urls = {"task_url": self.task_url, "memory_url": f"unix://{self.folder / 'absent.sock'}"}
        return settings_for(WorkflowSettings, "workflow", self.database, self._redis_url, **(urls | others))

    @asynccontextmanager
    async def worker(self, pace: Pace = BRISK, **settings: Any) -> AsyncGenerator[None]:
        """Run a worker in this process."""
        app = build_worker(self.settings(**settings), pace)
        async with app.router.lifespan_context(app):
            yield

    @contextmanager
    def worker_process(
        self, name: str, program: str = "support.workflow_engine", **settings: str
    ) -> Generator[subprocess.Popen[bytes]]:
        """Run a worker in a process of its own, which a test may kill."""
        given = {
            "TMWS_DATABASE_URL": self.database.for_service("workflow"),
            "TMWS_SECRET_KEY": SECRET,
            "TMWS_REDIS_URL": self._redis_url,
            "TMWS_TASK_URL": self.task_url,
            "TMWS_LISTEN": f"unix://{self.folder / name}.sock",
            "PYTHONPATH": str(Path(__file__).parents[1]),
        }
        environment = {**os.environ, **given, **settings}
        with (self.folder / f"{name}.log").open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", program], env=environment, stderr=log, stdin=subprocess.DEVNULL
            )
        try:
            yield process
        finally:
            process.kill()
            process.wait()

    async def save(self, *steps: Json, kind: str = "dag", **config: Any) -> str:
        """Save a workflow of these steps and return its id."""
        body = {"name": "test", "workflow_type": kind, "config": {"steps": list(steps), **config}}
        answer = await self.api.call("POST", WORKFLOWS, json=body)
        assert answer.status_code == 201, answer.text
        return answer.json()["id"]

    async def execute(self, workflow_id: str, **parameters: Any) -> str:
        """Execute a workflow and return the execution's id."""
        answer = await self.api.call("POST", f"{WORKFLOWS}/{workflow_id}/execute", json={"parameters": parameters})
        assert answer.status_code == 202, answer.text
        return answer.json()["execution_id"]

    async def start(self, *steps: Json, kind: str = "dag", **config: Any) -> str:
        """Save and execute a workflow of these steps; return the execution's id."""
        return await self.execute(await self.save(*steps, kind=kind, **config))

    async def run(self, *steps: Json, kind: str = "dag", **config: Any) -> Json:
        """Save and execute a workflow of these steps; return the execution once it has ended."""
        return await self.ended(await self.start(*steps, kind=kind, **config))

    async def execution(self, execution_id: str) -> Json:
        """Return the execution as the API shows it."""
        return (await self.api.call("GET", f"/api/v1/executions/{execution_id}")).json()

    async def ended(self, execution_id: str) -> Json:
        """Return the execution once it has ended."""
        return await self.wait(execution_id, lambda execution: execution["status"] in ENDED)

    async def has_ended(self, execution_id: str) -> bool:
        """Whether the execution has ended."""
        return (await self.execution(execution_id))["status"] in ENDED

    async def reached(self, execution_id: str, step: str, status: str) -> Json:
        """Return the execution once a step has this status."""
        return await self.wait(execution_id, lambda execution: step_of(execution, step)["status"] == status)

    async def wait(self, execution_id: str, is_over: Callable[[Json], bool]) -> Json:
        """Return the execution once it is as wanted."""
        deadline = time.monotonic() + TIMEOUT_S
        while not is_over(execution := await self.execution(execution_id)):
            if time.monotonic() > deadline:
                raise TimeoutError(str(execution))
            await asyncio.sleep(POLL_S)
        return execution

    async def journal(self, execution_id: str) -> list[Json]:
        """Return the whole journal of an execution."""
        events: list[Json] = []
        params: Json = {"limit": 200}
        while True:
            page = (await self.api.call("GET", f"/api/v1/executions/{execution_id}/events", params=params)).json()
            events += page["items"]
            if page["next_cursor"] is None:
                return events
            params["cursor"] = page["next_cursor"]

    @asynccontextmanager
    async def tasks(self) -> AsyncGenerator[ServiceUnderTest]:
        """Run the task service where workers look for it."""
        settings = settings_for(TaskSettings, "task", self.database, self._redis_url)
        app = app_of(build_task, settings)
        server = uvicorn.Server(server_config(app, self.task_url))
        serving = asyncio.create_task(server.serve())
        while not server.started:
            await asyncio.sleep(POLL_S)
        try:
            service = ServiceUnderTest(app, "task")
            async with service.client:
                yield service
        finally:
            server.should_exit = True
            await serving

    async def sql(self, query: str, *args: Any) -> list[asyncpg.Record]:
        """Return rows of the workflow schema."""
        connection = await asyncpg.connect(self.database.for_service("workflow"))
        try:
            return await connection.fetch(query, *args)
        finally:
            await connection.close()


def step_of(execution: Json, step: str) -> Json:
    """Return one step of an execution."""
    return next(each for each in execution["steps"] if each["id"] == step)


def statuses(execution: Json) -> Json:
    """Return the status of each step."""
    return {step["id"]: step["status"] for step in execution["steps"]}


@asynccontextmanager
async def running_engine(database: DatabaseUrls, folder: Path, redis_url: str = "") -> AsyncGenerator[Engine]:
    """Run the workflow service's API in this process."""
    task_url = f"unix://{folder / 'task.sock'}"
    settings = settings_for(WorkflowSettings, "workflow", database, redis_url, task_url=task_url)
    async with running(app_of(build_workflow, settings), "workflow") as api:
        yield Engine(database, folder, redis_url, api)


if __name__ == "__main__":
    serve("workflow-worker", WorkflowSettings, lambda settings: build_worker(settings, BRISK))
