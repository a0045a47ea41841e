"""Row 74: nothing that a caller sends breaks out of a log line or a record."""

import json

from support.gateway import GatewayUnderTest
from support.waiting import eventually

EVIL = 'x\r\n{"level":"error"}\x1b[31m\u202e\u0085'
ESCAPED = '"x\\\\r\\\\n{\\"level\\":\\"error\\"}\\\\x1b[31m\\\\u202e\\\\x85"'


def test_field_names_are_recorded_as_escapes(gateway: GatewayUnderTest, key: str) -> None:
    sent = gateway.ask("POST", "/api/v1/tasks", token=key, json={EVIL: 1})
    found = gateway.ask("GET", f"/api/v1/audit?request_id={sent.headers['x-request-id']}", token=key)
    assert sent.status == 422
    assert ESCAPED.encode() in found.body
    assert found.json["items"][0]["changed_fields"][0].isprintable()


def test_export_has_a_line_for_each_record(gateway: GatewayUnderTest, key: str) -> None:
    sent = gateway.ask("POST", "/api/v1/tasks", token=key, json={EVIL: 1})
    request_id = sent.headers["x-request-id"]
    body = gateway.ask("GET", f"/api/v1/audit/export?request_id={request_id}", token=key).body
    assert len(body.splitlines()) == len(body.decode().splitlines()) == 2


def test_request_id_that_is_none_is_not_recorded(gateway: GatewayUnderTest, key: str) -> None:
    evil = 'x"\t\u00e9{}'
    answer = gateway.ask("DELETE", "/api/v1/tasks/x", token=key, headers={"X-Request-ID": evil})
    made = answer.headers["x-request-id"]
    assert made.replace("-", "").isalnum()
    assert len(gateway.ask("GET", f"/api/v1/audit?request_id={made}", token=key).json["items"]) == 1


def test_target_and_agent_leave_the_log_whole(gateway: GatewayUnderTest, stranger: str) -> None:
    before = len(gateway.log().splitlines())
    gateway.send(
        b"DELETE /api/v1/tasks/%0d%0a%1b[31m HTTP/1.1\r\nHost: tmws.test\r\nUser-Agent: a\x1b[31mb\xe2\x80\xae\r\n"
        b"X-Request-ID: evil\x1b[2J\r\nConnection: close\r\n\r\n",
        source=stranger,
    )
    eventually(lambda: len(gateway.log().splitlines()) > before, timeout_s=0.5)
    for line in gateway.log().splitlines()[before:]:
        assert isinstance(json.loads(line), dict)
        assert "\x1b" not in line


def test_only_audit_read_sees_records(gateway: GatewayUnderTest) -> None:
    token = gateway.new_token("task:read", "keys:admin")
    for path in ("", "/verify", "/export"):
        assert gateway.ask("GET", f"/api/v1/audit{path}", token=token).status == 403


def test_records_of_another_namespace_are_not_exported(gateway: GatewayUnderTest) -> None:
    reader = gateway.new_key("auditor of others", "audit:read", namespace="others")["key"]
    body = gateway.ask("GET", "/api/v1/audit/export", token=reader).body
    assert body.count(b"\n") == 1
    assert gateway.ask("GET", "/api/v1/audit/verify", token=reader).json["intact"] is True
