"""Log lines."""

import json
import logging

import pytest

from tmws_shared.telemetry import JsonLines, redact


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
