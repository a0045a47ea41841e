"""The edge guard: hosts, origins, paths, queries, framing."""

from typing import Any
from urllib.parse import urlsplit

import pytest

from tmws_gateway.errors import ForbiddenOrigin, HeadersTooLarge, MisdirectedRequest, UriTooLong
from tmws_gateway.guard import Guard, check_body_type, check_query, decode_path, host_name
from tmws_shared.problems import MalformedRequest, ProblemError, UnsupportedMediaType

GUARD = Guard([urlsplit("https://tmws.test")], ["https://app.test"], "127.0.0.1")


def request(
    *headers: tuple[bytes, bytes], path: bytes = b"/x", query: bytes = b"", version: str = "1.1"
) -> dict[str, Any]:
    return {"raw_path": path, "query_string": query, "headers": list(headers), "http_version": version}


@pytest.mark.parametrize("host", [b"localhost", b"LOCALHOST:8000", b"127.0.0.1:1", b"[::1]:8000", b"tmws.test"])
def test_our_own_names_pass(host: bytes) -> None:
    assert GUARD.check(request((b"host", host))) == "/x"


@pytest.mark.parametrize(
    "host",
    [
        b"evil.test",
        b"localhost.evil",
        b"tmws.test.evil",
        b"127.0.0.1.evil",
        b"",
        b"a b",
        b"localhost:80:80",
        b"localhost@evil",
    ],
)
def test_other_names_are_misdirected(host: bytes) -> None:
    with pytest.raises(MisdirectedRequest):
        GUARD.check(request((b"host", host)))


def test_request_without_a_host_is_malformed() -> None:
    with pytest.raises(MalformedRequest):
        GUARD.check(request())


def test_probe_may_come_under_any_host() -> None:
    assert GUARD.check(request((b"host", b"10.0.0.7:8000"), path=b"/readyz")) == "/readyz"


@pytest.mark.parametrize("name", [b"host", b"authorization", b"content-length", b"content-type", b"origin"])
def test_header_that_may_come_once_is_malformed_twice(name: bytes) -> None:
    with pytest.raises(MalformedRequest):
        GUARD.check(request((b"host", b"localhost"), (name, b"1"), (name, b"1")))


@pytest.mark.parametrize("origin", [b"https://app.test", b"https://tmws.test", b"http://localhost:8000"])
def test_our_own_pages_may_call(origin: bytes) -> None:
    assert GUARD.check(request((b"host", b"localhost:8000"), (b"origin", origin)))


@pytest.mark.parametrize(
    "origin",
    [
        b"null",
        b"https://evil.test",
        b"http://localhost:3000",
        b"https://app.test.evil",
        b"http://app.test",
        b"https://localhost.evil",
    ],
)
def test_other_pages_may_not_call(origin: bytes) -> None:
    with pytest.raises(ForbiddenOrigin):
        GUARD.check(request((b"host", b"localhost:8000"), (b"origin", origin)))


@pytest.mark.parametrize(
    "headers",
    [
        [(b"content-length", b"5"), (b"transfer-encoding", b"chunked")],
        [(b"content-length", b"+5")],
        [(b"content-length", b"-1")],
        [(b"content-length", b"5, 5")],
        [(b"content-length", b"9" * 40)],
        [(b"transfer-encoding", b"xchunked")],
        [(b"transfer-encoding", b"chunked, identity")],
    ],
    ids=["both", "plus", "minus", "list", "huge", "unknown", "two codings"],
)
def test_doubtful_framing_is_malformed(headers: list[tuple[bytes, bytes]]) -> None:
    with pytest.raises(MalformedRequest):
        GUARD.check(request((b"host", b"localhost"), *headers))


def test_chunks_in_http_1_0_are_malformed() -> None:
    with pytest.raises(MalformedRequest):
        GUARD.check(request((b"host", b"localhost"), (b"transfer-encoding", b"chunked"), version="1.0"))


def test_101_headers_are_too_many() -> None:
    with pytest.raises(HeadersTooLarge):
        GUARD.check(request((b"host", b"localhost"), *[(b"x", b"y")] * 100))


def test_headers_over_16_kib_are_too_large() -> None:
    with pytest.raises(HeadersTooLarge):
        GUARD.check(request((b"host", b"localhost"), (b"x", b"y" * 16_384)))


def test_url_over_8_kib_is_too_long() -> None:
    with pytest.raises(UriTooLong):
        GUARD.check(request((b"host", b"localhost"), query=b"q=" + b"x" * 8_192))


def test_path_is_decoded_once() -> None:
    assert decode_path(b"/api/v1/personas/m%C3%BCller%20x") == "/api/v1/personas/müller x"


@pytest.mark.parametrize(
    "path",
    [
        b"/a/../b",
        b"/a/./b",
        b"/a/%2e%2e/b",
        b"/a%2Fb",
        b"/a%2fb",
        b"/a%252fb",
        b"/a%5Cb",
        b"/a%00",
        b"/a%0d%0ab",
        b"/a%7f",
        b"/a%ff",
        b"/a%c0%af",
        b"/a%ed%a0%80",
        b"/a%zz",
        b"/a\\b",
    ],
)
def test_path_that_can_be_read_in_two_ways_is_malformed(path: bytes) -> None:
    with pytest.raises(MalformedRequest):
        decode_path(path)


def test_repeatable_key_may_come_again() -> None:
    check_query(b"status=pending&status=failed&limit=1", frozenset({"status"}))


@pytest.mark.parametrize(
    "query",
    [
        b"limit=1&limit=2",
        b"limit=1&%6cimit=2",
        b"status=x&status=y",
        b"a=%ff",
        b"%ff=a",
        b"a=%00",
        b"&".join([b"%d=1" % n for n in range(101)]),
    ],
    ids=["twice", "encoded", "not repeatable here", "value", "key", "nul", "many"],
)
def test_query_that_can_be_read_in_two_ways_is_malformed(query: bytes) -> None:
    with pytest.raises(MalformedRequest):
        check_query(query, frozenset())


def test_refused_query_key_is_named_without_control_characters() -> None:
    with pytest.raises(ProblemError) as caught:
        check_query(b"a%0d%0ab=1&a%0d%0ab=2", frozenset())
    assert caught.value.detail == "?ab: must not be given twice"


@pytest.mark.parametrize(
    "kind", [b"application/json", b"Application/JSON; charset=UTF-8", b'application/json;charset="utf-8"']
)
def test_json_in_utf8_is_taken(kind: bytes) -> None:
    check_body_type(request((b"content-type", kind)))


@pytest.mark.parametrize(
    "kind",
    [
        b"",
        b"text/plain",
        b"application/x-www-form-urlencoded",
        b"application/json; charset=utf-16",
        b"application/jsonx",
        b"application/problem+json",
        b"text/plain, application/json",
    ],
)
def test_other_types_are_unsupported(kind: bytes) -> None:
    with pytest.raises(UnsupportedMediaType):
        check_body_type(request((b"content-type", kind)))


@pytest.mark.parametrize("encoding", [b"gzip", b"br", b"identity, gzip"])
def test_compressed_body_is_unsupported(encoding: bytes) -> None:
    with pytest.raises(UnsupportedMediaType):
        check_body_type(request((b"content-type", b"application/json"), (b"content-encoding", encoding)))


@pytest.mark.parametrize(
    ("host", "name"), [(b"LocalHost:80", "localhost"), (b"[::1]", "::1"), (b"[::1", ""), (b"x:y", "")]
)
def test_host_name_is_read_without_its_port(host: bytes, name: str) -> None:
    assert host_name(host) == name
