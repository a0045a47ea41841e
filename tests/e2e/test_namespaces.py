"""Rows 65-67 of the table in the security design: what belongs to another namespace is not there, whatever is asked."""

import re
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest

from support.stack import Stack
from support.waiting import eventually
from support.workflows import execute, save_workflow
from tmws_contracts.scopes import SCOPES
from tmws_gateway.upstreams import OWN, PREFIX, ROUTES, Route

pytestmark = pytest.mark.long

MISSING = "0199c0de-0000-7000-8000-000000000000"
# A word that nothing else in the system uses.
WORD = "zyzzyva"
BY_ID = [route for route in ROUTES if "{id}" in route.path and route.service != OWN]
LISTS = [
    "/tasks", f"/tasks?q={WORD}", "/tasks?status=pending", "/workflows", "/executions", "/approvals", "/personas",
    "/memory/recall", "/memory/export", "/memory/stats", "/memory/duplicates", "/memory/consolidations", "/stats",
]  # fmt: skip
DIGEST = "0" * 64
# What the calls need to get as far as looking for their object; the others take no body, or an empty one.
BODIES: dict[str, Any] = {
    "PUT /tasks/{id}": {"title": "stolen"},
    "PATCH /tasks/{id}": {"title": "stolen"},
    "POST /tasks/{id}/heartbeat": {"claim_token": 1},
    "POST /tasks/{id}/release": {"claim_token": 1},
    "POST /tasks/{id}/progress": {"progress": 50},
    "POST /tasks/{id}/input": {"question": "What?"},
    "POST /tasks/{id}/answer": {"answer": "That."},
    "POST /tasks/{id}/comments": {"body": "mine"},
    "PUT /workflows/{id}": {"name": "stolen"},
    "POST /workflows/{id}/execute/batch": {"items": [{}]},
    "POST /workflows/{id}/schedules": {"cron": "0 * * * *"},
    "PATCH /workflows/{id}/schedules/{schedule_id}": {"is_paused": True},
    "POST /executions/{id}/signals": {"name": "go"},
    "POST /approvals/{id}/approve": {"digest": DIGEST},
    "POST /approvals/{id}/reject": {"digest": DIGEST},
    "PATCH /memory/{id}": {"content": "stolen"},
    "POST /memory/{id}/share": {"namespace": "theirs"},
    "PUT /personas/{id}": {"name": "stolen"},
}


@pytest.fixture(scope="module")
def ours(guarded_stack: Stack) -> Iterator[httpx2.Client]:
    """A client with every scope in one namespace."""
    yield from client_in("ours", guarded_stack)


@pytest.fixture(scope="module")
def theirs(guarded_stack: Stack) -> Iterator[httpx2.Client]:
    """A client with every scope in another one."""
    yield from client_in("theirs", guarded_stack)


def client_in(namespace: str, stack: Stack) -> Iterator[httpx2.Client]:
    wanted = {"name": "namespaces", "scopes": sorted(SCOPES), "namespace": namespace}
    with stack.client() as admin:
        key = admin.post("/api/v1/keys", json=wanted).json()["key"]
    with stack.client(key) as client:
        yield client


@pytest.fixture(scope="module")
def things(ours: httpx2.Client) -> dict[str, str]:
    """The id of something of ours of each kind, by the parameter of the routes that lead to it."""

    def make(path: str, body: Any) -> str:
        answer = ours.post(PREFIX + path, json=body)
        assert answer.status_code in (200, 201, 202), answer.text
        return answer.json()["id"]

    workflow = save_workflow(ours, {"id": "ask", "uses": "approval", "with": {"prompt": WORD}})
    execution = execute(ours, workflow)
    approvals = eventually(lambda: ours.get("/api/v1/approvals").json()["items"])
    memory = make("/memory/store", {"content": WORD})
    return {
        "tasks": make("/tasks", {"title": WORD}),
        "workflows": workflow,
        "executions": execution,
        "approvals": approvals[0]["id"],
        "memory": memory,
        "personas": make("/personas", {"id": WORD, "name": WORD}),
        "schedule_id": make(f"/workflows/{workflow}/schedules", {"cron": "0 0 1 1 *", "is_paused": True}),
        "share_id": make(f"/memory/{memory}/share", {"persona_id": "athena"}),
    }


