"""What callers may read of the audit log."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing

from tmws_contracts.audit import AuditEvent, AuditVerification
from tmws_contracts.common import Page
from tmws_gateway.audit.exporting import export_lines
from tmws_gateway.audit.verification import ChainVerifier
from tmws_gateway.chain.signing import Signer
from tmws_gateway.repository.audit import AuditFilter, list_events
from tmws_shared.auth import Principal
from tmws_shared.database import Database
from tmws_shared.pagination import Cursors


class AuditService:
    """The records of the caller's namespace, and the chain of all."""

    def __init__(self, database: Database, cursors: Cursors, signer: Signer, chain: ChainVerifier) -> None:
        self._database = database
        self._cursors = cursors
        self._signer = signer
        self._chain = chain

    async def list_page(
        self, caller: Principal, wanted: AuditFilter, cursor: str | None, limit: int
    ) -> Page[AuditEvent]:
        """Return a page of records, newest first.

        Raises:
            MalformedRequest: the cursor belongs to another list.
        """
        context = {"list": "audit", "namespace": caller.namespace, "filter": wanted}
        after = self._cursors.decode(cursor, **context)
        found = await list_events(self._database, caller.namespace, wanted, after, limit + 1)
        return self._cursors.page(found, limit, **context)

    async def export(self, caller: Principal, wanted: AuditFilter) -> AsyncGenerator[bytes]:
        """Return records as lines, oldest first, with a signature at the end.

        Raises:
            Unavailable: the database does not answer.
        """
        lines = export_lines(self._database, self._signer, caller.namespace, wanted)
        # An answer that has begun cannot say any more that there is none.
        return _go_on(await anext(lines), lines)

    async def verify(self, after: int, limit: int) -> AuditVerification:
        """Check a part of the chain. It tells of other namespaces only how many records there are.

        Raises:
            InvalidRequest: there is no record `after`.
        """
        return await self._chain.verify(after, limit)


async def _go_on(first: bytes, rest: AsyncGenerator[bytes]) -> AsyncGenerator[bytes]:
    async with aclosing(rest):
        yield first
        async for lines in rest:
            yield lines
