"""How requests are written down."""

from collections.abc import AsyncIterator

import pytest

from tmws_shared.framing import Request, chunk, encode


async def pieces() -> AsyncIterator[bytes]:
    yield b"piece"


def lines(request: Request) -> list[bytes]:
    head, _, _ = encode(request, b"service").partition(b"\r\n\r\n")
    return head.split(b"\r\n")


def test_request_is_written_as_rfc_9112_says() -> None:
    request = Request("GET", b"/tasks?status=open", [(b"accept", b"*/*")])
    assert encode(request, b"service") == b"GET /tasks?status=open HTTP/1.1\r\nhost: service\r\naccept: */*\r\n\r\n"


def test_small_body_is_written_with_its_head() -> None:
    encoded = encode(Request("POST", b"/", body=b"hello"), b"h")
    assert encoded == b"POST / HTTP/1.1\r\nhost: h\r\ncontent-length: 5\r\n\r\nhello"


def test_empty_body_has_a_length() -> None:
    assert lines(Request("POST", b"/", body=b""))[-1] == b"content-length: 0"


def test_body_of_unknown_length_is_chunked() -> None:
    assert lines(Request("POST", b"/", body=pieces()))[-1] == b"transfer-encoding: chunked"


def test_stream_of_known_length_has_a_length() -> None:
    assert lines(Request("POST", b"/", body=pieces(), length=5))[-1] == b"content-length: 5"


def test_chunk_says_its_size_in_hexadecimal() -> None:
    assert chunk(b"x" * 26) == b"1a\r\n" + b"x" * 26 + b"\r\n"


def test_empty_piece_does_not_end_a_chunked_body() -> None:
    assert chunk(b"") == b""


@pytest.mark.parametrize("value", [b"a\r\nx: b", b"a\rb", b"a\nb", b"a\0b", b"a\r\n\r\nGET /evil HTTP/1.1\r\n"])
def test_value_that_would_end_its_line_is_refused(value: bytes) -> None:
    with pytest.raises(ValueError, match="CR, LF or NUL"):
        encode(Request("GET", b"/", [(b"x", value)]), b"h")


@pytest.mark.parametrize("name", [b"", b"a b", b"a:", b"a\r\nb", b"\xe4", b" a"])
def test_name_that_is_no_token_is_refused(name: bytes) -> None:
    with pytest.raises(ValueError, match="token"):
        encode(Request("GET", b"/", [(name, b"1")]), b"h")


@pytest.mark.parametrize("name", [b"Content-Length", b"transfer-encoding", b"Connection", b"host", b"expect", b"te"])
def test_nobody_else_says_where_a_request_ends(name: bytes) -> None:
    with pytest.raises(ValueError, match="not for the caller"):
        encode(Request("POST", b"/", [(name, b"5")], b"hello"), b"h")


@pytest.mark.parametrize("target", [b"", b"tasks", b"/a b", b"/a\r\nx: y", b"/a\0", b"http://evil/", b"*", b"/\x7f"])
def test_target_that_does_not_fit_a_request_line_is_refused(target: bytes) -> None:
    with pytest.raises(ValueError, match="target"):
        encode(Request("GET", target), b"h")


@pytest.mark.parametrize("method", ["", "GET /x", "GET\r\n"])
def test_method_that_is_no_token_is_refused(method: str) -> None:
    with pytest.raises(ValueError, match="method"):
        encode(Request(method, b"/"), b"h")


@pytest.mark.parametrize(("method", "is_repeatable"), [("GET", True), ("HEAD", True), ("POST", False), ("PUT", False)])
def test_only_reading_is_repeatable(method: str, is_repeatable: bool) -> None:
    assert Request(method, b"/").is_repeatable is is_repeatable


def test_stream_cannot_be_sent_twice() -> None:
    assert not Request("GET", b"/", body=pieces()).is_repeatable
