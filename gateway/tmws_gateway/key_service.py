"""API keys."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from tmws_contracts.audit import Decision
from tmws_contracts.common import Page
from tmws_contracts.gateway import ApiKey, IssuedApiKey, KeyRotation, NewApiKey
from tmws_contracts.scopes import SCOPES
from tmws_gateway.errors import KeyNameTaken, KeyNotFound, KeyNotUsable, MissingGrant
from tmws_gateway.identity.api_keys import KeyText, Pepper, make_key
from tmws_gateway.identity.authenticator import is_usable
from tmws_gateway.identity.changes import CredentialChanges, of_key
from tmws_gateway.repository.audit import add_events
from tmws_gateway.repository.keys import (
    add_key,
    get_key,
    has_admin_key,
    list_keys,
    lock_key,
    revoke_key,
    rotate_key,
)
from tmws_shared.auth import Principal
from tmws_shared.clock import new_id, now
from tmws_shared.database import Connection, Database
from tmws_shared.http import request_id
from tmws_shared.pagination import Cursors
from tmws_shared.replies import match_version
from tmws_shared.telemetry import trace_id

ADMIN_KEY_NAME = "admin"


class KeyService:
    """API keys. Who may manage them manages those of every namespace."""

    def __init__(self, database: Database, secret: str, changes: CredentialChanges) -> None:
        self._database = database
        self._pepper = Pepper(secret)
        self._cursors = Cursors(secret)
        self._changes = changes

    async def create(self, caller: Principal, wanted: NewApiKey, address: str) -> IssuedApiKey:
        """Create a key.

        Raises:
            MissingGrant: it would have scopes that the caller lacks.
            KeyNameTaken: the namespace has a key of this name.
        """
        check_grant(caller, wanted.scopes, "/scopes")
        async with self._database.transaction() as connection:
            return await self._add(connection, caller, wanted, address)

    async def bootstrap(self, caller: Principal, address: str) -> IssuedApiKey | None:
        """Create the first key that may manage keys; None when there is one."""
        async with self._database.transaction() as connection:
            if await has_admin_key(connection):
                return None
            wanted = NewApiKey(name=ADMIN_KEY_NAME, scopes=sorted(SCOPES))
            return await self._add(connection, caller, wanted, address)

    async def _add(self, connection: Connection, caller: Principal, wanted: NewApiKey, address: str) -> IssuedApiKey:
        text = make_key()
        key = await add_key(
            connection, _new_row(text, wanted), self._pepper.digest(text.secret), created_by=caller.subject
        )
        if key is None:
            raise KeyNameTaken
        # A change of rights is written down in its own transaction: the one kind of record that somebody waits for.
        await add_events(connection, [rights_event("key.created", caller, _place(key.id), address)])
        return IssuedApiKey(**key.model_dump(), key=str(text))

    async def list_page(self, caller: Principal, namespace: str | None, cursor: str | None, limit: int) -> Page[ApiKey]:
        """Return a page of keys, newest first.

        Raises:
            MalformedRequest: the cursor belongs to another list.
        """
        context = {"list": "keys", "namespace": caller.namespace, "filter": namespace}
        after = self._cursors.decode(cursor, **context)
        found = await list_keys(self._database, namespace, after, limit + 1)
        return self._cursors.page(found, limit, **context)

    async def get(self, key_id: str) -> ApiKey:
        """Return a key, revoked or not.

        Raises:
            KeyNotFound: there is none.
        """
        key = await get_key(self._database, key_id)
        if key is None:
            raise KeyNotFound
        return key

    async def rotate(
        self, caller: Principal, key_id: str, wanted: KeyRotation, if_match: str | None, address: str
    ) -> IssuedApiKey:
        """Give a key another secret; the one before, and the tokens made with it, end after the time of grace.

        Raises:
            KeyNotFound: there is none.
            PreconditionFailed: it was rotated since the caller saw it.
            MissingGrant: it has scopes that the caller lacks, who would see its new secret.
            KeyNotUsable: it is revoked or expired.
        """
        async with self._database.transaction() as connection:
            key = await self._lock(connection, key_id, if_match)
            check_grant(caller, key.scopes, "#id")
            if not is_usable(key):
                raise KeyNotUsable("Make another one: what is revoked or expired stays so.")
            text = make_key(key_id)
            rotated = await rotate_key(connection, key_id, self._pepper.digest(text.secret), wanted.grace_seconds)
            await add_events(connection, [rights_event("key.rotated", caller, _place(key_id), address)])
        await self._changes.tell(of_key(key_id))
        return IssuedApiKey(**rotated.model_dump(), key=str(text))

    async def revoke(self, caller: Principal, key_id: str, if_match: str | None, address: str) -> None:
        """Revoke a key and the tokens made from it; what is revoked stays so.

        Raises:
            KeyNotFound: there is none.
            PreconditionFailed: it was rotated since the caller saw it.
        """
        async with self._database.transaction() as connection:
            key = await self._lock(connection, key_id, if_match)
            if key.revoked_at is None:
                await revoke_key(connection, key_id)
                await add_events(connection, [rights_event("key.revoked", caller, _place(key_id), address)])
        await self._changes.tell(of_key(key_id))

    async def _lock(self, connection: Connection, key_id: str, if_match: str | None) -> ApiKey:
        key = await lock_key(connection, key_id)
        if key is None:
            raise KeyNotFound
        match_version(if_match, key.version)
        return key


def check_grant(caller: Principal, scopes: Iterable[str], pointer: str) -> None:
    """Return when the caller has all these scopes.

    Raises:
        MissingGrant: it has not; nobody can give rights that they do not have.
    """
    missing = sorted(set(scopes) - caller.scopes)
    if missing:
        raise MissingGrant(pointer, missing)


def _place(key_id: str) -> str:
    return f"/api/v1/keys/{key_id}"


def _new_row(text: KeyText, wanted: NewApiKey) -> ApiKey:
    return ApiKey(
        id=text.id,
        name=wanted.name,
        scopes=sorted(set(wanted.scopes)),
        namespace=wanted.namespace,
        persona=wanted.persona,
        created_at=now(),
        expires_at=wanted.expires_at,
        last_used_at=None,
        revoked_at=None,
        version=1,
        previous_until=None,
    )


def rights_event(action: str, caller: Principal, resource: str, address: str) -> dict[str, Any]:
    """Return the audit record of a change of rights."""
    return {
        "id": str(new_id()),
        "occurred_at": now().isoformat(),
        "namespace": caller.namespace,
        "subject": caller.subject,
        "key_id": caller.key_id,
        "persona": caller.persona,
        "address": address,
        "action": action,
        "resource": resource,
        "decision": Decision.ALLOWED,
        "status": 200,
        "request_id": request_id.get() or "command line",
        "trace_id": trace_id(),
        "changed_fields": [],
        "duration_ms": 0.0,
        "repeats": 1,
    }