def ask(client: httpx2.Client, route: Route, ids: dict[str, str]) -> httpx2.Response:
    kind = route.path.removeprefix(PREFIX).split("/")[1]
    known = {"version": "1", "id": ids[kind], **ids}
    path = re.sub(r"\{(\w+)\}", lambda found: known[found[1]], route.path)
    has_body = route.method in ("POST", "PUT", "PATCH")
    body = BODIES.get(f"{route.method} {route.path.removeprefix(PREFIX)}", {}) if has_body else None
    return client.request(route.method, path, json=body)


def told(answer: httpx2.Response) -> dict[str, Any]:
    """What an answer says, without what is each request's own."""
    return {name: value for name, value in answer.json().items() if name not in ("instance", "trace_id")}


@pytest.mark.parametrize("route", BY_ID, ids=lambda route: route.action)
def test_what_is_not_yours_is_answered_like_what_is_not_there(
    theirs: httpx2.Client, things: dict[str, str], route: Route
) -> None:
    nothing = {kind: "nobody" if kind == "personas" else MISSING for kind in things}
    foreign, missing = ask(theirs, route, things), ask(theirs, route, nothing)
    assert (foreign.status_code, told(foreign)) == (404, told(missing))


@pytest.mark.parametrize("path", LISTS)
def test_no_list_shows_what_is_not_yours(theirs: httpx2.Client, things: dict[str, str], path: str) -> None:
    answer = theirs.get(PREFIX + path)
    assert answer.status_code == 200
    assert not [made for made in (WORD, *things.values()) if made in answer.text]


def test_search_finds_what_is_yours_alone(ours: httpx2.Client, theirs: httpx2.Client, things: dict[str, str]) -> None:
    def find(client: httpx2.Client) -> list[str]:
        answer = client.post("/api/v1/memory/search", json={"query": WORD})
        return [found["id"] for found in answer.json()["results"]]

    assert find(ours) == [things["memory"]]
    assert find(theirs) == []


def test_cursor_of_another_namespace_is_refused(ours: httpx2.Client, theirs: httpx2.Client) -> None:
    for title in ("one", "two"):
        ours.post("/api/v1/tasks", json={"title": title})
    cursor = ours.get("/api/v1/tasks?limit=1").json()["next_cursor"]
    answer = theirs.get(f"/api/v1/tasks?limit=1&cursor={cursor}")
    assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (400, "?cursor")


def test_idempotency_key_of_another_namespace_is_another_key(ours: httpx2.Client, theirs: httpx2.Client) -> None:
    once = {"Idempotency-Key": "shared"}
    made = [client.post("/api/v1/tasks", json={"title": "same"}, headers=once) for client in (ours, theirs)]
    assert [answer.json()["namespace"] for answer in made] == ["ours", "theirs"]


@pytest.mark.parametrize(
    ("method", "kind"), [("PATCH", "tasks"), ("PUT", "workflows"), ("PATCH", "memory"), ("PUT", "personas")]
)
def test_nothing_moves_to_another_namespace(
    ours: httpx2.Client, things: dict[str, str], method: str, kind: str
) -> None:
    answer = ours.request(method, f"{PREFIX}/{kind}/{things[kind]}", json={"namespace": "theirs"})
    assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, "/namespace")


@pytest.mark.parametrize("kind", ["tasks", "workflows", "executions", "approvals", "memory", "personas"])
def test_whatever_others_have_tried_ours_is_there_as_it_was(
    ours: httpx2.Client, things: dict[str, str], kind: str
) -> None:
    kept = ours.get(f"{PREFIX}/{kind}/{things[kind]}")
    assert kept.status_code == 200
    assert "stolen" not in kept.text
