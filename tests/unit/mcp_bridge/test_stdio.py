"""What is answered to a line that is no message."""

import pytest
from mcp_types import jsonrpc_message_adapter
from pydantic import ValidationError

from tmws_mcp_bridge.stdio import error_for

CALL = '{"jsonrpc":"2.0","id":%s,"method":"tools/call","params":{"name":"store_memory","arguments":{"content":%s}}}'


def refusal(line):
    with pytest.raises(ValidationError) as raised:
        jsonrpc_message_adapter.validate_json(line, by_name=False)
    return raised.value


@pytest.mark.parametrize(
    ("line", "request_id", "code"),
    [
        (CALL % ("2", r'"a\ud800b"'), 2, -32700),
        (CALL % ('"q"', r'"\udfff"'), "q", -32700),
        (CALL % ("3", "[" * 400 + "]" * 400), 3, -32700),
        ('{"id":7}', 7, -32600),
        ('{"jsonrpc":"2.0","id":"x","method":5}', "x", -32600),
    ],
)
def test_a_request_that_cannot_be_read_is_answered(line, request_id, code):
    answer = error_for(refusal(line))
    assert (answer.id, answer.error.code) == (request_id, code)
    assert "content" not in answer.error.message


@pytest.mark.parametrize(
    "line",
    [
        "garbage",
        "[]",
        '{"jsonrpc":"2.0","id":1',
        r'{"jsonrpc":"2.0","method":"notifications/x","params":{"a":"\ud800"}}',
        r'{"jsonrpc":"2.0","id":1,"result":{"a":"\ud800"}}',
        '{"id":true}',
        '{"id":null}',
        "[" * 100_000,
    ],
)
def test_what_nobody_waits_for_is_not_answered(line):
    assert error_for(refusal(line)) is None


@pytest.mark.parametrize("item", ["a message", OSError("broken")])
def test_what_is_no_refused_line_is_passed_on(item):
    assert error_for(item) is None
