"""The workflow service's API: saving, listing, changing, executing and looking."""

from uuid import uuid4

import pytest

from support.workflow_engine import WORKFLOWS, Engine

NOOP = {"id": "a", "uses": "transform", "with": {"x": 1}}
CONFIG = {"steps": [NOOP]}
NEW = {"name": "w", "workflow_type": "dag", "config": CONFIG}


async def create(engine: Engine, namespace="default", **fields):
    answer = await engine.api.call("POST", WORKFLOWS, namespace=namespace, json=NEW | fields)
    assert answer.status_code == 201, answer.text
    return answer.json()


def pointers(answer):
    return [error["pointer"] for error in answer.json()["errors"]]


async def test_created_workflow_has_never_run(engine: Engine):
    workflow = await create(engine, priority="high")
    assert (workflow["status"], workflow["priority"], workflow["version"]) == ("pending", "high", 1)
    assert {workflow[name] for name in ("execution_id", "result", "error", "started_at", "completed_at")} == {None}


async def test_created_workflow_is_found_by_its_location(engine: Engine):
    answer = await engine.api.call("POST", WORKFLOWS, json=NEW)
    found = await engine.api.call("GET", answer.headers["Location"])
    assert found.json() == answer.json()
    assert found.headers["ETag"] == answer.headers["ETag"] == '"1"'


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"workflow_type": "dag", "config": CONFIG}, "/name"),
        (NEW | {"name": " "}, "/name"),
        (NEW | {"name": "x\0"}, "/name"),
        (NEW | {"name": "x" * 256}, "/name"),
        (NEW | {"workflow_type": "graph"}, "/workflow_type"),
        (NEW | {"priority": "URGENT"}, "/priority"),
        (NEW | {"config": []}, "/config"),
        (NEW | {"config": {"steps": [NOOP | {"with": {"x": "a\0"}}]}}, "/config"),
        (NEW | {"status": "completed"}, "/status"),
        (NEW | {"config": {"steps": [NOOP | {"uses": "shell"}]}}, "/config/steps/0/uses"),
        (NEW | {"config": {"steps": [NOOP | {"needs": ["a"]}]}}, "/config/steps/0/needs/0"),
    ],
)
async def test_bad_workflow_is_refused_with_its_field(engine: Engine, body, pointer):
    before = (await engine.api.call("GET", "/stats")).json()["workflows"]
    answer = await engine.api.call("POST", WORKFLOWS, json=body)
    assert answer.status_code == 422
    assert pointers(answer) == [pointer]
    assert (await engine.api.call("GET", "/stats")).json()["workflows"] == before


async def test_unknown_workflow_type_names_the_known_ones(engine: Engine):
    answer = await engine.api.call("POST", WORKFLOWS, json=NEW | {"workflow_type": "graph"})
    assert "'sequential', 'parallel' or 'dag'" in answer.json()["detail"]


async def test_validate_tells_the_order_and_saves_nothing(engine: Engine):
    before = (await engine.api.call("GET", "/stats")).json()["workflows"]
    steps = [{"id": "b", "uses": "transform", "needs": ["a"]}, NOOP]
    answer = await engine.api.call("POST", f"{WORKFLOWS}/validate", json=NEW | {"config": {"steps": steps}})
    assert answer.json() == {"valid": True, "steps": ["a", "b"]}
    assert (await engine.api.call("GET", "/stats")).json()["workflows"] == before


async def test_validate_tells_every_problem(engine: Engine):
    steps = [NOOP | {"uses": "x"}, {"id": "b", "uses": "transform", "needs": ["q"]}]
    answer = await engine.api.call("POST", f"{WORKFLOWS}/validate", json=NEW | {"config": {"steps": steps}})
    assert sorted(pointers(answer)) == ["/config/steps/0/uses", "/config/steps/1/needs/0"]


async def test_repeated_creation_makes_one_workflow(engine: Engine):
    headers = {"Idempotency-Key": str(uuid4())}
    first = await engine.api.call("POST", WORKFLOWS, json=NEW, headers=headers)
    second = await engine.api.call("POST", WORKFLOWS, json=NEW, headers=headers)
    assert first.json() == second.json()
    assert second.headers["Idempotent-Replayed"] == "true"


async def test_change_sets_only_what_is_given(engine: Engine):
    workflow = await create(engine)
    answer = await engine.api.call("PUT", f"{WORKFLOWS}/{workflow['id']}", json={"name": "renamed"})
    changed = answer.json()
    assert (changed["name"], changed["version"], changed["config_version"]) == ("renamed", 2, 1)
    assert changed["config"] == CONFIG


