"""`tmws demo` shows everything and leaves nothing behind but memories."""

import re
import subprocess
import sys

import pytest

pytestmark = pytest.mark.long

PARTS = ("1. Memory", "2. Tasks", "3. A workflow", "4. Personas", "5. Audit")


@pytest.fixture(scope="module")
def first_run(shared_stack):
    shared_stack.wait_until_healthy()
    return shared_stack.run("demo")


def test_the_demo_succeeds(first_run):
    assert first_run.returncode == 0, first_run.stdout + first_run.stderr


def test_the_demo_uses_the_running_stack(first_run, stack):
    assert f"Using the stack at {stack.url} (running with" in first_run.stdout


@pytest.mark.parametrize("part", PARTS)
def test_the_demo_has_every_part(first_run, part):
    assert part in first_run.stdout


def test_the_demo_is_plain_text_of_a_hundred_columns(first_run):
    assert "\x1b" not in first_run.stdout
    assert max(map(len, first_run.stdout.splitlines())) <= 100


def test_the_demo_takes_in_a_few_hundred_passages(first_run):
    assert int(re.search(r"Took in (\d+) passages", first_run.stdout)[1]) >= 200


def test_the_demo_shows_the_agents_part(first_run):
    assert "manage_task update: took" in first_run.stdout
    assert "manage_task complete" in first_run.stdout


def test_the_demo_leaves_no_tasks_or_workflows(first_run, api):
    tasks = api.get("/api/v1/tasks", params={"label": "tmws-demo"}).json()["items"]
    workflows = api.get("/api/v1/workflows", params={"name": "TMWS demo: answer from memory"}).json()["items"]
    assert (tasks, workflows) == ([], [])


def test_a_second_run_keeps_nothing_twice(first_run, stack):
    second = stack.run("demo")
    assert second.returncode == 0, second.stdout + second.stderr
    taken = re.search(r"Took in (\d+) passages", second.stdout)[1]
    assert f"{taken} were known already" in " ".join(second.stdout.split())


def test_a_demo_that_cannot_reach_the_stack_fails_in_one_sentence(stack):
    ended = subprocess.run(
        [sys.executable, "-m", "tmws_local.cli", "demo"],
        env=stack.environment | {"TMWS_URL": "http://127.0.0.1:9"},
        cwd=stack.folder,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode == 1
    assert len(ended.stderr.splitlines()) == 1
