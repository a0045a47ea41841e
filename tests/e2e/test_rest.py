"""Every endpoint of the public API, through the gateway of a whole stack."""

import uuid

import pytest

from support.waiting import eventually
from support.workflows import execute, save_workflow, wait_for_end

NOBODY = "01940000-0000-7000-8000-000000000000"
TRANSFORM = {"id": "double", "uses": "transform", "with": {"value": "${{ inputs.n * 2 }}"}}
INPUTS = {"type": "object", "required": ["n"], "properties": {"n": {"type": "integer"}}}


def unique(text):
    return f"{text} {uuid.uuid4()}"


def create_task(api, **fields):
    answer = api.post("/api/v1/tasks", json={"title": unique("Task")} | fields)
    assert answer.status_code == 201, answer.text
    return answer.json()


def store(api, content, **fields):
    answer = api.post("/api/v1/memory/store", json={"content": content} | fields)
    assert answer.status_code in {200, 201}, answer.text
    return answer.json()


def test_a_task_is_created_with_its_defaults(api):
    task = create_task(api)
    assert (task["status"], task["priority"], task["progress"], task["metadata"]) == ("pending", "medium", 0, {})


def test_a_created_task_is_found_where_its_location_says(api):
    answer = api.post("/api/v1/tasks", json={"title": "Somewhere"})
    assert api.get(answer.headers["location"]).json() == answer.json()


def test_tasks_are_listed_by_filter(api):
    label = unique("label")
    wanted = create_task(api, labels=[label])
    create_task(api)
    found = api.get("/api/v1/tasks", params={"label": label}).json()["items"]
    assert [task["id"] for task in found] == [wanted["id"]]


def test_tasks_are_listed_page_by_page(api):
    label = unique("label")
    ids = {create_task(api, labels=[label])["id"] for _ in range(3)}
    first = api.get("/api/v1/tasks", params={"label": label, "limit": 2}).json()
    rest = api.get("/api/v1/tasks", params={"label": label, "limit": 2, "cursor": first["next_cursor"]}).json()
    assert {task["id"] for task in first["items"] + rest["items"]} == ids
    assert rest["next_cursor"] is None


def test_a_task_is_updated_only_in_the_version_that_was_seen(api):
    task = create_task(api)
    path = f"/api/v1/tasks/{task['id']}"
    first = api.put(path, json={"status": "in_progress"}, headers={"if-match": '"1"'})
    second = api.put(path, json={"status": "in_progress"}, headers={"if-match": '"1"'})
    assert (first.status_code, second.status_code) == (200, 412)


def test_completing_a_task_makes_its_dependents_ready(api):
    first = create_task(api)
    second = create_task(api, depends_on=[first["id"]])
    early = api.post(f"/api/v1/tasks/{second['id']}/complete")
    api.post(f"/api/v1/tasks/{first['id']}/complete", json={"result": {"ok": True}})
    assert early.status_code == 409
    assert api.get(f"/api/v1/tasks/{second['id']}").json()["ready"]


def test_a_deleted_task_is_gone(api):
    task = create_task(api)
    assert api.delete(f"/api/v1/tasks/{task['id']}").status_code == 204
    assert api.get(f"/api/v1/tasks/{task['id']}").status_code == 404


def test_the_same_idempotency_key_makes_one_task(api):
    headers = {"idempotency-key": str(uuid.uuid4())}
    first, second = (api.post("/api/v1/tasks", json={"title": "Once"}, headers=headers) for _ in range(2))
    assert first.json()["id"] == second.json()["id"]
    assert second.headers["idempotent-replayed"] == "true"


def test_a_memory_is_found_by_its_meaning(api):
    tag = unique("tag")
    wanted = store(api, f"The ferry to the island leaves at noon. {tag}", tags=[tag])
    store(api, f"Invoices are paid within thirty days. {tag}", tags=[tag])
    body = {"query": "when does the boat go?", "filters": {"tags": [tag]}, "limit": 1}
    assert [hit["id"] for hit in api.post("/api/v1/memory/search", json=body).json()["results"]] == [wanted["id"]]