async def test_new_definition_is_a_new_version(engine: Engine):
    workflow = await create(engine)
    body = {"config": {"steps": [NOOP | {"id": "b"}]}}
    changed = (await engine.api.call("PUT", f"{WORKFLOWS}/{workflow['id']}", json=body)).json()
    assert (changed["version"], changed["config_version"]) == (2, 2)


async def test_version_never_changes(engine: Engine):
    workflow = await create(engine)
    with pytest.raises(Exception, match="rows of workflow_versions never change"):
        await engine.sql("UPDATE workflow_versions SET version = 9 WHERE workflow_id = $1", workflow["id"])


async def test_bad_change_changes_nothing(engine: Engine):
    workflow = await create(engine)
    body = {"name": "x", "config": {"steps": []}}
    answer = await engine.api.call("PUT", f"{WORKFLOWS}/{workflow['id']}", json=body)
    assert pointers(answer) == ["/config/steps"]
    assert (await engine.api.call("GET", f"{WORKFLOWS}/{workflow['id']}")).json() == workflow


async def test_definition_must_suit_a_changed_type(engine: Engine):
    steps = [NOOP, {"id": "b", "uses": "transform", "needs": ["a"]}]
    workflow = await create(engine, config={"steps": steps})
    answer = await engine.api.call("PUT", f"{WORKFLOWS}/{workflow['id']}", json={"workflow_type": "parallel"})
    assert pointers(answer) == ["/config/steps/1/needs"]


@pytest.mark.parametrize("method", ["PUT", "DELETE"])
async def test_stale_etag_is_refused(engine: Engine, method):
    workflow = await create(engine)
    body = {"json": {"name": "x"}} if method == "PUT" else {}
    answer = await engine.api.call(method, f"{WORKFLOWS}/{workflow['id']}", headers={"If-Match": '"7"'}, **body)
    assert answer.status_code == 412


async def test_deleted_workflow_is_gone(engine: Engine):
    workflow = await create(engine)
    assert (await engine.api.call("DELETE", f"{WORKFLOWS}/{workflow['id']}")).status_code == 204
    assert (await engine.api.call("GET", f"{WORKFLOWS}/{workflow['id']}")).status_code == 404
    assert (await engine.api.call("POST", f"{WORKFLOWS}/{workflow['id']}/execute")).status_code == 404


async def test_workflow_with_an_open_execution_is_not_deleted(engine: Engine):
    workflow = await create(engine)
    execution_id = await engine.execute(workflow["id"])
    answer = await engine.api.call("DELETE", f"{WORKFLOWS}/{workflow['id']}")
    assert answer.status_code == 409
    assert answer.json()["open_executions"] == [execution_id]


async def test_history_of_a_deleted_workflow_is_purged(engine: Engine):
    workflow = await create(engine)
    execution_id = await engine.execute(workflow["id"])
    await engine.api.call("POST", f"{WORKFLOWS}/{workflow['id']}/cancel")
    await engine.api.call("DELETE", f"{WORKFLOWS}/{workflow['id']}")
    async with engine.worker():
        await engine.run(NOOP)
    left = (
        "SELECT 1 FROM events WHERE execution_id = $1 UNION ALL SELECT 1 FROM step_executions WHERE execution_id = $1"
    )
    assert await engine.sql(left, execution_id) == []
    assert await engine.sql("SELECT 1 FROM workflows WHERE id = $1", workflow["id"]) == []


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", ""),
        ("PUT", ""),
        ("DELETE", ""),
        ("POST", "/execute"),
        ("POST", "/cancel"),
        ("GET", "/status"),
        ("GET", "/executions"),
    ],
)
async def test_workflow_of_another_namespace_does_not_exist(engine: Engine, method, path):
    workflow = await create(engine, namespace="theirs")
    body = {"json": {}} if method == "PUT" else {}
    answer = await engine.api.call(method, f"{WORKFLOWS}/{workflow['id']}{path}", **body)
    nobody = await engine.api.call(method, f"{WORKFLOWS}/{uuid4()}{path}", **body)
    assert answer.status_code == nobody.status_code == 404
    assert answer.json()["title"] == nobody.json()["title"]


@pytest.mark.parametrize("path", ["", "/events"])
async def test_execution_of_another_namespace_does_not_exist(engine: Engine, path):
    workflow = await create(engine, namespace="theirs")
    accepted = await engine.api.call("POST", f"{WORKFLOWS}/{workflow['id']}/execute", namespace="theirs")
    execution_id = accepted.json()["execution_id"]
    assert (await engine.api.call("GET", f"/api/v1/executions/{execution_id}{path}")).status_code == 404


