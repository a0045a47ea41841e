"""Rows 27-40 and 60 of the table: bytes that are not quite HTTP."""

import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from support.gateway import GatewayUnderTest, statuses

HOST = b"Host: localhost\r\n"
CLOSE = b"Connection: close\r\n"
SECOND = b"GET /livez HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"


def post(*lines: bytes, body: bytes = b"", version: bytes = b"1.1") -> bytes:
    head = b"POST /api/v1/tasks HTTP/" + version + b"\r\n" + HOST + b"".join(line + b"\r\n" for line in lines)
    return head + b"\r\n" + body


@pytest.mark.parametrize(
    "data",
    [
        post(b"Content-Length: 5", b"Transfer-Encoding: chunked", body=b"0\r\n\r\n" + SECOND),
        post(b"Transfer-Encoding: chunked", b"Content-Length: 5", body=b"0\r\n\r\n" + SECOND),
        post(b"Content-Length: 15", b"Content-Length: 15", body=b"x" * 15 + SECOND),
        post(b"Content-Length: 15, 15", body=b"x" * 15 + SECOND),
        post(b"Content-Length: 15", b"Content-Length: 16", body=b"x" * 15 + SECOND),
        post(b"Content-Length: +15", body=b"x" * 15 + SECOND),
        post(b"Content-Length: -1", body=SECOND),
        post(b"Content-Length: 0x5", body=b"x" * 5 + SECOND),
        post(b"Transfer-Encoding: xchunked", body=b"0\r\n\r\n" + SECOND),
        post(b"Transfer-Encoding: chunked, identity", body=b"0\r\n\r\n" + SECOND),
        post(b"Transfer-Encoding : chunked", body=b"0\r\n\r\n" + SECOND),
        post(b"Transfer-Encoding: chunked", body=b"0x5\r\nabcde\r\n0\r\n\r\n" + SECOND),
        post(b"Transfer-Encoding: chunked", body=b"5\rabcde\r\n0\r\n\r\n" + SECOND),
    ],
    ids=["cl te", "te cl", "cl twice", "cl list", "cl differ", "cl plus", "cl minus", "cl hex", "te unknown", "te two",
         "te space", "chunk hex", "chunk cr"],
)  # fmt: skip
def test_doubtful_end_of_a_body_is_answered_once_and_closes(gateway: GatewayUnderTest, key: str, data: bytes) -> None:
    signed_in = data.replace(HOST, HOST + f"Authorization: Bearer {key}\r\n".encode(), 1)
    assert statuses(gateway.send(signed_in)) == [400]


@pytest.mark.parametrize(
    "data",
    [
        b"GET /livez HTTP/1.1\nHost: localhost\n\n",
        b"GET /livez HTTP/1.1\r\n" + HOST + b"X: a\r\n b\r\n\r\n",
        b"GET /livez HTTP/1.1\r\n" + HOST + b"X: a\rb\r\n\r\n",
        b"GET /livez HTTP/1.1\r\n" + HOST + b"X: a\0b\r\n\r\n",
        b"GET /livez HTTP/1.1\r\n" + HOST + b"X Y: a\r\n\r\n",
        b"get /livez HTTP/1.1\r\n" + HOST + b"\r\n",
        b"GET /livez HTTP/9.9\r\n" + HOST + b"\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 64,
        b"GET http://evil.test/livez HTTP/1.1\r\n" + HOST + b"\r\n",
        b"GET http://evil.test HTTP/1.1\r\n" + HOST + b"\r\n",
        b"CONNECT evil.test:443 HTTP/1.1\r\n" + HOST + b"\r\n",
        b"OPTIONS * HTTP/1.1\r\n" + HOST + b"\r\n",
    ],
    ids=["bare lf", "obs-fold", "bare cr", "nul", "space in name", "lower case", "version", "preface", "tls",
         "absolute", "absolute without path", "connect", "asterisk"],
)  # fmt: skip
def test_what_is_not_plain_http_is_malformed(gateway: GatewayUnderTest, data: bytes) -> None:
    assert statuses(gateway.send(data)) == [400]


@pytest.mark.parametrize("hosts", [b"", HOST * 2, HOST + b"Host: evil.test\r\n"], ids=["none", "same", "two"])
def test_request_needs_exactly_one_host(gateway: GatewayUnderTest, hosts: bytes) -> None:
    assert statuses(gateway.send(b"GET /health HTTP/1.1\r\n" + CLOSE + hosts + b"\r\n")) == [400]


def test_chunks_in_http_1_0_are_malformed(gateway: GatewayUnderTest) -> None:
    data = post(b"Transfer-Encoding: chunked", body=b"0\r\n\r\n", version=b"1.0")
    assert statuses(gateway.send(data)) == [400]


def test_header_of_1_mb_is_too_large(gateway: GatewayUnderTest) -> None:
    raw = gateway.send(b"GET /livez HTTP/1.1\r\n" + HOST + b"X: " + b"a" * 1_000_000 + b"\r\n\r\n")
    assert statuses(raw) == [431]


def test_2000_headers_are_too_many(gateway: GatewayUnderTest) -> None:
    assert statuses(gateway.send(b"GET /livez HTTP/1.1\r\n" + HOST + CLOSE + b"X: a\r\n" * 2_000 + b"\r\n")) == [431]


@pytest.mark.parametrize("length", [9_000, 100_000])
def test_long_url_is_too_long(gateway: GatewayUnderTest, length: int) -> None:
    raw = gateway.send(b"GET /livez?q=" + b"a" * length + b" HTTP/1.1\r\n" + HOST + CLOSE + b"\r\n")
    assert statuses(raw) == [414]


def test_h2c_upgrade_is_ignored(gateway: GatewayUnderTest) -> None:
    upgrade = (
        b"Connection: Upgrade, HTTP2-Settings, close\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n"
    )
    assert statuses(gateway.send(b"GET /livez HTTP/1.1\r\n" + HOST + upgrade + b"\r\n", wait_s=2)) == [200]


@pytest.mark.parametrize("method", ["TRACE", "PATCH", "PROPFIND", "OPTIONS"])
def test_unknown_method_is_not_allowed(gateway: GatewayUnderTest, method: str) -> None:
    answer = gateway.ask(method, "/health")
    assert answer.status == 405
    assert answer.headers["allow"] == "GET, HEAD"


def test_refusal_of_the_parser_is_a_problem_document(gateway: GatewayUnderTest) -> None:
    raw = gateway.send(b"GET /livez HTTP/9.9\r\n" + HOST + b"\r\n")
    assert b"content-type: application/problem+json" in raw
    assert b"server:" not in raw.lower()


@pytest.mark.long
def test_what_never_ends_is_closed_after_ten_seconds(gateway: GatewayUnderTest, key: str) -> None:
    half_body = post(
        f"Authorization: Bearer {key}".encode(),
        b"Content-Type: application/json",
        b"Content-Length: 50",
        body=b'{"title":',
    )
    started = time.monotonic()
    with ThreadPoolExecutor() as pool:
        answers = list(pool.map(gateway.send, [b"", b"GET /livez HTTP/1.1\r\nHost: loc", half_body]))
    assert [statuses(answer) for answer in answers] == [[408]] * 3
    assert 9 < time.monotonic() - started < 12
