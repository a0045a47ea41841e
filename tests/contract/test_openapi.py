"""The one OpenAPI document."""

from typing import Any

import pytest
from fastapi import FastAPI
from jsonschema import Draft202012Validator
from openapi_spec_validator import OpenAPIV31SpecValidator

from support.apis import SERVICES, document
from tmws_gateway.app import API_ROUTERS, OPEN_ROUTERS
from tmws_gateway.openapi import merge
from tmws_gateway.upstreams import PUBLIC, ROUTES

HIDDEN = {"/livez", "/readyz", "/metrics", "/openapi.json", "/docs", "/docs/{file}"}


@pytest.fixture(scope="module")
def merged() -> dict[str, Any]:
    own = FastAPI(title="gateway", version="1.2.3")
    for router in (*OPEN_ROUTERS, *API_ROUTERS):
        own.include_router(router)
    return merge(ROUTES, {"gateway": own.openapi(), **{service: document(service) for service in SERVICES}})


def operations(merged: dict[str, Any]) -> list[dict[str, Any]]:
    return [operation for path in merged["paths"].values() for operation in path.values()]


@pytest.mark.long
def test_document_is_valid_openapi_3_1(merged: dict[str, Any]) -> None:
    assert merged["openapi"].startswith("3.1")
    assert list(OpenAPIV31SpecValidator(merged).iter_errors()) == []


def test_every_route_is_described(merged: dict[str, Any]) -> None:
    assert len(operations(merged)) == len([route for route in ROUTES if route.path not in HIDDEN])


def test_operation_ids_are_unique(merged: dict[str, Any]) -> None:
    names = [operation["operationId"] for operation in operations(merged)]
    assert len(names) == len(set(names))
    assert "create_task" in names


def test_every_operation_tells_its_scope(merged: dict[str, Any]) -> None:
    assert all(operation["x-scope"] for operation in operations(merged))


def test_public_operations_alone_need_no_credential(merged: dict[str, Any]) -> None:
    open_to_all = [operation["x-scope"] for operation in operations(merged) if not operation["security"]]
    assert set(open_to_all) == {PUBLIC}


def test_every_operation_names_the_scope_a_credential_needs(merged: dict[str, Any]) -> None:
    create = merged["paths"]["/api/v1/tasks"]["post"]
    assert create["security"] == [{"apiKey": ["task:write"]}, {"accessToken": ["task:write"]}]


def test_every_json_body_has_an_example_that_is_valid(merged: dict[str, Any]) -> None:
    bodies = [
        (operation["operationId"], operation["requestBody"]["content"]["application/json"])
        for operation in operations(merged)
        if "application/json" in operation.get("requestBody", {}).get("content", {})
    ]
    assert [name for name, body in bodies if "example" not in body] == []
    validators = {
        name: Draft202012Validator({**body["schema"], "components": merged["components"]}) for name, body in bodies
    }
    wrong = {name: [error.message for error in validators[name].iter_errors(body["example"])] for name, body in bodies}
    assert {name: errors for name, errors in wrong.items() if errors} == {}


def test_things_with_a_version_can_be_asked_for_by_their_etag(merged: dict[str, Any]) -> None:
    conditional = {path for path, item in merged["paths"].items() if "304" in item.get("get", {}).get("responses", {})}
    assert conditional == {
        "/api/v1/tasks/{task_id}", "/api/v1/workflows/{workflow_id}", "/api/v1/personas/{persona_id}",
        "/api/v1/memory/{memory_id}",
    }  # fmt: skip


def test_every_operation_has_a_summary_and_a_description(merged: dict[str, Any]) -> None:
    silent = [operation["operationId"] for operation in operations(merged) if not operation.get("description")]
    assert silent == []


def test_refusals_are_problem_documents(merged: dict[str, Any]) -> None:
    create = merged["paths"]["/api/v1/tasks"]["post"]["responses"]
    assert set(create) == {"201", "400", "401", "403", "409", "413", "415", "422", "429", "503"}
    answer = merged["components"]["responses"]["422"]["content"]
    assert list(answer) == ["application/problem+json"]


def test_schemas_of_the_same_name_and_other_meaning_are_kept_apart() -> None:
    def part(path: str, kind: str) -> dict[str, Any]:
        schema = {"$ref": "#/components/schemas/Thing"}
        content = {"content": {"application/json": {"schema": schema}}, "description": "x"}
        return {
            "paths": {path: {"get": {"operationId": "get", "responses": {"200": content}}}},
            "components": {"schemas": {"Thing": {"type": kind}}},
        }

    merged = merge(ROUTES, {"task": part("/api/v1/tasks", "string"), "persona": part("/api/v1/personas", "integer")})
    assert merged["components"]["schemas"]["Thing"] == {"type": "string"}
    assert merged["components"]["schemas"]["PersonaThing"] == {"type": "integer"}
    used = merged["paths"]["/api/v1/personas"]["get"]["responses"]["200"]["content"]["application/json"]["schema"]
    assert used == {"$ref": "#/components/schemas/PersonaThing"}


@pytest.mark.long
def test_document_is_valid_while_a_service_is_down() -> None:
    merged = merge(ROUTES, {"task": document("task")})
    assert list(OpenAPIV31SpecValidator(merged).iter_errors()) == []
    assert "/api/v1/tasks" in merged["paths"]
