"""Lines of all kinds on the bridge's standard input; no gateway is needed for that."""

import json
import os
import subprocess
import sys

INITIALIZE = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "initialize",
    "params": {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "test", "version": "1"}},
}
LINES = [
    json.dumps(INITIALIZE).encode(),
    b'{"jsonrpc":"2.0","method":"notifications/initialized"}',
    rb'{"jsonrpc":"2.0","id":2,"method":"tools/call","params":{"name":"store_memory","arguments":{"content":"\ud800"}}}',
    b"garbage",
    b'{"id":3}',
    b"\xff\xfe",
    b'{"jsonrpc":"2.0","id":4,"method":"tools/list"}\n',
]


def test_each_request_is_answered_whatever_stands_in_it():
    environment = {"PATH": os.environ["PATH"], "TMWS_URL": "http://127.0.0.1:9"}
    command = [sys.executable, "-m", "tmws_mcp_bridge"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment) as bridge:
        bridge.stdin.write(b"\n".join(LINES))
        bridge.stdin.flush()
        answers = [json.loads(bridge.stdout.readline()) for _ in range(4)]
        bridge.stdin.close()
        rest = bridge.stdout.read()
    assert [(answer["id"], answer.get("error", {}).get("code")) for answer in answers] == [
        (1, None), (2, -32700), (3, -32600), (4, None)
    ]  # fmt: skip
    assert rest == b""
