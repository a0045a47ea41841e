"""Rows 76-79 of the table: what is not quite MCP, at the bridge and through the gateway."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support.gateway import Answer, GatewayUnderTest, running_gateway
from support.postgres import PostgresForTests
from support.waiting import eventually
from tmws_local.paths import free_port

MODERN, LEGACY = "2026-07-28", "2025-11-25"
TYPES = {"Content-Type": "application/json", "Accept": "application/json, text/event-stream"}


@pytest.fixture(scope="module")
def gateway(postgres: PostgresForTests, redis_url: str, short_directory: Path) -> Iterator[GatewayUnderTest]:
    """A gateway with a bridge behind it, which calls it."""
    port = free_port()
    bridge_url = f"http://127.0.0.1:{port}"
    database, folder = postgres.create_database(), short_directory / "mcp"
    limits = {"auth_enabled": "true", "rate_limit_requests": "1000000"}
    with running_gateway(database, redis_url, folder, mcp_bridge_url=bridge_url, **limits) as running:
        environment = {"PATH": os.environ["PATH"], "TMWS_URL": f"http://127.0.0.1:{running.port}"}
        command = [sys.executable, "-m", "tmws_mcp_bridge", "--http", str(port)]
        with subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL) as bridge:
            try:
                assert eventually(lambda: post(running, request("tools/list")).status == 200, timeout_s=60)
                yield running
            finally:
                bridge.terminate()


def request(method: str, request_id: Any = 1, **params: Any) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": request_id, "method": method, "params": params}


def call(name: str) -> dict[str, Any]:
    return request("tools/call", name=name, arguments={"operation": "list"})


def post(gateway: GatewayUnderTest, body: Any, version: str = LEGACY, **headers: str) -> Answer:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    sent = TYPES | {"MCP-Protocol-Version": version} | named
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return gateway.ask("POST", "/mcp", token=gateway.admin_key, body=raw, headers=sent)


def test_tools_answer_what_is_right(gateway: GatewayUnderTest) -> None:
    assert b"manage_task" in post(gateway, request("tools/list")).body


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"nonsense",
        b"[]",
        b"7",
        b'"x"',
        b"null",
        json.dumps([request("tools/list"), request("tools/list", 2)]).encode(),
        json.dumps({"jsonrpc": "1.0", "id": 1, "method": "tools/list"}).encode(),
        json.dumps({"id": 1, "method": "tools/list"}).encode(),
        json.dumps({"jsonrpc": "2.0", "id": 1}).encode(),
        json.dumps({"jsonrpc": "2.0", "id": 1, "method": 7}).encode(),
        json.dumps(request("tools/list") | {"params": "all"}).encode(),
        b"\xff\xfe",
        b'{"jsonrpc": "2.0", "id": 1, "method": "tools/list", "id": 2}',
    ],
    ids=[
        "empty", "open", "text", "list", "number", "string", "null", "batch", "version", "no version", "no method",
        "method", "params", "bytes", "twice",
    ],
)  # fmt: skip
def test_what_is_no_request_is_refused_and_opens_no_session(gateway: GatewayUnderTest, body: bytes) -> None:
    answer = post(gateway, body)
    assert 400 <= answer.status < 500
    assert "mcp-session-id" not in answer.headers


@pytest.mark.parametrize(
    "body",
    [
        request("no/such/method"),
        request("tools/call", name="no_such_tool"),
        request("resources/read", uri="file:///etc/passwd"),
        request("tools/list", "x" * 100_000),
        request("tools/list", 10**18),
        request("tools/list", {"a": 1}),
    ],
    ids=["method", "tool", "resource", "long id", "large id", "id that is none"],
)
def test_what_is_not_there_is_an_error_of_the_protocol(gateway: GatewayUnderTest, body: dict[str, Any]) -> None:
    answer = post(gateway, body)
    assert answer.status < 500
    assert "mcp-session-id" not in answer.headers
    assert b"Traceback" not in answer.body


def test_answer_that_nobody_asked_for_is_not_believed(gateway: GatewayUnderTest) -> None:
    answer = post(gateway, {"jsonrpc": "2.0", "id": 1, "result": {"action": "accept", "content": {"confirm": True}}})
    assert answer.status < 500
    assert answer.body in (b"", b"null") or b"error" in answer.body


def test_header_that_names_another_tool_than_the_body_is_malformed(gateway: GatewayUnderTest) -> None:
    meta = {
        "io.modelcontextprotocol/protocolVersion": MODERN,
        "io.modelcontextprotocol/clientInfo": {"name": "test", "version": "1"},
        "io.modelcontextprotocol/clientCapabilities": {},
    }
    body = call("manage_task")
    body["params"]["_meta"] = meta
    right = post(gateway, body, MODERN, Mcp_Method="tools/call", Mcp_Name="manage_task")
    assert right.status == 200
    for wrong in ({"Mcp_Name": "semantic_search"}, {"Mcp_Method": "tools/list"}):
        headers = {"Mcp_Method": "tools/call", "Mcp_Name": "manage_task", **wrong}
        answer = post(gateway, body, MODERN, **headers)
        assert (answer.status, answer.json["error"]["code"]) == (400, -32020)


@pytest.mark.parametrize(
    ("headers", "status"),
    [({"Host": "evil.test"}, 421), ({"Origin": "https://evil.test"}, 403), ({"Origin": "null"}, 403)],
)
def test_foreign_page_reaches_no_tool(gateway: GatewayUnderTest, headers: dict[str, str], status: int) -> None:
    assert post(gateway, request("tools/list"), **headers).status == status


def test_nobody_calls_a_tool_without_a_credential(gateway: GatewayUnderTest, stranger: str) -> None:
    body = json.dumps(request("tools/list")).encode()
    assert gateway.ask("POST", "/mcp", body=body, headers=TYPES, source=stranger).status == 401