@pytest.mark.parametrize(
    ("method", "path", "scope"),
    [
        ("GET", WORKFLOWS, "workflow:read"),
        ("POST", WORKFLOWS, "workflow:write"),
        ("POST", f"{WORKFLOWS}/01900000-0000-7000-8000-000000000000/execute", "workflow:run"),
        ("POST", f"{WORKFLOWS}/01900000-0000-7000-8000-000000000000/cancel", "workflow:run"),
        ("DELETE", f"{WORKFLOWS}/01900000-0000-7000-8000-000000000000", "workflow:write"),
    ],
)
async def test_caller_without_the_scope_is_refused(engine: Engine, method, path, scope):
    body = {"json": NEW} if path == WORKFLOWS and method == "POST" else {}
    answer = await engine.api.call(method, path, scopes=frozenset({"task:read"}), **body)
    assert (answer.status_code, answer.json()["scope"]) == (403, scope)


async def test_accepted_execution_is_found_by_its_location(engine: Engine):
    workflow = await create(engine)
    answer = await engine.api.call("POST", f"{WORKFLOWS}/{workflow['id']}/execute")
    found = await engine.api.call("GET", answer.headers["Location"])
    assert answer.status_code == 202
    assert found.json()["id"] == answer.json()["execution_id"]
    assert found.json()["status"] == "pending"


async def test_repeated_execute_makes_one_execution(engine: Engine):
    workflow = await create(engine)
    headers = {"Idempotency-Key": str(uuid4())}
    path = f"{WORKFLOWS}/{workflow['id']}/execute"
    answers = [await engine.api.call("POST", path, json={}, headers=headers) for _ in range(2)]
    assert answers[0].json() == answers[1].json()
    listed = await engine.api.call("GET", f"{WORKFLOWS}/{workflow['id']}/executions")
    assert len(listed.json()["items"]) == 1


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"parameters": {}}, "/parameters"),
        ({"parameters": {"n": "x"}}, "/parameters/n"),
        ({"parameters": {"n": 1, "m": 2}}, "/parameters"),
        ({"parameters": []}, "/parameters"),
        ({"parameters": {"n": 1}, "priority": "soon"}, "/priority"),
        ({"params": {}}, "/params"),
    ],
)
async def test_bad_parameters_are_refused_with_their_field(engine: Engine, body, pointer):
    inputs = {"required": ["n"], "properties": {"n": {"type": "integer"}}, "additionalProperties": False}
    workflow = await create(engine, config=CONFIG | {"inputs": inputs})
    answer = await engine.api.call("POST", f"{WORKFLOWS}/{workflow['id']}/execute", json=body)
    assert answer.status_code == 422
    assert pointers(answer) == [pointer]


async def test_status_before_the_first_execution_is_pending(engine: Engine):
    workflow = await create(engine)
    report = (await engine.api.call("GET", f"{WORKFLOWS}/{workflow['id']}/status")).json()
    assert (report["status"], report["execution_id"], report["steps"]) == ("pending", None, [])


async def test_status_says_what_each_step_waits_for(engine: Engine):
    steps = [NOOP, {"id": "b", "uses": "transform", "needs": ["a"]}]
    workflow = await create(engine, config={"steps": steps})
    await engine.execute(workflow["id"])
    report = (await engine.api.call("GET", f"{WORKFLOWS}/{workflow['id']}/status")).json()
    first, second = (step["waiting_for"] for step in report["steps"])
    assert first["what"] == "worker"
    assert (second["what"], second["steps"]) == ("steps", ["a"])


async def test_status_is_that_of_the_latest_execution(engine: Engine):
    workflow = await create(engine, config=CONFIG | {"output": "${{ steps.a.output.x }}"})
    async with engine.worker():
        await engine.ended(await engine.execute(workflow["id"]))
    latest = await engine.execute(workflow["id"])
    report = (await engine.api.call("GET", f"{WORKFLOWS}/{workflow['id']}/status")).json()
    assert (report["execution_id"], report["status"]) == (latest, "pending")


async def test_workflow_shows_what_its_execution_did(engine: Engine):
    workflow = await create(engine, config=CONFIG | {"output": "${{ steps.a.output }}"})
    async with engine.worker():
        execution = await engine.ended(await engine.execute(workflow["id"]))
    shown = (await engine.api.call("GET", f"{WORKFLOWS}/{workflow['id']}")).json()
    assert (shown["status"], shown["result"], shown["error"]) == ("completed", {"x": 1}, None)
    assert (shown["started_at"], shown["completed_at"]) == (execution["started_at"], execution["finished_at"])