def test_a_search_says_what_found_each_memory(api):
    tag = unique("tag")
    store(api, f"Bread is baked at dawn. {tag}", tags=[tag])
    body = {"query": "baked bread", "filters": {"tags": [tag]}}
    hit = api.post("/api/v1/memory/search", json=body).json()["results"][0]
    assert hit["signals"]["semantic"] > 0
    assert hit["signals"]["keyword"] > 0


def test_the_same_content_is_kept_once(api):
    content = unique("The same content")
    first, second = store(api, content), store(api, content)
    assert (first["id"], second["deduplicated"]) == (second["id"], True)


def test_memories_are_recalled_by_criteria(api):
    tag = unique("tag")
    ids = [store(api, unique("Recalled"), tags=[tag])["id"] for _ in range(2)]
    found = api.get("/api/v1/memory/recall", params={"tags": tag, "sort": "oldest"}).json()["items"]
    assert [memory["id"] for memory in found] == ids


def test_a_deleted_memory_is_not_found_any_more(api):
    tag = unique("tag")
    memory = store(api, unique("Forget me"), tags=[tag])
    assert api.delete(f"/api/v1/memory/{memory['id']}").status_code == 204
    body = {"query": "forget me", "filters": {"tags": [tag]}}
    assert api.post("/api/v1/memory/search", json=body).json()["results"] == []


def test_a_workflow_runs_to_its_output(api):
    output = {"value": "${{ steps.double.output.value }}"}
    workflow_id = save_workflow(api, TRANSFORM, inputs=INPUTS, output=output)
    execution = wait_for_end(api, execute(api, workflow_id, n=21))
    assert (execution["status"], execution["output"]) == ("completed", {"value": 42})


def test_a_workflow_mirrors_its_latest_execution(api):
    workflow_id = save_workflow(api, TRANSFORM, inputs=INPUTS, output={"value": "${{ steps.double.output.value }}"})
    before = api.get(f"/api/v1/workflows/{workflow_id}").json()["status"]
    wait_for_end(api, execute(api, workflow_id, n=1))
    after = api.get(f"/api/v1/workflows/{workflow_id}").json()
    assert (before, after["status"], after["result"]) == ("pending", "completed", {"value": 2})


def test_the_status_shows_every_step(api):
    workflow_id = save_workflow(api, TRANSFORM, inputs=INPUTS)
    wait_for_end(api, execute(api, workflow_id, n=1))
    steps = api.get(f"/api/v1/workflows/{workflow_id}/status").json()["steps"]
    assert [(step["id"], step["status"]) for step in steps] == [("double", "completed")]


def test_parameters_are_checked_against_the_inputs(api):
    workflow_id = save_workflow(api, TRANSFORM, inputs=INPUTS)
    answer = api.post(f"/api/v1/workflows/{workflow_id}/execute", json={"parameters": {"n": "one"}})
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["pointer"] == "/parameters/n"


def test_a_running_workflow_is_cancelled(api):
    workflow_id = save_workflow(api, {"id": "wait", "uses": "delay", "with": {"duration": "1h"}})
    execution_id = execute(api, workflow_id)
    assert api.post(f"/api/v1/workflows/{workflow_id}/cancel").status_code in {200, 202}
    assert wait_for_end(api, execution_id)["status"] == "cancelled"


def test_a_workflow_is_changed_and_deleted(api):
    workflow_id = save_workflow(api, TRANSFORM, inputs=INPUTS)
    changed = api.put(f"/api/v1/workflows/{workflow_id}", json={"name": "Renamed"})
    assert (changed.status_code, changed.json()["name"]) == (200, "Renamed")
    assert api.delete(f"/api/v1/workflows/{workflow_id}").status_code == 204
    assert api.get(f"/api/v1/workflows/{workflow_id}").status_code == 404


def test_saved_workflows_are_listed(api):
    workflow_id = save_workflow(api, TRANSFORM, inputs=INPUTS)
    found = api.get("/api/v1/workflows", params={"limit": 200}).json()["items"]
    assert workflow_id in {workflow["id"] for workflow in found}


