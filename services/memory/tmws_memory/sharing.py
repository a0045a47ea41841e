"""Showing memories to others: only who owns one may, what is shown can be read and found, never changed."""

from __future__ import annotations

from datetime import datetime, timedelta
from uuid import UUID

from tmws_contracts.common import JsonObject, Page
from tmws_contracts.memory_changes import MemoryAction, NewShare, Share
from tmws_memory.changes import lock_owned, need_owned
from tmws_memory.errors import ShareNotFound
from tmws_memory.history import Author, moved
from tmws_memory.revisions import Revisions
from tmws_memory.service import location_of
from tmws_memory.shares import Grantee, Shares
from tmws_memory.visibility import reader_for
from tmws_shared.auth import Principal
from tmws_shared.clock import new_id, now
from tmws_shared.database import Connection, Database
from tmws_shared.idempotency import Attempt, Reply, do_once
from tmws_shared.pagination import Cursors
from tmws_shared.replies import reply


class Sharing:
    """Shares of memories, for those who own them."""

    def __init__(self, database: Database, cursors: Cursors) -> None:
        self._database = database
        self._cursors = cursors

    async def share(self, caller: Principal, memory_id: UUID, share: NewShare, attempt: Attempt) -> Reply:
        """Show a memory to a persona or a namespace; to whom it is shown already, from now on until the new end.

        Raises:
            MemoryNotFound: there is none that the caller may see.
            OnlyShared: it is another namespace's or persona's.
        """

        async def work(connection: Connection) -> Reply:
            memory = await lock_owned(connection, caller, memory_id)
            before, after = await _put(Shares(connection, memory_id), caller, share)
            if before != after:
                changes = {"share": moved(before and _shown(before), _shown(after))}
                await _revisions(connection, caller).note(memory, MemoryAction.SHARED, changes)
            location = f"{location_of(memory_id)}/shares/{after.id}"
            return reply(after, 200 if before else 201, location=location)

        return await do_once(self._database, attempt, work)

    async def list_page(self, caller: Principal, memory_id: UUID, cursor: str | None, limit: int) -> Page[Share]:
        """Return a page of the shares in force, oldest first.

        Raises:
            MemoryNotFound: there is no memory that the caller may see.
            OnlyShared: it is another namespace's or persona's.
        """
        context = {"list": "shares", "reader": reader_for(caller), "memory": memory_id}
        position = self._cursors.decode(cursor, **context)
        async with self._database.connection() as connection:
            await need_owned(connection, caller, memory_id)
            found = await Shares(connection, memory_id).list_page(UUID(position[0]) if position else None, limit + 1)
        return self._cursors.page([(share, [str(share.id)]) for share in found], limit, **context)

    async def revoke(self, caller: Principal, memory_id: UUID, share_id: UUID) -> None:
        """End a share now.

        Raises:
            MemoryNotFound: there is no memory that the caller may see.
            OnlyShared: it is another namespace's or persona's.
            ShareNotFound: it is not shared like that.
        """
        async with self._database.transaction() as connection:
            memory = await lock_owned(connection, caller, memory_id, even_deleted=True)
            share = await Shares(connection, memory_id).revoke(share_id)
            if share is None:
                raise ShareNotFound
            changes = {"share": moved(_shown(share), None)}
            await _revisions(connection, caller).note(memory, MemoryAction.REVOKED, changes)


async def _put(shares: Shares, caller: Principal, share: NewShare) -> tuple[Share | None, Share]:
    grantee = Grantee(share.namespace or caller.namespace, share.persona_id or "")
    before = await shares.find(grantee)
    if before is None:
        return None, await shares.add(new_id(), grantee, caller.subject, _end_of(share))
    return before, await shares.renew(before, _end_of(share))


def _end_of(share: NewShare) -> datetime | None:
    return now() + timedelta(seconds=share.ttl_seconds) if share.ttl_seconds else share.expires_at


def _shown(share: Share) -> JsonObject:
    return share.model_dump(mode="json", include={"id", "namespace", "persona_id", "expires_at"})


def _revisions(connection: Connection, caller: Principal) -> Revisions:
    return Revisions(connection, reader_for(caller), Author.of(caller))
