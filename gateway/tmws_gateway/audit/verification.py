"""Finds the first place where the chain is not what was written."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

from tmws_contracts.audit import AuditFault, AuditVerification, Fault
from tmws_gateway.audit.checkpoint_file import CheckpointFile, FileCheckpoints
from tmws_gateway.chain.records import GENESIS, VERSION, Head, Record, canonical, link
from tmws_gateway.chain.signing import Checkpoint, Verifier
from tmws_gateway.repository.audit import (
    find_beginning,
    find_first_seq,
    find_hash,
    find_head,
    last_checkpoint,
    read_checkpoints,
    read_records,
)
from tmws_shared.database import Database
from tmws_shared.problems import InvalidRequest

# A page takes the event loop a few milliseconds.
_PAGE = 200
_TABLE, _FILE, _NOTE = "the table", "the file", "the note of the head"
Marks: TypeAlias = dict[int, list[tuple[str, Checkpoint]]]


class FaultFound(Exception):
    """The chain is wrong at one place."""

    def __init__(self, seq: int, fault: Fault, detail: str) -> None:
        super().__init__(detail)
        self.found = AuditFault(seq=seq, fault=fault, detail=detail)


def step(head: Head, record: Record, later: Iterable[Record] = ()) -> Head:
    """Return the head behind a record that follows `head`; `later` is where else it may be.

    Raises:
        FaultFound: another record follows.
    """
    seq = head.seq + 1
    if record.seq > seq:
        raise FaultFound(seq, Fault.MISSING, f"record {seq} is missing; the next one is {record.seq}")
    if record.seq < seq:
        raise FaultFound(record.seq, Fault.EDITED, f"record {record.seq} was never written: seq begins with 1")
    if _fits(head, record):
        return Head(seq, record.hash)
    elsewhere = next((other.seq for other in later if _fits(head, other)), None)
    if elsewhere is not None:
        raise FaultFound(seq, Fault.MOVED, f"record {seq} is at {elsewhere}, and another one in its place")
    raise FaultFound(
        seq, Fault.EDITED, f"a field or the hash of record {seq}, or the hash before it, is not what was written"
    )


def _fits(head: Head, record: Record) -> bool:
    return record.version == VERSION and link(head.hash, head.seq + 1, canonical(record.event)) == record.hash


@dataclass
class Walk:
    """A walk along the chain; `head` is the last record that is known to be right."""

    verifier: Verifier
    head: Head
    marks: Marks
    signed_to: int
    file_ends: int
    compared: int = 0

    def pass_page(self, records: Sequence[Record]) -> None:
        """Go along records and the checkpoints beside them.

        Raises:
            FaultFound: one of them is wrong.
        """
        for number, record in enumerate(records, 1):
            self.head = self._compare(step(self.head, record, records[number:]))

    def _compare(self, head: Head) -> Head:
        marks = self.marks.pop(head.seq, [])
        for place, checkpoint in marks:
            check_signature(self.verifier, checkpoint, place)
            if checkpoint.hash != head.hash:
                raise FaultFound(
                    self.signed_to + 1,
                    Fault.REWRITTEN,
                    f"records {self.signed_to + 1} to {head.seq} are not those that were signed",
                )
            self.signed_to = head.seq
            self.compared += place != _NOTE
        places = {place for place, _ in marks} - {_NOTE}
        # The file may be behind: it is written after the table.
        if places == {_FILE} or (places == {_TABLE} and head.seq < self.file_ends):
            lost = _TABLE if places == {_FILE} else _FILE
            raise FaultFound(head.seq, Fault.FORGED, f"the checkpoint of record {head.seq} was removed from {lost}")
        return head


def check_signature(verifier: Verifier, checkpoint: Checkpoint, place: str) -> None:
    """Return when the checkpoint is ours.

    Raises:
        FaultFound: it is not.
    """
    if not verifier.is_ours(checkpoint):
        raise FaultFound(
            checkpoint.seq, Fault.FORGED, f"the checkpoint of record {checkpoint.seq} in {place} is not signed by us"
        )


class Evidence(NamedTuple):
    """What is known of a part of the chain before it is walked; `last` is the last checkpoint in the table."""

    head: Head
    last: Checkpoint | None
    in_file: FileCheckpoints
    until: int


@dataclass(frozen=True)
class ChainVerifier:
    """Compares the chain with itself, with the checkpoints in the database and with those in the file."""

    database: Database
    verifier: Verifier
    file: CheckpointFile

    async def verify(self, after: int, limit: int) -> AuditVerification:
        """Check up to `limit` records after one that was checked before; 0 begins with the first that is there.

        Raises:
            InvalidRequest: there is no record `after`.
        """
        while True:
            beginning = await find_beginning(self.database)
            found = await self._verify(beginning, after, limit)
            # Records that were removed meanwhile would be missed.
            if await find_beginning(self.database) == beginning:
                return found

    async def _verify(self, beginning: Checkpoint | None, after: int, limit: int) -> AuditVerification:
        begin = await self._begin(beginning, after)
        evidence = await self._gather(begin.seq, limit)
        signed = await last_checkpoint(self.database, begin.seq)
        walk = Walk(self.verifier, begin, {}, _seq(signed), _seq(evidence.in_file.last))
        fault = await self._find_fault(walk, evidence, beginning)
        return AuditVerification(
            intact=fault is None,
            after=after,
            begins_after=_seq(beginning),
            checked_to=walk.head.seq,
            head=evidence.head.seq,
            next=evidence.until if fault is None and evidence.until < evidence.head.seq else None,
            checkpoints=walk.compared,
            public_key=self.verifier.public_key.hex(),
            fault=fault,
        )

    async def _begin(self, beginning: Checkpoint | None, after: int) -> Head:
        """The record behind which the walk begins."""
        if beginning is not None and after <= beginning.seq:
            return beginning.head
        begin = GENESIS if after == 0 else await find_hash(self.database, after)
        if begin is None:
            raise InvalidRequest.of("?after", "must be 0 or the seq of a record")
        return Head(after, begin)

    async def _gather(self, after: int, limit: int) -> Evidence:
        # In this order: no checkpoint is older than its record, no copy in the file older than the one in the table.
        in_file = await asyncio.to_thread(self.file.read, after, after + limit)
        last = await last_checkpoint(self.database)
        head = await find_head(self.database)
        return Evidence(head, last, in_file, min(after + limit, head.seq))

    async def _find_fault(self, walk: Walk, evidence: Evidence, beginning: Checkpoint | None) -> AuditFault | None:
        try:
            if beginning is not None:
                await self._check_beginning(beginning)
            walk.marks = await self._marks(walk.head.seq, evidence.until, evidence.in_file)
            await self._walk(walk, evidence.until)
            if evidence.until == evidence.head.seq:
                self._check_end(evidence)
        except FaultFound as found:
            return found.found
        return None

    async def _check_beginning(self, beginning: Checkpoint) -> None:
        if not self.verifier.is_our_beginning(beginning):
            detail = f"that records up to {beginning.seq} were old enough to be removed is not signed by us"
            raise FaultFound(beginning.seq, Fault.FORGED, detail)
        first = await find_first_seq(self.database)
        if first is not None and first <= beginning.seq:
            raise FaultFound(first, Fault.EDITED, f"record {first} was removed, and is there again")

    async def _walk(self, walk: Walk, until: int) -> None:
        while walk.head.seq < until:
            records = await read_records(self.database, walk.head.seq, until, _PAGE)
            if not records:
                seq = walk.head.seq + 1
                raise FaultFound(seq, Fault.MISSING, f"record {seq} is missing")
            walk.pass_page(records)

    async def _marks(self, after: int, until: int, in_file: FileCheckpoints) -> Marks:
        """The checkpoints of the part, by record."""
        for line in in_file.unreadable_lines:
            raise FaultFound(0, Fault.FORGED, f"line {line} of {_FILE} holds no checkpoint")
        stored = await read_checkpoints(self.database, after, until, until - after + 1)
        marks: Marks = defaultdict(list)
        noted = [in_file.noted] if in_file.noted is not None and in_file.noted.seq > after else []
        for place, checkpoints in ((_TABLE, stored), (_FILE, in_file.found), (_NOTE, noted)):
            for checkpoint in checkpoints:
                if checkpoint.seq <= 0:
                    raise FaultFound(checkpoint.seq, Fault.FORGED, f"{place} has a checkpoint of no record")
                marks[checkpoint.seq].append((place, checkpoint))
        return marks

    def _check_end(self, evidence: Evidence) -> None:
        head = evidence.head
        for place, checkpoint in (
            (_TABLE, evidence.last),
            (_FILE, evidence.in_file.last),
            (_NOTE, evidence.in_file.noted),
        ):
            if checkpoint is None or checkpoint.seq <= head.seq:
                continue
            check_signature(self.verifier, checkpoint, place)
            raise FaultFound(
                head.seq + 1, Fault.CUT, f"records {head.seq + 1} to {checkpoint.seq} were there and are missing"
            )


def _seq(checkpoint: Checkpoint | None) -> int:
    return 0 if checkpoint is None else max(checkpoint.seq, 0)
