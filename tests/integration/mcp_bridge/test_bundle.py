"""The MCP bundle: the same bytes each time, and all that the bridge needs."""

import json
import os
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

pytestmark = pytest.mark.long

BUILD = Path(__file__).parents[3] / "mcp-bridge" / "bundle" / "build.py"
INITIALIZE = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "test", "version": "1"}}


def build(target):
    subprocess.run([sys.executable, str(BUILD), str(target)], check=True, capture_output=True)
    return target


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return build(tmp_path_factory.mktemp("bundle") / "tmws.mcpb")


@pytest.fixture(scope="module")
def unpacked(bundle):
    folder = bundle.parent / "unpacked"
    with zipfile.ZipFile(bundle) as packed:
        packed.extractall(folder)
    return folder


def test_the_same_sources_give_the_same_bytes(bundle, tmp_path):
    assert build(tmp_path / "again.mcpb").read_bytes() == bundle.read_bytes()


def test_the_manifest_says_how_to_start_it_and_hides_the_key(unpacked):
    manifest = json.loads((unpacked / "manifest.json").read_text())
    assert (manifest["manifest_version"], manifest["server"]["type"]) == ("0.4", "uv")
    assert manifest["user_config"]["token"]["sensitive"] is True
    assert {"semantic_search", "claim_task"} <= {tool["name"] for tool in manifest["tools"]}
    project = tomllib.loads((unpacked / "pyproject.toml").read_text())["project"]
    assert manifest["version"] == project["version"]


def test_the_bundle_starts_with_nothing_of_this_clone(unpacked):
    # What the user left empty may arrive as the placeholder itself.
    environment = {"PYTHONPATH": str(unpacked), "TMWS_TOKEN": "${user_config.token}", "PATH": os.environ["PATH"]}
    asked = {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": INITIALIZE}
    told = "import sys, tmws_shared.settings as s; sys.stderr.write(s.__file__)"
    where = subprocess.run([sys.executable, "-c", told], env=environment, capture_output=True, text=True, check=True)
    assert where.stderr.startswith(str(unpacked))
    with subprocess.Popen(
        [sys.executable, str(unpacked / "server.py")], env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as server:
        server.stdin.write(json.dumps(asked).encode() + b"\n")
        server.stdin.flush()
        answer = json.loads(server.stdout.readline())
        server.stdin.close()
        assert server.wait(10) == 0
    assert answer["result"]["serverInfo"]["name"] == "tmws"
