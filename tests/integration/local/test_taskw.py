"""./taskw says plainly what is missing, and does not trip over an installation that was cut off."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

pytestmark = pytest.mark.long

TASKW = Path(__file__).parents[3] / "taskw"
POSIX_TOOLS = ("sh", "dirname", "id", "mkdir", "rm", "mv", "grep", "readlink", "chmod", "sleep")
OLD_PYTHON = "#!/bin/sh\nexit 1\n"
# New enough, but every import of pip, venv or ensurepip fails.
BARE_PYTHON = "#!/bin/sh\ncase $2 in *import\\ sys*) exit 0 ;; *) exit 1 ;; esac\n"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "a folder with spaces"
    folder.mkdir()
    shutil.copy(TASKW, folder / "taskw")
    return folder


@pytest.fixture
def tools(tmp_path: Path) -> Path:
    """A PATH with the tools of POSIX and nothing else."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in POSIX_TOOLS:
        (folder / name).symlink_to(str(shutil.which(name)))
    return folder


def add_program(tools: Path, name: str, text: str) -> None:
    (tools / name).write_text(text)
    (tools / name).chmod(0o755)


def run_taskw(project: Path, path: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [project / "taskw", "up"],
        env={"PATH": str(path), "HOME": str(project), **environment},
        cwd="/",
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_missing_python_is_one_sentence(project: Path, tools: Path) -> None:
    result = run_taskw(project, tools)

    assert result.returncode == 1
    assert result.stderr == "taskw: Python 3.11 or newer is missing; install it and run this again\n"


def test_old_python_counts_as_missing(project: Path, tools: Path) -> None:
    add_program(tools, "python3", OLD_PYTHON)

    result = run_taskw(project, tools)

    assert "Python 3.11 or newer is missing" in result.stderr


def test_python_without_pip_and_venv_is_named(project: Path, tools: Path) -> None:
    add_program(tools, "python3", BARE_PYTHON)

    result = run_taskw(project, tools)

    assert result.returncode == 1
    assert result.stderr.startswith(f"taskw: {tools}/python3 has neither pip nor venv; install one (on Debian:")
    assert result.stderr.count("\n") == 1


def test_unreachable_index_is_one_sentence(project: Path) -> None:
    result = run_taskw(
        project,
        Path(os.defpath),
        PATH=os.environ["PATH"],
        PIP_INDEX_URL="http://127.0.0.1:9/simple",
        UV_INDEX_URL="http://127.0.0.1:9/simple",
        UV_HTTP_RETRIES="0",
        UV_NO_CACHE="1",
        PIP_NO_CACHE_DIR="1",
    )

    assert result.returncode == 1
    assert result.stderr.splitlines()[-1].startswith("taskw: uv and go-task could not be installed: is the network")


def test_failed_installation_leaves_nothing_half_done(project: Path) -> None:
    run_taskw(
        project,
        Path(os.defpath),
        PATH=os.environ["PATH"],
        PIP_INDEX_URL="http://127.0.0.1:9/simple",
        UV_INDEX_URL="http://127.0.0.1:9/simple",
        UV_HTTP_RETRIES="0",
    )

    assert [entry.name for entry in (project / ".task").iterdir()] == ["install.log"]


def test_leftover_of_a_killed_installation_is_removed(project: Path, tools: Path) -> None:
    add_program(tools, "python3", OLD_PYTHON.replace("exit 1", 'case "$*" in *pip\\ install*) exit 1 ;; esac'))
    leftover = project / ".task" / "new-999999999"
    leftover.mkdir(parents=True)

    run_taskw(project, tools)

    assert not leftover.exists()


def test_installed_tools_are_used_without_looking_for_python(project: Path, tools: Path) -> None:
    text = TASKW.read_text()
    versions = [
        line.partition("=")[2] for line in text.splitlines() if line.startswith(("UV_VERSION=", "TASK_VERSION="))
    ]
    installed = project / ".task" / f"tools-{versions[0]}-{versions[1]}" / "bin"
    installed.mkdir(parents=True)
    add_program(installed, "task", '#!/bin/sh\necho "task $*"\n')

    result = subprocess.run(
        [project / "taskw", "test", "--", "-k", "a b"],
        env={"PATH": str(tools)},
        capture_output=True,
        text=True,
        check=False,
    )

    assert result.stdout == f"task --exit-code --dir {project} test -- -k a b\n"
