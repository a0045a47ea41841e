"""Schemas and roles in the database: who may log in, with which password, through which URL."""

from __future__ import annotations

import hashlib
import hmac
from pathlib import Path
from urllib.parse import parse_qsl, quote, unquote, urlsplit, urlunsplit

from tmws_local.command import Command, bare_environment, first_error, run
from tmws_local.errors import StackError
from tmws_local.postgres import binaries

SERVICES = ("gateway", "memory", "persona", "task", "workflow")
ROLES_SQL = Path(__file__).parents[2] / "postgres" / "roles.sql"
_CONNECT_TIMEOUT_S = "5"
_ENSURE_DATABASE = r"""
SELECT format('CREATE DATABASE %I', :'name') WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = :'name') \gexec
"""


def role(service: str) -> str:
    """Return the name of the role a service logs in with."""
    return f"tmws_{service}"


def derived_password(secret: str, name: str) -> str:
    """Return the password of a role: HMAC-SHA-256 of its name under the secret, so none needs storing."""
    return hmac.new(secret.encode(), f"postgres role {name}".encode(), hashlib.sha256).hexdigest()


def role_url(admin_url: str, secret: str, service: str) -> str:
    """Return the URL that a service reaches the admin URL's database with."""
    parts = urlsplit(admin_url)
    address = parts.netloc.rpartition("@")[2]
    login = f"{role(service)}:{derived_password(secret, role(service))}"
    # libpq's own parameters would override the login.
    kept = "&".join(f"{k}={quote(v, safe='/')}" for k, v in parse_qsl(parts.query) if k not in {"user", "password"})
    return urlunsplit(("postgresql", f"{login}@{address}", parts.path, kept, ""))


def apply_roles(admin_url: str, secret: str) -> None:
    """Make or renew schemas, roles and the extension in the admin URL's database.

    Raises:
        StackError: the server cannot be reached, or refuses.
    """
    if not ROLES_SQL.is_file():
        raise StackError(f"{ROLES_SQL} is missing: run TMWS from its repository")
    passwords = [f"-c tmws.{name}_password={derived_password(secret, role(name))}" for name in SERVICES]
    run_sql(admin_url, ROLES_SQL.read_text(encoding="utf-8"), options=" ".join(passwords))


def ensure_database(admin_url: str, name: str) -> None:
    """Create the database unless it is there."""
    run_sql(admin_url, _ENSURE_DATABASE, variables={"name": name})


def run_sql(url: str, sql: str, *, options: str = "", variables: dict[str, str] | None = None) -> str:
    """Run SQL with psql and return what it prints; nothing secret is in its arguments.

    Raises:
        StackError: the server cannot be reached, or refuses; the message is its own.
    """
    environment = bare_environment() | connection_environment(url)
    environment["PGOPTIONS"] = f"{environment.get('PGOPTIONS', '')} -c client_min_messages=warning {options}".strip()
    assignments = [f"--set={name}={value}" for name, value in (variables or {}).items()]
    flags = ("-X", "-q", "-A", "-t", "-w", "--set=ON_ERROR_STOP=1", "--set=SHOW_CONTEXT=never", *assignments)
    result = run(Command((str(binaries() / "psql"), *flags), environment), stdin=sql)
    if result.returncode != 0:
        raise StackError(f"the database refused: {first_error(result.stderr)}")
    return result.stdout.strip()


def connection_environment(url: str) -> dict[str, str]:
    """Return a PostgreSQL URL as the environment variables of libpq.

    Raises:
        StackError: it is no URL.
    """
    parts = urlsplit(url)
    try:
        port = str(parts.port or "")
    except ValueError:  # its message would show parts of the password
        raise StackError(
            "TMWS_DATABASE_URL cannot be read: percent-encode special characters of the password"
        ) from None
    given = {
        "user": unquote(parts.username or ""),
        "password": unquote(parts.password or ""),
        "host": parts.hostname or "",
        "port": port,
        "dbname": unquote(parts.path.lstrip("/")),
        **dict(parse_qsl(parts.query)),
    }
    names = {"dbname": "PGDATABASE", "application_name": "PGAPPNAME"}
    environment = {names.get(key, f"PG{key.replace('_', '').upper()}"): value for key, value in given.items() if value}
    return {"PGCONNECT_TIMEOUT": _CONNECT_TIMEOUT_S, **environment}
