"""Rows 59, 74-77 of the table, and the headers every answer has: what web pages and logs may learn."""

import pytest

from support.gateway import ORIGIN, GatewayUnderTest

EVERY_PATH = ["/livez", "/health", "/nope", "/api/v1/tasks", "/docs", "/docs/start.js", "/openapi.json"]


@pytest.mark.parametrize("host", ["evil.test", "localhost.evil", "tmws.test.evil", "evil.test:8000"])
def test_foreign_host_is_misdirected(gateway: GatewayUnderTest, key: str, host: str) -> None:
    assert gateway.ask("GET", "/api/v1/tasks", token=key, headers={"Host": host}).status == 421


@pytest.mark.parametrize("host", ["tmws.test", "TMWS.test:443", "localhost", "[::1]:1"])
def test_our_own_host_passes(gateway: GatewayUnderTest, key: str, host: str) -> None:
    assert gateway.ask("GET", "/api/v1/tasks", token=key, headers={"Host": host}).status == 200


@pytest.mark.parametrize("origin", ["null", "https://evil.test", "https://localhost.evil", "https://app.test.evil"])
def test_foreign_page_may_not_call(gateway: GatewayUnderTest, key: str, origin: str) -> None:
    answer = gateway.ask("GET", "/api/v1/tasks", token=key, headers={"Origin": origin})
    assert answer.status == 403
    assert "access-control-allow-origin" not in answer.headers


def test_allowed_page_may_read(gateway: GatewayUnderTest, key: str) -> None:
    answer = gateway.ask("GET", "/api/v1/tasks", token=key, headers={"Origin": ORIGIN})
    assert answer.status == 200
    assert answer.headers["access-control-allow-origin"] == ORIGIN
    assert answer.headers["vary"] == "Origin"
    assert "access-control-allow-credentials" not in answer.headers


def test_allowed_page_may_read_refusals(gateway: GatewayUnderTest, stranger: str) -> None:
    answer = gateway.ask("GET", "/api/v1/tasks", headers={"Origin": ORIGIN}, source=stranger)
    assert (answer.status, answer.headers["access-control-allow-origin"]) == (401, ORIGIN)


def test_preflight_of_an_allowed_page_is_answered(gateway: GatewayUnderTest) -> None:
    headers = {"Origin": ORIGIN, "Access-Control-Request-Method": "PUT"}
    answer = gateway.ask("OPTIONS", "/api/v1/tasks/1", headers=headers)
    assert answer.status == 204
    assert "PUT" in answer.headers["access-control-allow-methods"]


def test_preflight_of_a_foreign_page_is_refused(gateway: GatewayUnderTest) -> None:
    headers = {"Origin": "https://evil.test", "Access-Control-Request-Method": "PUT"}
    assert gateway.ask("OPTIONS", "/api/v1/tasks/1", headers=headers).status == 403


def test_form_of_a_foreign_page_is_refused(gateway: GatewayUnderTest, key: str) -> None:
    form = {"Content-Type": "text/plain", "Origin": "https://evil.test"}
    assert gateway.ask("POST", "/api/v1/tasks", token=key, body=b'{"title":"x"}', headers=form).status == 403


@pytest.mark.parametrize("path", EVERY_PATH)
def test_every_answer_has_the_security_headers(gateway: GatewayUnderTest, path: str) -> None:
    headers = gateway.ask("GET", path).headers
    assert headers["x-content-type-options"] == "nosniff"
    assert "frame-ancestors 'none'" in headers["content-security-policy"]
    assert "'unsafe-inline'" not in headers["content-security-policy"].partition("script-src")[2].partition(";")[0]
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["strict-transport-security"].startswith("max-age=")
    assert "server" not in headers


@pytest.mark.parametrize("path", EVERY_PATH)
def test_every_answer_has_its_ids(gateway: GatewayUnderTest, path: str) -> None:
    headers = gateway.ask("GET", path, headers={"X-Request-ID": "my-request.1"}).headers
    assert headers["x-request-id"] == "my-request.1"
    assert len(headers["traceparent"].split("-")) == 4


def test_answers_of_the_api_are_not_stored(gateway: GatewayUnderTest, key: str) -> None:
    assert gateway.ask("GET", "/api/v1/tasks", token=key).headers["cache-control"] == "no-store"


def test_trace_of_the_caller_goes_on(gateway: GatewayUnderTest, key: str) -> None:
    trace_id = "0af7651916cd43dd8448eb211c80319c"
    parent = {"traceparent": f"00-{trace_id}-b7ad6b7169203331-01"}
    answer = gateway.ask("GET", "/api/v1/tasks/x", token=key, headers=parent)
    assert trace_id in answer.headers["traceparent"]
    assert answer.json["trace_id"] == trace_id


def test_no_secret_is_in_the_log(gateway: GatewayUnderTest, key: str) -> None:
    gateway.ask("GET", "/api/v1/tasks", token=key)
    assert key.split("_")[2] not in gateway.log() + gateway.log("task")
