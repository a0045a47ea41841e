"""Verification and export of the audit log, over HTTP and on the command line."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from support.gateway import GatewayUnderTest
from tmws_gateway.audit.__main__ import main
from tmws_gateway.audit.offline import check_export


def change(gateway: GatewayUnderTest, count: int = 1, **fields: Any) -> list[str]:
    """Make changes and return the ids of their requests."""
    made = [gateway.ask("POST", "/api/v1/tasks", json={"title": "audited", **fields}) for _ in range(count)]
    return [answer.headers["x-request-id"] for answer in made]


def run(gateway: GatewayUnderTest, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tmws_gateway.audit", *arguments],
        env=dict(gateway.environments["gateway"]), capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip


def test_chain_of_a_running_gateway_is_intact(gateway: GatewayUnderTest) -> None:
    change(gateway, 3)
    gateway.ask("GET", "/api/v1/audit")
    found = gateway.ask("GET", "/api/v1/audit/verify").json
    assert found["intact"] is True
    assert found["checked_to"] == found["head"] >= 3
    assert found["checkpoints"] >= 2


def test_check_goes_on_with_next(gateway: GatewayUnderTest) -> None:
    change(gateway, 3)
    gateway.ask("GET", "/api/v1/audit")
    first = gateway.ask("GET", "/api/v1/audit/verify?limit=2").json
    rest = gateway.ask("GET", f"/api/v1/audit/verify?after={first['next']}").json
    assert (first["checked_to"], first["next"]) == (2, 2)
    assert (rest["after"], rest["intact"], rest["next"]) == (2, True, None)


def test_check_says_which_parameter_is_wrong(gateway: GatewayUnderTest) -> None:
    for query in ("after=999999999", "after=-1", "after=9223372036854775808"):
        assert gateway.ask("GET", f"/api/v1/audit/verify?{query}").pointers == ["?after"]
    assert gateway.ask("GET", "/api/v1/audit/verify?limit=10001").pointers == ["?limit"]


def test_export_has_what_the_filter_asks_for_and_is_signed(gateway: GatewayUnderTest) -> None:
    wanted, _ = change(gateway, 2)
    exported = gateway.ask("GET", f"/api/v1/audit/export?request_id={wanted}")
    assert exported.headers["content-type"] == "application/x-ndjson"
    lines = exported.body.splitlines(keepends=True)
    assert [json.loads(line)["event"]["request_id"] for line in lines[:-1]] == [wanted]
    key = bytes.fromhex(gateway.ask("GET", "/api/v1/audit/verify").json["public_key"])
    assert check_export(lines, key).records == 1


def test_same_value_has_the_same_digest(gateway: GatewayUnderTest) -> None:
    ids = [*change(gateway, 2, priority="high"), *change(gateway, 1, priority="low")]
    pages = [gateway.ask("GET", f"/api/v1/audit?request_id={number}").json["items"][0] for number in ids]
    fields = [dict(zip(page["changed_fields"], page["field_digests"], strict=True)) for page in pages]
    assert fields[0] == fields[1]
    assert fields[0]["title"] == fields[2]["title"]
    assert fields[0]["priority"] != fields[2]["priority"]


def test_key_changes_of_the_command_line_are_chained(gateway: GatewayUnderTest) -> None:
    made = subprocess.run(
        [sys.executable, "-m", "tmws_gateway.keys", "create", "--name", "by hand", "--scopes", "task:read"],
        env=dict(gateway.environments["gateway"]), capture_output=True, text=True, check=True,
    )  # fmt: skip
    key_id = made.stdout.split("_")[1]
    page = gateway.ask("GET", f"/api/v1/audit?resource=/api/v1/keys/{key_id}").json["items"]
    assert [(record["action"], record["address"]) for record in page] == [("key.created", "command line")]


def test_command_line_verifies_the_chain(gateway: GatewayUnderTest) -> None:
    change(gateway)
    gateway.ask("GET", "/api/v1/audit")
    done = run(gateway, "verify")
    assert (done.returncode, done.stdout[:8], done.stderr) == (0, "intact: ", "")


def test_command_line_exports_what_it_verifies_without_a_database(
    gateway: GatewayUnderTest, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    change(gateway, 3)
    gateway.ask("GET", "/api/v1/audit")
    exported = run(gateway, "export", "--namespace", "default", "--since", "2026-01-01").stdout
    path = tmp_path / "export.ndjson"
    path.write_text(exported)
    public_key = gateway.ask("GET", "/api/v1/audit/verify").json["public_key"]
    assert main(["verify", "--file", str(path), "--public-key", public_key]) == 0
    assert capsys.readouterr().out == f"intact: {exported.count(chr(10)) - 1} records, signed by {public_key}\n"
    path.write_text(exported.replace('"status":201', '"status":200', 1))
    assert main(["verify", "--file", str(path)]) == 1
    assert capsys.readouterr().out.startswith("edited: ")
    assert main(["verify", "--file", str(tmp_path / "none")]) == 2
