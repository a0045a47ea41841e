"""Checks an exported file without the database."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, cast

import orjson

from tmws_contracts.audit import Fault
from tmws_gateway.audit.verification import FaultFound, step
from tmws_gateway.chain.records import Head, Record
from tmws_gateway.chain.signing import Verifier


@dataclass(frozen=True, slots=True)
class FileReport:
    """What an intact file holds; `signed_by` is the public key, which tells something only when it is known."""

    records: int
    signed_by: bytes


def check_export(lines: Iterable[bytes], public_key: bytes | None) -> FileReport:
    """Return what the lines hold when each is what was exported; with a key, by that key's owner.

    Raises:
        FaultFound: a line is not, or lines are missing.
    """
    digest, last = hashlib.sha256(), Head()
    report: FileReport | None = None
    for number, line in enumerate(lines, 1):
        fields = _fields(line, number)
        if report is not None:
            raise FaultFound(0, Fault.EDITED, f"line {number} was added behind the signature")
        if "export" in fields:
            report = _check_trailer(fields["export"], number - 1, digest.digest(), public_key)
            continue
        last = _check_record(fields, last, number)
        digest.update(line)
    if report is not None:
        return report
    raise FaultFound(last.seq + 1, Fault.CUT, "the file has no last line with a signature: it is cut off")


def _fields(line: bytes, number: int) -> dict[str, Any]:
    try:
        fields: Any = orjson.loads(line)
    except orjson.JSONDecodeError:
        fields = None
    if not isinstance(fields, dict):
        raise FaultFound(0, Fault.EDITED, f"line {number} is no JSON object")
    return cast("dict[str, Any]", fields)


def _check_record(fields: dict[str, Any], last: Head, number: int) -> Head:
    try:
        event = dict[str, Any](fields["event"])
        record = Record(int(fields["seq"]), bytes.fromhex(fields["hash"]), event, event.pop("version"))
        previous = Head(record.seq - 1, bytes.fromhex(fields["previous"]))
        found = step(previous, record)
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise FaultFound(0, Fault.EDITED, f"line {number} is no record of an export") from error
    if record.seq <= last.seq:
        raise FaultFound(record.seq, Fault.MOVED, f"line {number} has record {record.seq} after record {last.seq}")
    if previous.seq == last.seq and previous.hash != last.hash:
        raise FaultFound(record.seq, Fault.EDITED, f"record {record.seq} does not follow from the one before it")
    return found


def _check_trailer(export: Any, count: int, digest: bytes, public_key: bytes | None) -> FileReport:
    try:
        named_key = bytes.fromhex(export["public_key"])
        verifier = Verifier(public_key or named_key)
        is_whole = export["records"] == count and bytes.fromhex(export["sha256"]) == digest
        is_signed = verifier.public_key == named_key and verifier.is_our_export(
            digest, bytes.fromhex(export["signature"])
        )
    except (KeyError, TypeError, ValueError):
        is_whole = is_signed = False
        verifier = None
    if not is_whole or not is_signed or verifier is None:
        reason = "lines were added, changed or removed" if not is_whole else "the signature is not of this key"
        raise FaultFound(0, Fault.FORGED, f"the last line does not fit the file: {reason}")
    return FileReport(count, verifier.public_key)
