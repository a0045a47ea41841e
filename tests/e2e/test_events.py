"""The feed of a whole stack: what happens is told to those who may see it, and nothing is missed."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import httpx2
import pytest

from support.sse import Stream, follow
from support.stack import Stack

EVENTS = "/api/v1/events"
SCOPES = ["task:read", "task:write", "workflow:read", "workflow:write", "workflow:run", "persona:read", "persona:write"]


@contextmanager
def feed(stack: Stack, key: str, query: str = "", last_id: str | None = None) -> Iterator[Stream]:
    port = int(stack.url.rpartition(":")[2])
    with follow(port, EVENTS + query, token=key, last_id=last_id, timeout_s=30) as stream:
        assert stream.status == 200, stream.read()
        stream.next()
        yield stream


@pytest.fixture
def stack(guarded_stack: Stack) -> Stack:
    guarded_stack.wait_until_healthy()
    return guarded_stack


@pytest.fixture
def keys(stack: Stack, request: pytest.FixtureRequest) -> dict[str, str]:
    """The keys of two teams."""
    made: dict[str, str] = {}
    with stack.client() as admin:
        for team in ("team-a", "team-b"):
            name = f"{team} {request.node.name}"
            body = {"name": name, "scopes": SCOPES, "namespace": team}
            made[team] = admin.post("/api/v1/keys", json=body).raise_for_status().json()["key"]
    return made


def complete_task(api: httpx2.Client) -> str:
    task: Any = api.post("/api/v1/tasks", json={"title": "told"}).raise_for_status().json()
    api.post(f"/api/v1/tasks/{task['id']}/complete", json={"result": {"text": "done"}}).raise_for_status()
    return task["id"]


def test_completed_task_is_told_in_its_namespace_alone(stack: Stack, keys: dict[str, str]) -> None:
    with ExitStack() as opened:
        ours = opened.enter_context(feed(stack, keys["team-a"], "?types=task.completed"))
        theirs = opened.enter_context(feed(stack, keys["team-b"], "?types=task.completed"))
        with stack.client(keys["team-a"]) as api:
            first = complete_task(api)
        with stack.client(keys["team-b"]) as api:
            second = complete_task(api)
        assert (ours.subjects(1), theirs.subjects(1)) == ([first], [second])


def test_nothing_is_missed_while_the_gateway_restarts(stack: Stack, keys: dict[str, str]) -> None:
    with stack.client(keys["team-a"]) as api:
        with feed(stack, keys["team-a"], "?types=task.completed") as stream:
            first = complete_task(api)
            assert stream.subjects(1) == [first]
        stack.kill("gateway")
        stack.wait_until_healthy()
        missed = [complete_task(api) for _ in range(3)]
        with feed(stack, keys["team-a"], "?types=task.completed", last_id=stream.last_id) as stream:
            assert stream.subjects(3) == missed


def test_execution_and_persona_are_told_too(stack: Stack, keys: dict[str, str]) -> None:
    config = {"steps": [{"id": "a", "uses": "transform", "with": {"x": 1}}]}
    body = {"name": "told", "workflow_type": "sequential", "config": config}
    with stack.client(keys["team-a"]) as api, feed(stack, keys["team-a"], "?types=execution.*,persona.*") as stream:
        workflow = api.post("/api/v1/workflows", json=body).raise_for_status().json()["id"]
        answer = api.post(f"/api/v1/workflows/{workflow}/execute", json={}).raise_for_status().json()
        told = [stream.wait_for("execution.started"), stream.wait_for("execution.completed")]
        api.post("/api/v1/personas", json={"id": "scribe", "name": "Scribe"}).raise_for_status()
        while (persona := stream.wait_for("persona.created").data)["subject"] != "scribe":
            pass
    assert {event.data["subject"] for event in told} == {answer["execution_id"]}
    assert told[1].data["data"]["workflow_id"] == workflow
    assert persona["namespace"] == "team-a"


def test_journal_is_told_live_through_the_gateway(stack: Stack, keys: dict[str, str]) -> None:
    steps = [
        {"id": "a", "uses": "transform", "with": {"x": 1}},
        {"id": "b", "uses": "delay", "with": {"duration": "1s"}},
    ]
    body = {"name": "live", "workflow_type": "sequential", "config": {"steps": steps}}
    port = int(stack.url.rpartition(":")[2])
    with stack.client(keys["team-a"]) as api:
        workflow = api.post("/api/v1/workflows", json=body).raise_for_status().json()["id"]
        answer = api.post(f"/api/v1/workflows/{workflow}/execute", json={}).raise_for_status().json()
        path = f"/api/v1/executions/{answer['execution_id']}"
        with follow(port, f"{path}/events", token=keys["team-a"]) as journal:
            journal.wait_for("step.completed")
            before = api.get(path).json()["status"]
            journal.wait_for("execution.completed")
            with pytest.raises(EOFError):
                while journal.next():
                    pass
    assert before == "running"
