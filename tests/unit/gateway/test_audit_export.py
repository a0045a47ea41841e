"""An exported file is checked without the database."""

import hashlib
import json
from typing import Any

import pytest

from support.audit import SECRET, exchange
from tmws_gateway.audit.events import describe
from tmws_gateway.audit.exporting import record_line, trailer_line
from tmws_gateway.audit.offline import check_export
from tmws_gateway.audit.verification import FaultFound
from tmws_gateway.chain.records import Head, extend
from tmws_gateway.chain.signing import Signer
from tmws_gateway.repository.audit import Linked

SIGNER = Signer(SECRET)
KEY = SIGNER.verifier.public_key


def signed(lines: list[bytes], signer: Signer = SIGNER) -> list[bytes]:
    digest = hashlib.sha256(b"".join(lines)).digest()
    return [*lines, trailer_line(signer, len(lines), digest)]


@pytest.fixture
def lines() -> list[bytes]:
    """Four records."""
    records = extend(Head(), [describe(exchange(), b"key") for _ in range(4)])
    hashes = [Head().hash, *(record.hash for record in records)]
    return [record_line(Linked(record, previous)) for record, previous in zip(records, hashes, strict=False)]


def fault_of(lines: list[bytes], key: bytes | None = KEY) -> tuple[int, str]:
    with pytest.raises(FaultFound) as fault:
        check_export(lines, key)
    return fault.value.found.seq, fault.value.found.fault


def edited(line: bytes, **fields: Any) -> bytes:
    return json.dumps({**json.loads(line), **fields}, separators=(",", ":"), sort_keys=True).encode() + b"\n"


def test_whole_file_is_intact(lines: list[bytes]) -> None:
    report = check_export(signed(lines), KEY)
    assert (report.records, report.signed_by) == (4, KEY)


def test_file_of_a_filter_is_intact(lines: list[bytes]) -> None:
    assert check_export(signed([lines[0], lines[2]]), None).records == 2
    assert check_export(signed([]), None).records == 0


def test_every_flipped_byte_is_found(lines: list[bytes]) -> None:
    file = signed(lines)
    for line, text in enumerate(file):
        for place in range(0, len(text) - 1, 7):
            flipped = text[:place] + bytes([text[place] ^ 1]) + text[place + 1 :]
            fault_of([*file[:line], flipped, *file[line + 1 :]])


def test_edited_record_is_named(lines: list[bytes]) -> None:
    event = {**json.loads(lines[1])["event"], "subject": "mallory"}
    assert fault_of(signed([lines[0], edited(lines[1], event=event), *lines[2:]])) == (2, "edited")


def test_moved_record_is_named(lines: list[bytes]) -> None:
    assert fault_of(signed([lines[0], lines[2], lines[1]])) == (2, "moved")


def test_record_that_does_not_follow_is_named(lines: list[bytes]) -> None:
    other = extend(Head(1, b"x" * 32), [describe(exchange(), b"key")])[0]
    assert fault_of(signed([lines[0], record_line(Linked(other, b"x" * 32))])) == (2, "edited")


def test_removed_line_is_found(lines: list[bytes]) -> None:
    file = signed(lines)
    assert fault_of([*file[:1], *file[2:]]) == (0, "forged")


def test_line_behind_the_signature_is_found(lines: list[bytes]) -> None:
    assert fault_of([*signed(lines), lines[0]]) == (0, "edited")


def test_file_without_its_end_is_cut(lines: list[bytes]) -> None:
    assert fault_of(lines) == (5, "cut")


def test_file_that_somebody_else_signed_is_forged(lines: list[bytes]) -> None:
    file = signed(lines, Signer("another secret of thirty-two bytes or more"))
    assert fault_of(file) == (0, "forged")
    assert check_export(file, None).signed_by != KEY


@pytest.mark.parametrize("line", [b"", b"nonsense\n", b"[]\n", b"{}\n", b'{"export":7}\n', b'{"seq":"\xff"}\n'])
def test_line_that_is_none_is_a_fault(lines: list[bytes], line: bytes) -> None:
    assert fault_of([lines[0], line])[0] == 0
