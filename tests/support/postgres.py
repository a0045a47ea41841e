"""A real PostgreSQL for tests: one embedded server per test session, a fresh database whenever asked.

    def test_something(postgres):                          # session fixture, from tests/conftest.py
        database = postgres.create_database()              # about 40 ms; schemas, roles, vector are there
        database.for_service("task")                       # URL of role tmws_task, for TMWS_DATABASE_URL or asyncpg
        database.admin                                     # URL of the superuser
        postgres.drop_database(database)                   # optional: the server goes with the session

A service migrates its own schema. To migrate once and clone the result for each test or module, give
`create_database` a function that migrates; it runs once per session for each `template` name:

    @pytest.fixture(scope="module")
    def database(postgres):
        return postgres.create_database(template="task", prepare=lambda urls: migrate(urls.for_service("task")))

`prepare` must close its connections. The server runs without fsync; nothing else differs from the
stack of `tmws up`, and the roles come from deploy/postgres/roles.sql.
"""

import itertools
import signal
import subprocess
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from tmws_local.command import Command
from tmws_local.postgres import Postgres
from tmws_local.roles import SERVICES, apply_roles, ensure_database, role, role_url, run_sql

SECRET = "a secret of the test session, 32 bytes or more"
READY_TIMEOUT_S = 30.0
UNSAFE_BUT_FAST = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}


@dataclass(frozen=True)
class DatabaseUrls:
    """The URLs of one database, by who logs in."""

    name: str
    admin: str

    def for_service(self, service: str) -> str:
        """Return the URL of the service's own role."""
        return role_url(self.admin, SECRET, service)


class PostgresForTests:
    """A running server that makes databases."""

    def __init__(self, directory: Path, configuration: Mapping[str, str] = UNSAFE_BUT_FAST) -> None:
        self._server = Postgres(directory / "postgres", directory / "sockets", "admin", configuration)
        self._log = directory / "postgres.log"
        self._process: subprocess.Popen[bytes] | None = None
        self._numbers = itertools.count(1)
        self._templates: set[str] = set()

    @property
    def admin_url(self) -> str:
        """Return the superuser's URL of the maintenance database."""
        return self._server.url("postgres")

    def start(self) -> None:
        """Start the server and make the template of all databases."""
        self._server.prepare()
        self._process = start(self._server.command(), self._log)
        wait_until(self._server.is_ready, self._process, self._log)
        self._template("tmws_template", apply_to_admin, None)

    def stop(self) -> None:
        """Stop the server at once; nobody reads its data again."""
        if self._process is not None:
            self._process.send_signal(signal.SIGQUIT)
            self._process.wait(READY_TIMEOUT_S)

    def kill(self) -> None:
        """Kill the server and all its processes with SIGKILL; `start` brings it back, with what it had flushed."""
        if self._process is not None:
            postmaster = psutil.Process(self._process.pid)
            for process in (postmaster, *postmaster.children(recursive=True)):
                with suppress(psutil.NoSuchProcess):
                    process.kill()
            self._process.wait(READY_TIMEOUT_S)

    def create_database(
        self, template: str | None = None, prepare: Callable[[DatabaseUrls], None] | None = None
    ) -> DatabaseUrls:
        """Return a fresh database, cloned from what `prepare` made once under the name `template`."""
        source = "tmws_template"
        if template is not None and prepare is not None:
            source = f"tmws_template_{template}"
            self._template(source, prepare, "tmws_template")
        return self._clone(f"tmws_test_{next(self._numbers)}", source)

    def create_empty_database(self) -> DatabaseUrls:
        """Return a fresh database in which roles.sql has not run."""
        name = f"tmws_empty_{next(self._numbers)}"
        ensure_database(self.admin_url, name)
        return DatabaseUrls(name, self._server.url(name))

    def drop_database(self, database: DatabaseUrls) -> None:
        """Drop the database and end every connection to it."""
        run_sql(self.admin_url, f'DROP DATABASE IF EXISTS "{database.name}" WITH (FORCE)')

    def _template(self, name: str, prepare: Callable[[DatabaseUrls], None], source: str | None) -> None:
        if name in self._templates:
            return
        if source is None:
            ensure_database(self.admin_url, name)
            prepare(DatabaseUrls(name, self._server.url(name)))
        else:
            prepare(self._clone(name, source))
        self._templates.add(name)

    def _clone(self, name: str, source: str) -> DatabaseUrls:
        # A clone gets the contents of its source, not its grants.
        roles = ", ".join(role(service) for service in SERVICES)
        run_sql(
            self.admin_url,
            f'CREATE DATABASE "{name}" TEMPLATE "{source}";'
            f'REVOKE ALL ON DATABASE "{name}" FROM PUBLIC; GRANT CONNECT ON DATABASE "{name}" TO {roles};',
        )
        return DatabaseUrls(name, self._server.url(name))


def apply_to_admin(urls: DatabaseUrls) -> None:
    """Run deploy/postgres/roles.sql in the database."""
    apply_roles(urls.admin, SECRET)


def start(command: Command, log: Path) -> subprocess.Popen[bytes]:
    """Start a server whose output goes to `log`; it stops when this process dies."""
    with log.open("ab") as output:
        return subprocess.Popen[bytes](
            command.argv,
            **command.options,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )


def wait_until(is_ready: Callable[[], bool], process: subprocess.Popen[bytes], log: Path) -> None:
    """Wait until the server is ready, or fail with what it said last."""
    deadline = time.monotonic() + READY_TIMEOUT_S
    while not is_ready():
        if process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"{process.args} did not become ready:\n{log.read_text()[-2000:]}")
        time.sleep(0.01)
