"""Turns the process table and the settings into the units that the supervisor keeps."""

from __future__ import annotations

import signal
from collections.abc import Awaitable, Callable
from functools import partial

from tmws_local import probe
from tmws_local.command import Command
from tmws_local.configuration import Configuration
from tmws_local.keeper import Unit
from tmws_local.paths import HAS_UNIX_SOCKETS
from tmws_local.postgres import Postgres
from tmws_local.redis import Redis, find_server
from tmws_local.roles import SERVICES, apply_roles, derived_password, ensure_database, role_url
from tmws_local.secrets import secret_file
from tmws_local.stack import GATEWAY, POSTGRES, REDIS, STACK, Addresses, Process, command_line, environment

DATABASE = "tmws"
_CALLED = frozenset(name for process in STACK for name in process.upstreams)


class Embedded:
    """The parts of one stack: servers of our own, or those that the settings name."""

    def __init__(self, configuration: Configuration) -> None:
        self.configuration = configuration
        self.postgres = None if self._given_database else self._own_postgres()
        self.redis = None if self._given_redis else self._own_redis()
        self.addresses = self._addresses()

    @property
    def _given_database(self) -> str:
        return self.configuration.settings.database_url.get_secret_value()

    @property
    def _given_redis(self) -> str:
        return self.configuration.settings.redis_url.get_secret_value()

    @property
    def admin_url(self) -> str:
        """The URL that schemas and roles are made with."""
        return self._given_database or (self.postgres.url(DATABASE) if self.postgres else "")

    @property
    def is_without_redis(self) -> bool:
        """Whether there is no Redis at all."""
        return self.addresses.redis is None

    def units(self) -> list[Unit]:
        """Return everything to keep running, stores first."""
        stores = [*self._postgres_unit(), *self._redis_unit()]
        present = {unit.name for unit in stores}
        return [*stores, *(self._service_unit(process, present) for process in STACK)]

    def settle_database(self) -> None:
        """Make the database, its schemas and roles."""
        if self.postgres is not None:
            ensure_database(self.postgres.url("postgres"), DATABASE)
        apply_roles(self.admin_url, self.configuration.secret)

    def environment(self, name: str) -> dict[str, str]:
        """Return the environment of the named process."""
        process = next(process for process in STACK if process.name == name)
        return environment(process, self.configuration, self.addresses)

    def _own_postgres(self) -> Postgres:
        paths = self.configuration.paths
        # Its own secret file, whatever TMWS_SECRET_KEY says: the cluster keeps the password it was made with.
        password = derived_password(secret_file(paths.secret), "admin")
        return Postgres(paths.postgres, paths.sockets / "postgres", password)

    def _own_redis(self) -> Redis | None:
        binary = find_server() if HAS_UNIX_SOCKETS else None
        paths = self.configuration.paths
        return Redis(binary, paths.redis, paths.sockets / "redis.sock") if binary else None

    def _addresses(self) -> Addresses:
        names = [process.name for process in STACK if process.name != GATEWAY]
        return Addresses(
            services={name: self.configuration.paths.address(name) for name in names},
            databases={name: role_url(self.admin_url, self.configuration.secret, name) for name in SERVICES},
            redis=self._given_redis or (self.redis.url if self.redis else None),
        )

    def _postgres_unit(self) -> list[Unit]:
        if self.postgres is None:
            return []
        return [
            Unit(
                POSTGRES,
                command=self.postgres.command,
                is_ready=_async(self.postgres.is_ready),
                log=self.configuration.paths.log(POSTGRES),
                prepare=self.postgres.prepare,
                settle=self.settle_database,
                stop_signal=signal.SIGINT,  # fast shutdown: SIGTERM would wait for every connection
                holds_stdin=False,
            )
        ]

    def _redis_unit(self) -> list[Unit]:
        if self.redis is None:
            return []
        return [
            Unit(
                REDIS,
                command=self.redis.command,
                is_ready=_async(self.redis.is_ready),
                log=self.configuration.paths.log(REDIS),
                prepare=self.redis.prepare,
                holds_stdin=False,
            )
        ]

    def _service_unit(self, process: Process, stores: set[str]) -> Unit:
        settings = self.configuration.settings
        address = settings.public_url if process.name == GATEWAY else self.addresses.services[process.name]
        return Unit(
            process.name,
            command=lambda: Command(command_line(process, self.addresses), self.environment(process.name)),
            is_ready=partial(probe.is_ok, address, "/readyz"),
            log=self.configuration.paths.log(process.name),
            needs=tuple(name for name in process.needs if name in stores),
            # Only what nobody calls starts work by itself; once it has stopped, the services stop all at once.
            calls=() if process.name in _CALLED else process.upstreams,
        )


def _async(check: Callable[[], bool]) -> Callable[[], Awaitable[bool]]:
    async def checked() -> bool:
        return check()

    return checked