@pytest.mark.parametrize(
    ("steps", "pointer"),
    [
        ([{"id": "a", "uses": "teleport"}], "/config/steps/0/uses"),
        (
            [
                {"id": "a", "uses": "transform", "needs": ["b"], "with": {}},
                {"id": "b", "uses": "transform", "needs": ["a"], "with": {}},
            ],
            "/config/steps/1/needs",
        ),
    ],
)
def test_a_wrong_definition_is_refused_with_its_place(api, steps, pointer):
    body = {"name": "wrong", "workflow_type": "dag", "config": {"steps": steps}}
    answer = api.post("/api/v1/workflows", json=body)
    assert answer.status_code == 422
    assert any(error["pointer"].startswith(pointer) for error in answer.json()["errors"])


def test_the_six_personas_are_there(api):
    found = {persona["id"] for persona in api.get("/api/v1/personas").json()["items"]}
    assert {"athena", "artemis", "hestia", "eris", "hera", "muses"} <= found


def test_a_persona_is_created_changed_and_deleted(api):
    name = f"p-{uuid.uuid4()}"
    created = api.post("/api/v1/personas", json={"id": name, "name": "Someone"})
    changed = api.put(f"/api/v1/personas/{name}", json={"description": "New here"})
    shown = api.get(f"/api/v1/personas/{name}").json()
    deleted = api.delete(f"/api/v1/personas/{name}")
    assert (created.status_code, changed.status_code, deleted.status_code) == (201, 200, 204)
    assert (shown["name"], shown["description"]) == ("Someone", "New here")


def test_health_names_every_part(api):
    health = api.get("/health").json()
    assert health["status"] == "healthy"
    assert {"task", "workflow", "persona", "memory", "embedding"} <= health["services"].keys()


def test_stats_count_for_each_service(api):
    services = api.get("/api/v1/stats").json()["services"]
    assert services["task"]["by_status"].keys() >= {"pending", "completed"}
    assert None not in services.values()


def test_the_api_describes_itself(api):
    paths = api.get("/openapi.json").json()["paths"]
    assert {"/api/v1/tasks", "/api/v1/workflows", "/api/v1/memory/search", "/api/v1/personas"} <= paths.keys()


def test_the_api_can_be_tried_in_a_browser(api):
    answer = api.get("/docs")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/html")


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("POST", "/api/v1/tasks", {}, 422),
        ("POST", "/api/v1/tasks", {"title": "x", "owner": "me"}, 422),
        ("POST", "/api/v1/tasks", {"title": 3}, 422),
        ("POST", "/api/v1/tasks", {"title": "a\0b"}, 422),
        ("GET", f"/api/v1/tasks/{NOBODY}", None, 404),
        ("GET", "/api/v1/tasks/nonsense", None, 422),
        ("POST", "/api/v1/memory/store", {"content": ""}, 422),
        ("POST", "/api/v1/memory/search", {"query": "x", "limit": 0}, 422),
        ("DELETE", f"/api/v1/memory/{NOBODY}", None, 404),
        ("POST", f"/api/v1/workflows/{NOBODY}/execute", {"parameters": {}}, 404),
        ("GET", "/api/v1/personas/nobody", None, 404),
        ("GET", "/api/v1/nothing", None, 404),
        ("PATCH", "/api/v1/tasks", {}, 405),
    ],
)
def test_what_is_wrong_is_told_as_a_problem(api, method, path, body, status):
    answer = api.request(method, path, json=body)
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["status"] == status


def test_what_was_changed_is_on_record(api):
    answer = api.post("/api/v1/tasks", json={"title": "On record"})
    recorded = {"request_id": answer.headers["x-request-id"]}
    event = eventually(lambda: api.get("/api/v1/audit", params=recorded).json()["items"])[0]
    assert (event["action"], event["status"], event["changed_fields"]) == ("POST /api/v1/tasks", 201, ["title"])