async def test_workflow_shows_a_timeout_as_a_failure(engine: Engine):
    step = {"id": "a", "uses": "delay", "with": {"duration": "1h"}, "timeout": "100ms"}
    workflow = await create(engine, config={"steps": [step]})
    async with engine.worker():
        await engine.ended(await engine.execute(workflow["id"]))
    shown = (await engine.api.call("GET", f"{WORKFLOWS}/{workflow['id']}")).json()
    assert (shown["status"], shown["error"]) == ("failed", "The step took longer than its timeout.")


async def test_running_workflow_is_in_progress(engine: Engine):
    workflow = await create(engine)
    await engine.execute(workflow["id"])
    assert (await engine.api.call("GET", f"{WORKFLOWS}/{workflow['id']}")).json()["status"] == "in_progress"


@pytest.mark.parametrize("sort", ["newest", "oldest", "name"])
async def test_pages_hold_every_workflow_once(engine: Engine, sort):
    namespace = f"pages-{sort}"
    made = [await create(engine, namespace, name=name) for name in ("c", "a", "b", "a", "e")]
    found, cursor = [], {}
    for _ in range(3):
        params = {"limit": 2, "sort": sort, **cursor}
        page = (await engine.api.call("GET", WORKFLOWS, namespace=namespace, params=params)).json()
        found += [item["id"] for item in page["items"]]
        cursor = {"cursor": page["next_cursor"]}
    assert sorted(found) == sorted(item["id"] for item in made)
    assert page["next_cursor"] is None


@pytest.mark.parametrize(
    ("params", "names"),
    [
        ({"status": "pending"}, ["dag"]),
        ({"status": ["pending", "in_progress"]}, ["dag", "open"]),
        ({"workflow_type": "parallel"}, ["open"]),
        ({"name": "dag"}, ["dag"]),
        ({"priority": "urgent"}, []),
    ],
)
async def test_list_is_filtered(engine: Engine, params, names):
    namespace = f"filter-{uuid4()}"
    await create(engine, namespace, name="dag")
    opened = await create(engine, namespace, name="open", workflow_type="parallel")
    await engine.api.call("POST", f"{WORKFLOWS}/{opened['id']}/execute", namespace=namespace)
    page = (await engine.api.call("GET", WORKFLOWS, namespace=namespace, params=params)).json()
    assert sorted(item["name"] for item in page["items"]) == names


async def test_cursor_of_another_list_is_refused(engine: Engine):
    workflow = await create(engine)
    for _ in range(2):
        await engine.execute(workflow["id"])
    path = f"{WORKFLOWS}/{workflow['id']}/executions"
    cursor = (await engine.api.call("GET", path, params={"limit": 1})).json()["next_cursor"]
    answer = await engine.api.call("GET", path, params={"limit": 1, "status": "failed", "cursor": cursor})
    assert answer.status_code == 400


async def test_executions_are_listed_newest_first(engine: Engine):
    workflow = await create(engine)
    executions = [await engine.execute(workflow["id"]) for _ in range(3)]
    page = (await engine.api.call("GET", f"{WORKFLOWS}/{workflow['id']}/executions")).json()
    assert [item["id"] for item in page["items"]] == executions[::-1]


async def test_journal_is_paged_in_order(engine: Engine):
    workflow = await create(engine)
    async with engine.worker():
        execution_id = await engine.execute(workflow["id"])
        await engine.ended(execution_id)
    path = f"/api/v1/executions/{execution_id}/events"
    first = (await engine.api.call("GET", path, params={"limit": 3})).json()
    rest = (await engine.api.call("GET", path, params={"limit": 3, "cursor": first["next_cursor"]})).json()
    assert [event["type"] for event in first["items"] + rest["items"]] == [
        "execution.created",
        "execution.started",
        "step.started",
        "step.completed",
        "execution.completed",
    ]


async def test_stats_count_what_is_open(engine: Engine):
    namespace = f"stats-{uuid4()}"
    workflow = await create(engine, namespace)
    await engine.api.call("POST", f"{WORKFLOWS}/{workflow['id']}/execute", namespace=namespace)
    stats = (await engine.api.call("GET", "/stats", namespace=namespace)).json()
    assert (stats["workflows"], stats["executions_by_status"]["pending"], stats["steps_ready"]) == (1, 1, 1)
