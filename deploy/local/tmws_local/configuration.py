"""What the stack is told: the environment, a `.env` file beside it, and its own defaults."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from pydantic import Field

from tmws_local.errors import ConfigurationRefused
from tmws_local.paths import Paths
from tmws_local.secrets import secret_file
from tmws_shared.settings import ConfigurationError, Settings

_OURS = ("TMWS_", "OTEL_")
_LOOPBACK_ONLY_DEFAULTS = {"TMWS_RATE_LIMIT_REQUESTS": "6000", "TMWS_RATE_LIMIT_PERIOD": "60"}
_WILDCARDS = {"0.0.0.0", "::", ""}  # noqa: S104 - recognised, not bound


class StackSettings(Settings):
    """The settings that the stack itself reads; its processes read their own."""

    api_host: str = Field("127.0.0.1", description="address the gateway listens on")
    api_port: int = Field(8000, ge=1, le=65535, description="port the gateway listens on")

    @property
    def public_url(self) -> str:
        """The URL that a person on this machine opens."""
        host = "127.0.0.1" if self.api_host in _WILDCARDS else self.api_host
        return f"http://[{host}]:{self.api_port}" if ":" in host else f"http://{host}:{self.api_port}"


class Configuration:
    """The settings and the variables that the processes get."""

    def __init__(self, variables: Mapping[str, str], paths: Paths, settings: StackSettings) -> None:
        self.variables = dict(variables)
        self.paths = paths
        self.settings = settings

    @property
    def secret(self) -> str:
        """The secret all processes share."""
        return self.settings.secret_key.get_secret_value()

    @classmethod
    def load(cls, environ: Mapping[str, str], folder: Path) -> Self:
        """Read the environment and `folder/.env`; the environment wins.

        Makes the data directory and, in development, its secret.

        Raises:
            ConfigurationRefused: names everything that is wrong.
        """
        variables = read_variables(environ, folder)
        paths = data_paths(variables, folder)
        variables["TMWS_DATA_DIR"] = str(paths.data)
        paths.make()
        if variables.get("TMWS_ENVIRONMENT", "development") == "development":
            variables = _LOOPBACK_ONLY_DEFAULTS | variables
            if not {"TMWS_SECRET_KEY", "TMWS_SECRET_KEY_FILE"} & variables.keys():
                secret_file(paths.secret)
                variables["TMWS_SECRET_KEY_FILE"] = str(paths.secret)
        return cls(variables, paths, _validated(variables))


def read_variables(environ: Mapping[str, str], folder: Path) -> dict[str, str]:
    """Return the TMWS_* and OTEL_* variables of `folder/.env` and the environment, without empty ones."""
    try:
        text = (folder / ".env").read_text(encoding="utf-8")
    except FileNotFoundError:
        text = ""
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationRefused(f"{folder / '.env'} cannot be read: {error}") from None
    merged = parse_env_file(text) | dict(environ)
    return {name: value for name, value in merged.items() if name.startswith(_OURS) and value}


def parse_env_file(text: str) -> dict[str, str]:
    """Return the NAME=value lines; quotes around a value and a leading `export` are dropped."""
    values: dict[str, str] = {}
    for line in text.splitlines():
        name, equals, value = line.strip().removeprefix("export ").partition("=")
        if not equals or name.startswith("#"):
            continue
        values[name.strip()] = _unquoted(value.strip())
    return values


def _unquoted(value: str) -> str:
    if len(value) > 1 and value[0] == value[-1] and value[0] in "\"'":
        return value[1:-1]
    return value.partition(" #")[0].rstrip()


def data_paths(variables: Mapping[str, str], folder: Path) -> Paths:
    """Return the paths of the data directory that the variables name."""
    return Paths((folder / Path(variables.get("TMWS_DATA_DIR", ".tmws")).expanduser()).resolve())


def _validated(variables: dict[str, Any]) -> StackSettings:
    try:
        return StackSettings.from_environment(variables)
    except ConfigurationError as error:
        raise ConfigurationRefused("The settings are wrong:\n  - " + "\n  - ".join(error.problems)) from None
