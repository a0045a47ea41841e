"""The embedded PostgreSQL starts from whatever an earlier run left behind."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from support.postgres import start, wait_until
from tmws_local.errors import UnusableDirectory
from tmws_local.postgres import Postgres
from tmws_local.roles import ensure_database, run_sql

pytestmark = pytest.mark.long

STOP_S = 15.0


class Life:
    """A cluster and the server processes that ran on it, in a folder closed to everyone but us, as root's home is."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True)
        folder.parent.chmod(0o700)
        folder.chmod(0o700)
        self.folder = folder
        self.server = Postgres(folder / "postgres", folder / "run", "p@ss /?#%'\\word")
        self.processes: list[subprocess.Popen[bytes]] = []

    def run(self) -> psutil.Process:
        self.server.prepare()
        process = start(self.server.command(), self.folder / "log")
        self.processes.append(process)
        wait_until(self.server.is_ready, process, self.folder / "log")
        return psutil.Process(process.pid)

    def end(self) -> None:
        self.server.stop_leftover()
        for process in self.processes:
            process.wait(STOP_S)

    def ask(self, sql: str, database: str = "postgres") -> str:
        return run_sql(self.server.url(database), sql)


@pytest.fixture(scope="module")
def running(short_directory: Path) -> Iterator[Life]:
    life = Life(short_directory / "closed" / "running")
    life.run()
    yield life
    life.end()


@pytest.fixture
def life(short_directory: Path, request: pytest.FixtureRequest) -> Iterator[Life]:
    life = Life(short_directory / "closed" / request.node.name[:48])
    yield life
    life.end()


def test_it_runs_in_a_closed_folder_with_any_password(running: Life) -> None:
    assert running.ask("SELECT 1") == "1"


def test_it_never_runs_as_root(running: Life) -> None:
    assert 0 not in psutil.Process(running.processes[0].pid).uids()


def test_it_listens_on_no_port(running: Life) -> None:
    assert psutil.Process(running.processes[0].pid).net_connections("inet") == []


def test_its_socket_and_files_are_private(running: Life) -> None:
    modes = [oct(path.stat().st_mode & 0o777) for path in (running.server.cluster, running.server.sockets)]

    assert modes == ["0o700", "0o700"]


def test_it_asks_for_the_password(running: Life) -> None:
    assert running.ask("SELECT DISTINCT auth_method FROM pg_hba_file_rules") == "scram-sha-256"


@pytest.mark.parametrize("setting", ["fsync", "synchronous_commit", "full_page_writes", "data_checksums"])
def test_it_keeps_what_was_committed(running: Life, setting: str) -> None:
    assert running.ask(f"SHOW {setting}") == "on"


def test_leftover_of_a_killed_first_start_does_not_matter(life: Life) -> None:
    (life.folder / "postgres.new-1234" / "cluster").mkdir(parents=True)

    life.run()

    assert not list(life.folder.glob("postgres.new-*"))


def test_server_that_outlived_its_supervisor_is_replaced(life: Life) -> None:
    first = life.run()
    ensure_database(life.server.url("postgres"), "kept")

    second = life.run()

    assert second.pid != first.pid
    assert life.ask("SELECT current_database()", "kept") == "kept"


def test_killed_server_starts_again_with_its_data(life: Life) -> None:
    first = life.run()
    ensure_database(life.server.url("postgres"), "kept")
    first.kill()
    life.processes[0].wait(STOP_S)

    life.run()

    assert life.ask("SELECT current_database()", "kept") == "kept"


def test_pid_file_that_names_a_stranger_does_not_matter(life: Life) -> None:
    life.server.prepare()
    (life.server.cluster / "postmaster.pid").write_text(f"{os.getpid()}\n{life.server.cluster}\n1\n5432\n\n\n\nready\n")

    life.run()

    assert life.ask("SELECT 1") == "1"


def test_cluster_of_another_major_version_is_refused(life: Life) -> None:
    life.server.cluster.mkdir()
    (life.server.cluster / "PG_VERSION").write_text("17\n")

    with pytest.raises(UnusableDirectory, match="was made by PostgreSQL 17 and this TMWS brings PostgreSQL 18"):
        life.server.prepare()


def test_folder_with_something_else_is_refused(life: Life) -> None:
    life.server.cluster.mkdir()
    (life.server.cluster / "holiday.jpg").touch()

    with pytest.raises(UnusableDirectory, match="holds something that is not a PostgreSQL cluster"):
        life.server.prepare()
