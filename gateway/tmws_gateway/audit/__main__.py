"""`python -m tmws_gateway.audit`: verify and export the audit log from the command line."""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Sequence
from contextlib import aclosing
from datetime import UTC, datetime
from pathlib import Path

from tmws_contracts.audit import MAX_VERIFIED, AuditFault
from tmws_gateway.audit.checkpoint_file import CheckpointFile
from tmws_gateway.audit.exporting import export_lines
from tmws_gateway.audit.log import CHECKPOINTS
from tmws_gateway.audit.offline import check_export
from tmws_gateway.audit.verification import ChainVerifier, FaultFound
from tmws_gateway.chain.signing import Signer
from tmws_gateway.models import SCHEMA
from tmws_gateway.repository.audit import AuditFilter
from tmws_gateway.settings import AuditSettings
from tmws_shared.app import open_database, refuse
from tmws_shared.database import Database
from tmws_shared.problems import ProblemError
from tmws_shared.settings import ConfigurationError

INTACT, FAULTY, UNKNOWN = 0, 1, 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return the exit code: 0 intact or exported, 1 a fault was found, 2 nobody can tell."""
    asked = _parser().parse_args(arguments)
    try:
        if asked.command == "verify" and asked.file:
            return _verify_file(asked.file, asked.public_key)
        return asyncio.run(_run(AuditSettings.from_environment(), asked))
    except ConfigurationError as error:
        return refuse(error)
    except FaultFound as fault:
        return _tell(fault.found)
    except (ProblemError, TimeoutError) as error:
        sys.stderr.write(f"{error if str(error) else 'The database does not answer.'}\n")
    except OSError as error:
        sys.stderr.write(f"{error.strerror}: {error.filename}\n")
    return UNKNOWN


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="audit", description="Check and export the audit log.")
    commands = parser.add_subparsers(dest="command", required=True)
    verify = commands.add_parser("verify", help="compute the chain of records again and name the first that is wrong")
    verify.add_argument("--file", type=Path, help="check an exported file instead; needs no database")
    verify.add_argument("--public-key", type=_key, help="who must have signed the file, 64 hex digits")
    export = commands.add_parser("export", help="write records as lines of JSON, with a signature")
    export.add_argument("--namespace", help="only of this one")
    export.add_argument("--since", type=_moment, help="from this time on, as 2030-01-31 or 2030-01-31T12:00Z")
    export.add_argument("--until", type=_moment, help="before this time")
    return parser


def _key(text: str) -> bytes:
    key = bytes.fromhex(text)
    if len(key) != 32:
        raise ValueError("not a key")
    return key


def _moment(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


async def _run(settings: AuditSettings, asked: argparse.Namespace) -> int:
    signer = Signer(settings.secret_key.get_secret_value(), settings.audit_keys)
    async with open_database(settings, "tmws_gateway", SCHEMA, max_size=1) as database:
        if asked.command == "export":
            return await _export(database, signer, asked)
        return await _verify(database, signer, CheckpointFile(settings.data_dir / CHECKPOINTS))


async def _verify(database: Database, signer: Signer, file: CheckpointFile) -> int:
    chain = ChainVerifier(database, signer.verifier, file)
    after: int | None = 0
    records = checkpoints = begins_after = 0
    while after is not None:
        found = await chain.verify(after, MAX_VERIFIED)
        if found.fault is not None:
            return _tell(found.fault)
        records, checkpoints, after = found.checked_to, checkpoints + found.checkpoints, found.next
        begins_after = found.begins_after
    sys.stdout.write(f"intact: {records - begins_after} records, {checkpoints} checkpoints\n")
    if begins_after:
        sys.stdout.write(f"Records up to {begins_after} were removed after their time.\n")
    if file.last_seq == 0 < records:
        sys.stdout.write("There is no file of checkpoints here: a tail that was cut off could not be seen.\n")
    return INTACT


async def _export(database: Database, signer: Signer, asked: argparse.Namespace) -> int:
    wanted = AuditFilter(since=asked.since, until=asked.until)
    async with aclosing(export_lines(database, signer, asked.namespace, wanted)) as pieces:
        async for lines in pieces:
            sys.stdout.buffer.write(lines)
    sys.stdout.buffer.flush()
    return INTACT


def _verify_file(path: Path, public_key: bytes | None) -> int:
    with path.open("rb") as file:
        report = check_export(file, public_key)
    sys.stdout.write(f"intact: {report.records} records, signed by {report.signed_by.hex()}\n")
    if public_key is None:
        sys.stdout.write("Compare the key with `public_key` of GET /api/v1/audit/verify, or give it as --public-key.\n")
    return INTACT


def _tell(fault: AuditFault) -> int:
    sys.stdout.write(f"{fault.fault}: {fault.detail}\n")
    return FAULTY


if __name__ == "__main__":
    sys.exit(main())
