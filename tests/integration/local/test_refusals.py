"""What keeps the stack from starting is told in one sentence, without a traceback."""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tmws_local.paths import Paths
from tmws_local.state import hold


@pytest.fixture
def folder(short_directory: Path, request: pytest.FixtureRequest) -> Path:
    path = short_directory / request.node.name[:60]
    path.mkdir()
    return path


@pytest.fixture
def taken_port() -> Iterator[int]:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield listener.getsockname()[1]


def tmws(folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tmws_local.cli", *arguments],
        cwd=folder,
        env={"PATH": os.environ["PATH"], **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_taken_port_names_the_program(folder: Path, taken_port: int) -> None:
    result = tmws(folder, "up", TMWS_API_PORT=str(taken_port))

    assert result.returncode == 1
    holder = f"{psutil.Process().name()} (pid {os.getpid()})"
    expected = f"Port {taken_port} is taken by {holder}: stop it, or set TMWS_API_PORT to another port"
    assert result.stderr.startswith(expected)


def test_foreign_address_is_named(folder: Path) -> None:
    result = tmws(folder, "up", TMWS_API_HOST="192.0.2.1")

    assert result.stderr == "TMWS cannot listen on 192.0.2.1 port 8000: Cannot assign requested address\n"


def test_running_stack_is_not_started_twice(folder: Path) -> None:
    paths = Paths(folder / ".tmws")
    paths.make()

    with hold(paths):
        result = tmws(folder, "up")

    assert result.returncode == 1
    assert f"already running with the data directory {paths.data} (pid {os.getpid()})" in result.stderr


def test_lock_of_a_dead_supervisor_does_not_count(folder: Path) -> None:
    paths = Paths(folder / ".tmws")
    paths.make()
    paths.lock.write_text(str(os.getpid()))

    assert tmws(folder, "status").returncode == 3


def test_data_directory_that_is_a_file_is_named(folder: Path) -> None:
    (folder / "data").touch()

    result = tmws(folder, "up", TMWS_DATA_DIR="data")

    assert result.returncode == 1
    assert result.stderr.startswith(f"{folder.resolve()}/data cannot be used: ")
    assert result.stderr.count("\n") == 1


def test_data_of_a_newer_version_is_refused(folder: Path) -> None:
    (folder / ".tmws").mkdir()
    (folder / ".tmws" / "VERSION").write_text("tmws 999.1.0\n")

    result = tmws(folder, "up", TMWS_API_PORT="18999")

    assert result.returncode == 1
    assert "was last used by TMWS 999.1.0, which is newer than this one" in result.stderr


def test_production_without_auth_and_secret_names_both(folder: Path) -> None:
    result = tmws(folder, "up", TMWS_ENVIRONMENT="production")

    assert result.returncode == 78
    assert "TMWS_SECRET_KEY must have at least 32 bytes" in result.stderr
    assert "TMWS_AUTH_ENABLED must be true in production" in result.stderr


def test_unknown_setting_names_the_nearest(folder: Path) -> None:
    result = tmws(folder, "up", TMWS_API_PROT="1")

    assert result.returncode == 78
    assert "TMWS_API_PROT is not a setting of TMWS; did you mean TMWS_API_PORT?" in result.stderr


def test_settings_are_read_from_the_env_file(folder: Path) -> None:
    (folder / ".env").write_text("TMWS_API_PORT=nonsense\n")

    result = tmws(folder, "up")

    assert result.returncode == 78
    assert "TMWS_API_PORT" in result.stderr


def test_unreachable_database_is_one_sentence(folder: Path) -> None:
    result = tmws(folder, "up", TMWS_DATABASE_URL="postgresql://admin:pw@127.0.0.1:9/tmws", TMWS_API_PORT="18998")

    assert result.returncode == 1
    assert result.stderr.startswith("the database refused: connection to server at")
    assert "Traceback" not in result.stderr


def test_unknown_log_names_the_known_ones(folder: Path) -> None:
    paths = Paths(folder / ".tmws")
    paths.make()
    paths.log("task").write_text("line\n")

    result = tmws(folder, "logs", "tusk")

    assert result.stderr == f"There is no log of tusk in {paths.logs}; there are: task\n"


def test_down_without_a_stack_succeeds(folder: Path) -> None:
    result = tmws(folder, "down")

    assert (result.returncode, result.stdout) == (0, f"TMWS is not running ({folder.resolve()}/.tmws)\n")
