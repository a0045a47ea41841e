"""`python -m tmws_gateway.keys`: API keys from the command line of whoever has the database and the secret."""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Sequence
from datetime import timedelta

from pydantic import ValidationError

from tmws_contracts.common import MAX_PAGE
from tmws_contracts.gateway import ApiKey, IssuedApiKey, KeyRotation, NewApiKey
from tmws_contracts.scopes import SCOPES
from tmws_gateway.identity.authenticator import is_usable
from tmws_gateway.identity.changes import CredentialChanges
from tmws_gateway.key_service import KeyService
from tmws_gateway.models import SCHEMA
from tmws_gateway.settings import split_list
from tmws_shared.app import explain, open_database, refuse
from tmws_shared.auth import Principal
from tmws_shared.clock import now
from tmws_shared.problems import ProblemError
from tmws_shared.redis import OptionalRedis
from tmws_shared.settings import ConfigurationError, Settings

OPERATOR = Principal(subject="operator", scopes=SCOPES)
ADDRESS = "command line"
DATABASE_TIMEOUT_S = 30.0


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return the exit code."""
    asked = _parser().parse_args(arguments)
    try:
        return asyncio.run(_run(_read_settings(), asked))
    except ConfigurationError as error:
        return refuse(error)
    except ValidationError as error:
        for item in error.errors(include_input=False):
            problem = explain({**item, "loc": ("body", *item["loc"])})
            sys.stderr.write(f"{problem.pointer.removeprefix('/')}: {problem.detail}\n")
    except (ProblemError, TimeoutError) as error:
        sys.stderr.write(f"{error if str(error) else 'The database does not answer.'}\n")
    return 1


def _read_settings() -> Settings:
    settings = Settings.from_environment()
    if not settings.database_url.get_secret_value():
        raise ConfigurationError(["TMWS_DATABASE_URL is needed"])
    return settings


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="keys", description="Make, list, rotate and revoke API keys.")
    commands = parser.add_subparsers(dest="command", required=True)
    create = commands.add_parser("create", help="make a key and print it, this once")
    create.add_argument("--name", required=True, help="who will use it")
    create.add_argument("--scopes", required=True, help=f"separated by commas, or `all`: {', '.join(sorted(SCOPES))}")
    create.add_argument("--namespace", default="default")
    create.add_argument("--persona")
    create.add_argument("--days", type=int, help="how long it is valid; without this, until it is revoked")
    listing = commands.add_parser("list", help="list keys, newest first")
    listing.add_argument("--namespace")
    rotate = commands.add_parser("rotate", help="give a key another secret and print it, this once")
    rotate.add_argument("id")
    rotate.add_argument("--grace", type=int, default=0, help="seconds for which the old secret works too (0)")
    commands.add_parser("revoke", help="make a key worthless").add_argument("id")
    commands.add_parser("bootstrap", help="make the first key with all scopes and print it; nothing when there is one")
    return parser


async def _run(settings: Settings, asked: argparse.Namespace) -> int:
    secret, redis = settings.secret_key.get_secret_value(), OptionalRedis.at(settings.redis_url.get_secret_value())
    opening = open_database(settings, "tmws_gateway", SCHEMA, max_size=1)
    try:
        async with asyncio.timeout(DATABASE_TIMEOUT_S), opening as database:
            await _obey(KeyService(database, secret, CredentialChanges(redis)), asked)
    finally:
        await redis.close()
    return 0


async def _obey(keys: KeyService, asked: argparse.Namespace) -> None:
    if asked.command == "create":
        _print_secret(await keys.create(OPERATOR, _wanted(asked), ADDRESS))
    elif asked.command == "bootstrap":
        _print_secret(await keys.bootstrap(OPERATOR, ADDRESS))
    elif asked.command == "rotate":
        _print_secret(await keys.rotate(OPERATOR, asked.id, KeyRotation(grace_seconds=asked.grace), None, ADDRESS))
    elif asked.command == "revoke":
        await keys.revoke(OPERATOR, asked.id, None, ADDRESS)
        sys.stdout.write(f"revoked {asked.id}\n")
    else:
        await _print_list(keys, asked.namespace)


def _wanted(asked: argparse.Namespace) -> NewApiKey:
    scopes = sorted(SCOPES) if asked.scopes == "all" else split_list(asked.scopes)
    expires_at = now() + timedelta(days=asked.days) if asked.days is not None else None
    return NewApiKey(
        name=asked.name, scopes=scopes, namespace=asked.namespace, persona=asked.persona, expires_at=expires_at
    )


def _print_secret(key: IssuedApiKey | None) -> None:
    if key is not None:
        sys.stdout.write(f"{key.key}\n")


async def _print_list(keys: KeyService, namespace: str | None) -> None:
    cursor = None
    while True:
        page = await keys.list_page(OPERATOR, namespace, cursor, MAX_PAGE)
        for key in page.items:
            sys.stdout.write(f"{_describe(key)}\n")
        cursor = page.next_cursor
        if cursor is None:
            return


def _describe(key: ApiKey) -> str:
    state = "usable" if is_usable(key) else "revoked" if key.revoked_at else "expired"
    used = f"{key.last_used_at:%Y-%m-%d %H:%M}" if key.last_used_at else "never used"
    return f"{key.id}  {state:7}  {key.namespace}  {key.name}  {used}  {' '.join(key.scopes)}"


if __name__ == "__main__":
    sys.exit(main())
