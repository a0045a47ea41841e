"""Canonical forms, hashes, signatures and files of the audit log; what they are must never change."""

import hashlib
import json
from typing import Any

import pytest

from support.audit import SECRET, exchange
from tmws_contracts.audit import Fault
from tmws_gateway.audit.events import describe, read_event
from tmws_gateway.audit.verification import FaultFound, step
from tmws_gateway.audit.writer import is_due
from tmws_gateway.chain.records import GENESIS, Head, canonical, extend
from tmws_gateway.chain.signing import Checkpoint, Signer
from tmws_shared.auth import Principal

EVENT: dict[str, Any] = {
    "id": "0199c0de-0000-7000-8000-000000000001",
    "occurred_at": "2026-01-02T03:04:05.000006+00:00",
    "namespace": "default",
    "subject": 'Ærø "x"\n\u2028',
    "key_id": None,
    "persona": None,
    "address": "192.0.2.1",
    "action": "POST /api/v1/tasks",
    "resource": "/api/v1/tasks/7",
    "decision": "allowed",
    "status": 201,
    "request_id": "r",
    "trace_id": None,
    "changed_fields": ["title"],
    "field_digests": ["00ff"],
    "duration_us": 1500,
    "repeats": 1,
}
FORM = (
    '{"action":"POST /api/v1/tasks","address":"192.0.2.1","changed_fields":["title"],"decision":"allowed",'
    '"duration_us":1500,"field_digests":["00ff"],"id":"0199c0de-0000-7000-8000-000000000001","key_id":null,'
    '"namespace":"default","occurred_at":"2026-01-02T03:04:05.000006+00:00","persona":null,"repeats":1,'
    '"request_id":"r","resource":"/api/v1/tasks/7","status":201,"subject":"Ærø \\"x\\"\\n\u2028","trace_id":null,'
    '"version":1}'
).encode()
MADE_AT = 1_767_000_000_000_000


def test_canonical_form_is_what_it_always_was() -> None:
    assert canonical(EVENT) == FORM


def test_hash_is_that_of_the_documented_bytes() -> None:
    first, second = extend(Head(), [EVENT, EVENT])
    assert first.hash == hashlib.sha256(GENESIS + bytes([0, 0, 0, 0, 0, 0, 0, 1]) + FORM).digest()
    assert second.hash == hashlib.sha256(first.hash + bytes([0, 0, 0, 0, 0, 0, 0, 2]) + FORM).digest()


@pytest.mark.parametrize("field", EVENT)
def test_every_field_is_in_the_hash(field: str) -> None:
    changed = {**EVENT, field: ["other"] if isinstance(EVENT[field], list) else "other"}
    (record,) = extend(Head(), [EVENT])
    with pytest.raises(FaultFound):
        step(Head(), record._replace(event=changed))


def test_record_of_another_version_is_not_ours() -> None:
    (record,) = extend(Head(), [EVENT])
    with pytest.raises(FaultFound):
        step(Head(), record._replace(version=2))


def test_gateways_with_one_secret_know_each_others_signatures() -> None:
    checkpoint = Signer(SECRET).checkpoint(Head(7, b"x" * 32), MADE_AT)
    assert Signer(SECRET).verifier.is_ours(Checkpoint.parse(checkpoint.line()))
    assert not Signer(SECRET + "!").verifier.is_ours(checkpoint)


def test_signature_of_a_former_secret_counts_when_its_key_is_named() -> None:
    former = Signer(SECRET + "!")
    checkpoint = former.checkpoint(Head(7, b"x" * 32), MADE_AT)
    verifier = Signer(SECRET, [former.verifier.public_key]).verifier
    assert verifier.is_ours(checkpoint)
    assert not verifier.is_ours(checkpoint._replace(public_key=verifier.public_key))
    assert not verifier.is_our_export(b"x" * 32, former.sign_export(b"x" * 32))


def test_signature_of_an_export_is_none_of_a_checkpoint() -> None:
    signer = Signer(SECRET)
    checkpoint = signer.checkpoint(Head(7, b"x" * 32), MADE_AT)
    assert not signer.verifier.is_our_export(b"x" * 32, checkpoint.signature)
    assert signer.verifier.is_our_export(b"x" * 32, signer.sign_export(b"x" * 32))


@pytest.mark.parametrize(
    ("last", "head", "later_s", "due"),
    [
        (None, 0, 0, False),
        (None, 1, 0, True),
        (1, 1000, 59, False),
        (1, 1001, 0, True),
        (1, 1, 61, False),
        (1, 2, 60, True),
        (1, 2, -60, True),
    ],
)
def test_head_is_signed_after_a_thousand_records_or_a_minute(
    last: int | None, head: int, later_s: int, due: bool
) -> None:
    signed = None if last is None else Signer(SECRET).checkpoint(Head(last, GENESIS), MADE_AT)
    assert is_due(signed, Head(head, GENESIS), MADE_AT + later_s * 1_000_000) is due


def test_equal_values_have_equal_digests_and_others_do_not() -> None:
    fields = [("title", b"a"), ("title", b"a"), ("label", b"a"), ("title", b"b")]
    digests = describe(exchange(changed_fields=fields), b"key")["field_digests"]
    assert digests[0] == digests[1]
    assert len(set(digests)) == 3
    assert describe(exchange(changed_fields=fields), b"other key")["field_digests"][0] != digests[0]


@pytest.mark.parametrize("evil", ["a\r\nb", "a\x1b[31mb", "a\0b", "a\ud800b", "a\u202eb", "a\x7fb"])
def test_what_acts_on_a_terminal_is_recorded_as_an_escape(evil: str) -> None:
    event = describe(exchange(principal=Principal(evil), location=evil, changed_fields=[(evil, b"")]), b"key")
    for text in (event["subject"], event["resource"], event["changed_fields"][0]):
        assert text.isprintable()
        assert text == evil.encode("unicode_escape").decode()
    assert canonical(event).isascii()


def test_event_survives_its_file() -> None:
    event = describe(exchange(changed_fields=[("title", b"x")]), b"key")
    assert canonical(read_event(json.dumps(event).encode())) == canonical(event)


@pytest.mark.parametrize(
    "change",
    [
        {"id": "x"}, {"occurred_at": "x"}, {"occurred_at": "0001-01-01T00:00:00+23:00"}, {"namespace": None},
        {"namespace": "a\0"}, {"subject": 1}, {"decision": "perhaps"}, {"status": 2**15}, {"status": True},
        {"repeats": 1.5}, {"changed_fields": None}, {"changed_fields": [None]},
    ],
)  # fmt: skip
def test_line_that_postgres_would_refuse_is_no_event(change: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="not an event"):
        read_event(json.dumps({**EVENT, **change}).encode())


def test_fault_names_where_the_record_went() -> None:
    first, second = extend(Head(), [EVENT, EVENT])
    moved = [second._replace(seq=1), first._replace(seq=2)]
    with pytest.raises(FaultFound) as found:
        step(Head(), moved[0], moved[1:])
    assert (found.value.found.seq, found.value.found.fault) == (1, Fault.MOVED)
