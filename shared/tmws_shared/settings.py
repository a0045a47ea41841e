"""Settings from the environment: frozen, typed, described; every problem is told at once."""

from __future__ import annotations

import difflib
import math
import os
from collections import Counter
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal, Self, cast
from urllib.parse import parse_qs, urlsplit

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError

PREFIX = "TMWS_"
EXIT_CONFIGURATION = 78  # EX_CONFIG of sysexits.h
SECRET_MIN_BYTES = 32
SECRET_MIN_BITS_PER_BYTE = 3.0
LOOPBACK = frozenset({"", "localhost", "127.0.0.1", "::1"})
PLACEHOLDERS = (
    "change",
    "secret",
    "password",
    "example",
    "placeholder",
    "insecure",
    "default",
    "your-",
    "xxxx",
    "<",
)
DEFAULT_PASSWORDS = frozenset({"", "pass", "password", "postgres", "tmws", "admin", "secret", "changeme"})


class ConfigurationError(Exception):
    """The settings are wrong; `problems` has a line for each thing to mend."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems


class Settings(BaseModel):
    """What every process of TMWS is told by its environment."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    environment: Literal["development", "staging", "production"] = Field(
        "development", description="where this runs; staging and production refuse unsafe settings"
    )
    secret_key: SecretStr = Field(
        SecretStr(""),
        description="the secret all internal keys are derived from, at least 32 bytes; the same for all processes",
    )
    database_url: SecretStr = Field(SecretStr(""), description="PostgreSQL URL of this process's own role")
    redis_url: SecretStr = Field(SecretStr(""), description="Redis URL; empty runs without Redis")
    auth_enabled: bool = Field(False, description="whether callers must show an API key or a token")
    listen: str = Field(
        "http://127.0.0.1:8100",
        description="where a service listens: unix:///path.sock or http://host:port",
    )
    data_dir: Path = Field(Path(".tmws"), description="folder for files that outlive the process")
    exit_with_stdin: bool = Field(False, description="drain and exit when standard input ends")
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="least severe log record written"
    )

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] | None = None) -> Self:
        """Read the settings; a value may come from the file that `<NAME>_FILE` names.

        Raises:
            ConfigurationError: a value is missing, wrong, unsafe or has an unknown name.
        """
        environ = os.environ if environ is None else environ
        problems = unknown_names(environ)
        values = {}
        for field in cls.model_fields:
            try:
                value = _read_value(environ, PREFIX + field.upper())
            except OSError as error:
                problems.append(f"{PREFIX}{field.upper()}_FILE cannot be read: {error.strerror}")
                continue
            if value is not None:
                values[field] = value
        try:
            settings = cls.model_validate(values)
        except ValidationError as error:
            problems += [_explain(cast("dict[str, Any]", item)) for item in error.errors(include_input=False)]
            raise ConfigurationError(problems) from None
        problems += settings.unsafe()
        if problems:
            raise ConfigurationError(problems)
        return settings

    @property
    def is_guarded(self) -> bool:
        """Whether unsafe settings are refused here."""
        return self.environment != "development"

    def unsafe(self) -> list[str]:
        """Return a line for each setting that is not safe in this environment."""
        problems = secret_problems(self.secret_key.get_secret_value(), strict=self.is_guarded)
        if not self.is_guarded:
            return problems
        if not self.auth_enabled:
            problems.append(f"TMWS_AUTH_ENABLED must be true in {self.environment}")
        return (
            problems
            + database_problems(self.database_url.get_secret_value())
            + redis_problems(self.redis_url.get_secret_value())
        )


class DatabaseSettings(Settings):
    """The settings of a process that keeps something."""

    def unsafe(self) -> list[str]:
        """Return a line for each setting that is missing, or not safe in this environment."""
        url = self.database_url.get_secret_value()
        is_usable = urlsplit(url).scheme in {"postgresql", "postgres"}
        missing = [] if is_usable else ["TMWS_DATABASE_URL must be postgresql://user:password@host:port/database"]
        return missing + super().unsafe()


def _read_value(environ: Mapping[str, str], name: str) -> str | None:
    path = environ.get(f"{name}_FILE")
    if path:
        return Path(path).read_text(encoding="utf-8").strip()
    return environ.get(name) or None


def _explain(error: dict[str, Any]) -> str:
    name = PREFIX + "_".join(str(part) for part in error["loc"]).upper()
    return f"{name}: {error['msg']}"


def known_names() -> frozenset[str]:
    """Return every `TMWS_*` name that some part of TMWS reads."""
    listing = files("tmws_shared").joinpath("settings_names.txt").read_text(encoding="utf-8")
    return frozenset(listing.split())


def unknown_names(environ: Mapping[str, str]) -> list[str]:
    """Return a line for each `TMWS_*` name nobody reads, with the nearest known one."""
    known = known_names()
    problems: list[str] = []
    for name in sorted(environ):
        if not name.startswith(PREFIX) or name.removesuffix("_FILE") in known or name in known:
            continue
        near = difflib.get_close_matches(name, known, n=1)
        problems.append(f"{name} is not a setting of TMWS" + (f"; did you mean {near[0]}?" if near else ""))
    return problems


def secret_problems(secret: str, *, strict: bool) -> list[str]:
    """Return what is wrong with the secret; outside development also when it is easy to guess."""
    if len(secret.encode()) < SECRET_MIN_BYTES:
        return [f"TMWS_SECRET_KEY must have at least {SECRET_MIN_BYTES} bytes"]
    if strict and (
        _bits_per_byte(secret) < SECRET_MIN_BITS_PER_BYTE or any(word in secret.lower() for word in PLACEHOLDERS)
    ):
        return ["TMWS_SECRET_KEY is a placeholder or easy to guess; make one with: openssl rand -base64 48"]
    return []


def _bits_per_byte(secret: str) -> float:
    """Shannon entropy of the secret's own letters."""
    counts = Counter(secret.encode())
    total = counts.total()
    return -sum(n / total * math.log2(n / total) for n in counts.values())


def database_problems(url: str) -> list[str]:
    """Return what makes a database URL unfit for staging and production."""
    if not url:
        return []
    parts = urlsplit(url)
    query = parse_qs(parts.query)
    problems: list[str] = []
    if (parts.password or "") in DEFAULT_PASSWORDS and "passfile" not in query:
        problems.append("TMWS_DATABASE_URL has no password or a default one")
    is_local = (parts.hostname or "") in LOOPBACK or query.get("host", [""])[0].startswith("/")
    if not is_local and query.get("sslmode", [""])[0] not in {
        "require",
        "verify-ca",
        "verify-full",
    }:
        problems.append("TMWS_DATABASE_URL reaches a remote host without TLS; add sslmode=require or verify-full")
    return problems


def redis_problems(url: str) -> list[str]:
    """Return what makes a Redis URL unfit for staging and production."""
    parts = urlsplit(url)
    if not url or parts.scheme == "unix" or (parts.hostname or "") in LOOPBACK or parts.password:
        return []
    return ["TMWS_REDIS_URL reaches a remote host without a password"]
