"""Requests that Schemathesis makes up from the one OpenAPI document, right ones and wrong ones: none is our fault.

A run is repeated with the seed that it prints: `SCHEMATHESIS_SEED=… ./taskw test:security -- -k made_up`.
"""

import os
import re
import secrets
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.stack import Stack, running_stack

pytestmark = [pytest.mark.long, pytest.mark.timeout(300)]

SEED = os.environ.get("SCHEMATHESIS_SEED", str(secrets.randbelow(2**31)))
# One never ends; the others would end the key that asks.
LEFT_OUT = ("follow_events", "revoke_key", "rotate_key")
TIMEOUT_S = 240


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    with running_stack(TMWS_AUTH_ENABLED="true", TMWS_RATE_LIMIT_REQUESTS="1000000") as running:
        yield running


def run(stack: Stack, folder: Path, *options: str) -> str:
    """Return what Schemathesis says; it must not have seen a status of 5xx, nor a broken connection."""
    command = [
        sys.executable, "-m", "schemathesis.cli", "run", f"{stack.url}/openapi.json", "--seed", SEED,
        "--header", f"Authorization: Bearer {stack.key}", "--checks", "not_a_server_error",
        "--request-timeout", "40", "--suppress-health-check", "all", "--warnings", "off", "--continue-on-failure",
        *(f"--exclude-operation-id={name}" for name in LEFT_OUT), *options,
    ]  # fmt: skip
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    return done.stdout


def count(name: str, report: str) -> int:
    """Return a number of the report."""
    found = re.search(name, report)
    assert found is not None, report
    return int(found[1])


@pytest.mark.parametrize(("phase", "each"), [("coverage", 30), ("fuzzing", 2)])
def test_no_request_by_itself_is_a_server_error(stack: Stack, tmp_path: Path, phase: str, each: int) -> None:
    """The edges of each field, inside and outside, one after the other; then anything."""
    report = run(stack, tmp_path, "--phases", phase, "--mode", "all", "--max-examples", "3")
    operations = count(r"Tested: (\d+)", report)
    assert operations > 90
    assert count(r"(\d+) generated", report) > each * operations


def test_no_request_that_follows_from_others_is_a_server_error(stack: Stack, tmp_path: Path) -> None:
    """What one answer names is what the next request is about; which links it finds and follows differs by the seed."""
    limits = ("--max-examples", "200", "--max-time", "30")
    report = run(stack, tmp_path, "--phases", "stateful", "--mode", "positive", *limits)
    assert count(r"API Links: +(\d+) covered", report) > 5
    assert count(r"(\d+) generated", report) > 500


def test_nothing_was_logged_as_an_error(stack: Stack) -> None:
    logs = {path.name: path.read_text(errors="replace") for path in (stack.paths.data / "logs").glob("*.log")}
    assert len(logs) > 8
    assert {name: text for name, text in logs.items() if "unhandled error" in text} == {}
