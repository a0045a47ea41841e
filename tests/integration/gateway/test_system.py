"""Health, statistics, documentation, and what happens when a part is down."""

from pathlib import Path

import pytest

from support.gateway import GatewayUnderTest, running_gateway, statuses
from support.postgres import PostgresForTests


def test_health_tells_of_every_part(gateway: GatewayUnderTest) -> None:
    health = gateway.ask("GET", "/health")
    states = {name: part["state"] for name, part in health.json["services"].items()}
    assert (health.status, health.json["status"]) == (503, "unhealthy")
    assert states == {
        "task": "healthy", "workflow": "down", "persona": "down", "memory": "down", "embedding": "down",
        "postgres": "healthy", "redis": "healthy", "gateway": "healthy",
    }  # fmt: skip
    assert health.json["services"]["task"]["latency_ms"] > 0
    assert health.json["services"]["task"]["version"]


def test_service_that_is_down_is_503_with_retry_after(gateway: GatewayUnderTest) -> None:
    answer = gateway.ask("GET", "/api/v1/personas")
    assert (answer.status, answer.headers["retry-after"], answer.json["retryable"]) == (503, "1", True)
    assert answer.headers["content-type"] == "application/problem+json"


def test_service_works_again_when_it_is_back(gateway: GatewayUnderTest) -> None:
    gateway.kill("task")
    assert gateway.ask("GET", "/api/v1/tasks").status == 503
    gateway.start("task")
    gateway.wait_until_ready()
    assert gateway.ask("GET", "/api/v1/tasks").status == 200


def test_stats_hold_those_of_the_services(gateway: GatewayUnderTest) -> None:
    stats = gateway.ask("GET", "/api/v1/stats").json
    assert "by_status" in stats["services"]["task"]
    assert stats["services"]["memory"] is None
    assert stats["gateway"]["requests"] > 0
    assert stats["gateway"]["p99_ms"] >= stats["gateway"]["p50_ms"] > 0


def test_metrics_count_by_route(gateway: GatewayUnderTest) -> None:
    gateway.ask("GET", "/api/v1/tasks/0199c0de-0000-7000-8000-000000000000")
    metrics = gateway.ask("GET", "/metrics").body.decode()
    labels = 'http_request_method="GET",http_response_status_code="404",http_route="/api/v1/tasks/{id}"'
    assert f"http_server_request_duration_seconds_count{{{labels}}}" in metrics


def test_openapi_holds_what_could_be_asked(gateway: GatewayUnderTest) -> None:
    document = gateway.ask("GET", "/openapi.json").json
    assert document["paths"]["/api/v1/tasks"]["post"]["x-scope"] == "task:write"
    assert "/api/v1/keys" in document["paths"]
    assert "/stats" not in document["paths"]


def test_openapi_that_is_known_is_not_sent_again(gateway: GatewayUnderTest) -> None:
    first = gateway.ask("GET", "/openapi.json")
    again = gateway.ask("GET", "/openapi.json", headers={"If-None-Match": f'"other", {first.headers["etag"]}'})
    assert (again.status, again.body, again.headers["etag"]) == (304, b"", first.headers["etag"])
    assert "content-type" not in again.headers


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_task_that_is_known_is_not_sent_again_until_it_changes(gateway: GatewayUnderTest, method: str) -> None:
    made = gateway.ask("POST", "/api/v1/tasks", json={"title": "x"})
    path, known = made.headers["location"], {"If-None-Match": f"W/{made.headers['etag']}"}
    again = gateway.ask(method, path, headers=known)
    assert (again.status, again.body) == (304, b"")
    gateway.ask("PATCH", path, json={"title": "y"})
    changed = gateway.ask("GET", path, headers=known)
    assert (changed.status, changed.json["title"]) == (200, "y")


def test_metrics_tell_of_services_and_keys(gateway: GatewayUnderTest) -> None:
    gateway.ask("GET", "/api/v1/tasks")
    metrics = gateway.ask("GET", "/metrics").body.decode()
    assert 'tmws_upstream_replicas{state="up",upstream="task"} 1.0' in metrics
    assert 'tmws_upstream_connections{state="idle",upstream="task"}' in metrics
    assert 'tmws_upstream_circuit_open{upstream="task"} 0.0' in metrics
    assert 'tmws_gateway_requests_total{key_id="none",status_class="2xx"}' in metrics


@pytest.mark.parametrize(
    ("path", "kind"),
    [("/docs", "text/html"), ("/docs/start.js", "text/javascript"), ("/docs/swagger-ui-bundle.js", "text/javascript"),
     ("/docs/swagger-ui.css", "text/css"), ("/docs/favicon.png", "image/png")],
)  # fmt: skip
def test_docs_come_from_here_alone(gateway: GatewayUnderTest, path: str, kind: str) -> None:
    answer = gateway.ask("GET", path)
    assert (answer.status, answer.headers["content-type"].partition(";")[0]) == (200, kind)
    assert b"cdn." not in answer.body or path.endswith("bundle.js")


@pytest.mark.parametrize("file", ["redoc.standalone.js", "__init__.py", "nope"])
def test_docs_hold_nothing_else(gateway: GatewayUnderTest, file: str) -> None:
    assert gateway.ask("GET", f"/docs/{file}").status == 404


def test_connection_is_kept_for_the_next_request(gateway: GatewayUnderTest) -> None:
    request = b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n"
    last = request.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
    assert statuses(gateway.send(request * 3 + last)) == [200] * 4


def test_head_has_the_headers_of_get_alone(gateway: GatewayUnderTest) -> None:
    head, get = gateway.ask("HEAD", "/api/v1/tasks"), gateway.ask("GET", "/api/v1/tasks")
    assert (head.status, head.body) == (200, b"")
    assert head.headers["content-type"] == get.headers["content-type"]


def test_replayed_post_says_so(gateway: GatewayUnderTest) -> None:
    once = {"Idempotency-Key": "once"}
    first = gateway.ask("POST", "/api/v1/tasks", json={"title": "x"}, headers=once)
    again = gateway.ask("POST", "/api/v1/tasks", json={"title": "x"}, headers=once)
    assert (again.body, again.headers["idempotent-replayed"]) == (first.body, "true")


def test_stale_etag_is_refused(gateway: GatewayUnderTest) -> None:
    task = gateway.ask("POST", "/api/v1/tasks", json={"title": "x"})
    path = task.headers["location"]
    assert task.headers["etag"] == '"1"'
    assert gateway.ask("PUT", path, json={"title": "y"}, headers={"If-Match": '"1"'}).status == 200
    assert gateway.ask("PUT", path, json={"title": "z"}, headers={"If-Match": '"1"'}).status == 412


def test_without_redis_everything_works_and_says_so(postgres: PostgresForTests, short_directory: Path) -> None:
    settings = {"api_host": "0.0.0.0"}  # noqa: S104 -- to be warned of
    with running_gateway(
        postgres.create_database(), "", short_directory / "alone", processes=["gateway"], **settings
    ) as gateway:  # fmt: skip
        health = gateway.ask("GET", "/health").json
        limited = gateway.ask("GET", "/api/v1/stats")
    assert health["services"]["redis"]["state"] == "disabled"
    assert limited.headers["ratelimit"].startswith('"default";r=99')
    assert "AUTHENTICATION IS OFF" in gateway.log()
