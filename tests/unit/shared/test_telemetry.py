"""Log lines."""

import json
import logging

import pytest

from tmws_shared.telemetry import JsonLines, carry_trace, redact, serving, trace_id

TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = f"00-{TRACE}-b7ad6b7169203331-01"


def record(message: str) -> logging.LogRecord:
    return logging.LogRecord("test", logging.INFO, "", 0, message, None, None)


def test_line_is_one_json_object() -> None:
    line = JsonLines("task").format(record('two\nlines "quoted" \x1b[31m'))
    assert "\n" not in line
    assert json.loads(line)["message"] == 'two\nlines "quoted" \x1b[31m'


@pytest.mark.parametrize(
    "secret",
    [
        "postgresql://user:s3cr3t@host/db",
        "key tmws_abc123_S3cretS3cret-S3cret_crc",
        "token eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJ4In0.c2VjcmV0",
    ],
)
def test_secret_is_redacted(secret: str) -> None:
    text = redact(secret)
    assert "***" in text
    assert "s3cr" not in text.lower()
    assert "eyJzdWIi" not in text


def test_request_without_a_trace_begins_one() -> None:
    with serving("GET", {}):
        first = trace_id()
    with serving("GET", {}):
        second = trace_id()
    assert first != second
    assert first is not None
    assert len(first) == 32


def test_request_goes_on_in_the_trace_it_names() -> None:
    with serving("GET", {"traceparent": PARENT}):
        carried = carry_trace()["traceparent"].split("-")
        assert trace_id() == TRACE
    assert carried[:2] == ["00", TRACE]
    assert carried[2] != "b7ad6b7169203331"


def test_state_of_a_trace_is_carried_on() -> None:
    with serving("GET", {"traceparent": PARENT, "tracestate": "vendor=1"}):
        assert carry_trace()["tracestate"] == "vendor=1"


def test_baggage_of_a_caller_is_not_carried_on() -> None:
    with serving("GET", {"traceparent": PARENT, "tracestate": "vendor=1", "baggage": "user=1"}):
        assert carry_trace().keys() == {"traceparent", "tracestate"}


@pytest.mark.parametrize("given", ["", "garbage", "00-" + "0" * 32 + "-b7ad6b7169203331-01", "ff-" + PARENT[3:]])
def test_trace_that_is_none_is_not_gone_on_with(given: str) -> None:
    with serving("GET", {"traceparent": given}):
        current = trace_id()
    assert current not in (None, TRACE, "0" * 32)


def test_trace_ends_with_its_request() -> None:
    with serving("GET", {}):
        pass
    assert trace_id() is None
