"""Rows 41-58 of the table: paths, queries and bodies that two readers could read in two ways."""

import json

import pytest

from support.gateway import GatewayUnderTest, statuses

TASKS = "/api/v1/tasks"
MIB = 1024 * 1024


@pytest.mark.parametrize(
    "path",
    ["/api/v1/tasks/%2e%2e%2fkeys", "/api/v1/tasks/a%2fb", "/api/v1/tasks/a%252fb", "/api/v1/tasks/../keys",
     "/api/v1/tasks/a%00", "/api/v1/tasks/%ff", "/api/v1/tasks/%c0%ae", "/api/v1/tasks/a%0d%0aX:%201"],
)  # fmt: skip
def test_path_that_can_be_read_in_two_ways_is_malformed(gateway: GatewayUnderTest, key: str, path: str) -> None:
    assert gateway.ask("GET", path, token=key).status == 400


def test_query_key_given_twice_is_malformed(gateway: GatewayUnderTest, key: str) -> None:
    answer = gateway.ask("GET", f"{TASKS}?limit=1&limit=2", token=key)
    assert (answer.status, answer.json["detail"]) == (400, "?limit: must not be given twice")


def test_repeatable_query_key_may_come_twice(gateway: GatewayUnderTest, key: str) -> None:
    assert gateway.ask("GET", f"{TASKS}?status=pending&status=failed", token=key).status == 200


@pytest.mark.parametrize("limit", ["9" * 5_000, "-1", "1000000000", "1e1", "NaN", ""])
def test_limit_that_is_none_is_an_invalid_value(gateway: GatewayUnderTest, key: str, limit: str) -> None:
    answer = gateway.ask("GET", f"{TASKS}?limit={limit}", token=key)
    assert (answer.status, answer.pointers) == (422, ["?limit"])


def test_line_break_in_a_request_id_does_not_come_back(gateway: GatewayUnderTest) -> None:
    answer = gateway.ask("GET", "/livez", headers={"X-Request-ID": "a b; Set-Cookie: x=1"})
    assert "Set-Cookie" not in answer.headers["x-request-id"]


def test_body_of_20_mb_is_refused_before_it_is_read(gateway: GatewayUnderTest, key: str) -> None:
    head = f"POST {TASKS} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {key}\r\n"
    head += "Content-Type: application/json\r\nContent-Length: 20971520\r\n\r\n"
    assert statuses(gateway.send(head.encode() + b"x" * 1_000)) == [413]


def test_chunks_without_end_are_refused_after_1_mib(gateway: GatewayUnderTest, key: str) -> None:
    head = f"POST {TASKS} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {key}\r\n"
    head += "Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
    chunk = b"10000\r\n" + b" " * 65_536 + b"\r\n"
    assert statuses(gateway.send(head.encode() + chunk * 40)) == [413]


def test_body_of_2_mib_is_too_large(gateway: GatewayUnderTest, key: str) -> None:
    head = f"POST {TASKS} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {key}\r\n"
    head += f"Content-Type: application/json\r\nContent-Length: {2 * MIB}\r\n\r\n"
    assert statuses(gateway.send(head.encode() + b" " * 2 * MIB)) == [413]


def test_body_just_under_1_mib_is_read(gateway: GatewayUnderTest, key: str) -> None:
    body = json.dumps({"title": "x" * (MIB - 100)}).encode()
    assert gateway.ask("POST", TASKS, token=key, body=body).pointers == ["/title"]


@pytest.mark.parametrize(
    ("body", "status", "pointer"),
    [
        (b'{"title": NaN}', 422, "/title"),
        (b'{"title": "x", "progress": Infinity}', 422, "/progress"),
        (b'{"title": "x", "metadata": {"a": [1e999]}}', 422, "/metadata/a/0"),
        (b'{"metadata": ' + b'{"a":' * 2_000 + b"1" + b"}" * 2_001, 400, "/metadata" + "/a" * 31),
        (b"[" * 200_000, 400, "/0" * 32),
        (b'{"title": ' + b"9" * 5_000 + b"}", 400, "/title"),
        (b'{"title": "a", "title": "b"}', 400, "/title"),
        (b'{"title": "a\\u0000b"}', 422, "/title"),
        (b'{"title": "x", "metadata": {"k": "\\u0000"}}', 422, "/metadata/k"),
        (b'{"title": "\\ud800"}', 422, "/title"),
        (b'{"title": "x", "metadata": {"\\ud800": 1}}', 422, "/metadata"),
        (b'\xef\xbb\xbf{"title": "x"}', 400, ""),
        ('{"title": "x"}'.encode("utf-16"), 400, ""),
        (b'{"title": "\xff"}', 400, ""),
        (b'{"title": "x"', 400, ""),
        (b'{"title": "x", "is_admin": true}', 422, "/is_admin"),
        (b'{"title": "x", "namespace": "other"}', 422, "/namespace"),
        (b'{"title": "x", "id": "1"}', 422, "/id"),
        (b'{"title": "x", "created_at": "2020-01-01T00:00:00Z"}', 422, "/created_at"),
        (b'{"title": []}', 422, "/title"),
    ],
    ids=[
        "nan",
        "infinity",
        "1e999",
        "deep",
        "deeper",
        "digits",
        "twice",
        "nul",
        "nested nul",
        "surrogate",
        "surrogate key",
        "bom",
        "utf-16",
        "bytes",
        "open",
        "is_admin",
        "namespace",
        "id",
        "created_at",
        "type",
    ],
)
def test_bad_body_is_refused_by_field(
    gateway: GatewayUnderTest, key: str, body: bytes, status: int, pointer: str
) -> None:
    answer = gateway.ask("POST", TASKS, token=key, body=body)
    assert (answer.status, answer.pointers) == (status, [pointer])
    assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize(
    "metadata",
    [
        dict.fromkeys(map(str, range(50_000)), 0),
        {"k" * 100_000: 1},
        {"a": {"a": {"a": {"a": {"a": {"a": {"a": {"a": {"a": 1}}}}}}}}},
    ],
    ids=["keys", "key", "depth"],
)
def test_metadata_bomb_is_an_invalid_value(gateway: GatewayUnderTest, key: str, metadata: dict[str, object]) -> None:
    answer = gateway.ask("POST", TASKS, token=key, json={"title": "x", "metadata": metadata})
    assert (answer.status, answer.pointers) == (422, ["/metadata"])


def test_rejected_value_is_not_repeated(gateway: GatewayUnderTest, key: str) -> None:
    answer = gateway.ask("POST", TASKS, token=key, body=b'{"title": "hunter2\\u0000"}')
    assert b"hunter2" not in answer.body


@pytest.mark.parametrize(
    "kind", ["", "text/plain", "application/x-www-form-urlencoded", "application/json; charset=latin-1"]
)
def test_other_type_than_json_is_unsupported(gateway: GatewayUnderTest, key: str, kind: str) -> None:
    answer = gateway.ask("POST", TASKS, token=key, body=b'{"title": "x"}', headers={"Content-Type": kind})
    assert answer.status == 415


def test_compressed_body_is_unsupported(gateway: GatewayUnderTest, key: str) -> None:
    answer = gateway.ask("POST", TASKS, token=key, body=b"\x1f\x8b", headers={"Content-Encoding": "gzip"})
    assert answer.status == 415


def test_refused_body_writes_nothing(gateway: GatewayUnderTest, key: str) -> None:
    gateway.ask("POST", TASKS, token=key, body=b'{"title": "x", "labels": ["refused"], "title": "y"}')
    assert gateway.ask("GET", f"{TASKS}?label=refused", token=key).json["items"] == []
