"""What the gateway does itself: API keys, access tokens, the audit log's pages."""

from __future__ import annotations

from typing import Any

from tmws_contracts.common import Page
from tmws_contracts.gateway import AccessToken, ApiKey, AuditEvent, Decision, IssuedApiKey, NewApiKey, TokenRequest
from tmws_contracts.scopes import SCOPES
from tmws_gateway.access_tokens import AccessTokens
from tmws_gateway.api_keys import KeyText, Pepper, make_key
from tmws_gateway.errors import KeyNameTaken, KeyNotFound, MissingGrant, NeedsApiKey
from tmws_gateway.repository import (
    AuditFilter,
    add_events,
    add_key,
    has_admin_key,
    list_events,
    list_keys,
    revoke_key,
)
from tmws_shared.auth import Principal
from tmws_shared.clock import new_id, now
from tmws_shared.database import Connection, Database
from tmws_shared.http import request_id
from tmws_shared.pagination import Cursors
from tmws_shared.telemetry import trace_id

ADMIN_KEY_NAME = "admin"


class KeyService:
    """API keys. Who may manage them manages those of every namespace."""

    def __init__(self, database: Database, secret: str, issuer: str) -> None:
        self._database = database
        self._pepper = Pepper(secret)
        self._tokens = AccessTokens(secret, issuer)
        self._cursors = Cursors(secret)

    async def create(self, caller: Principal, wanted: NewApiKey, address: str) -> IssuedApiKey:
        """Create a key.

        Raises:
            MissingGrant: it would have scopes that the caller lacks.
            KeyNameTaken: the namespace has a key of this name.
        """
        missing = sorted(set(wanted.scopes) - caller.scopes)
        if missing:
            raise MissingGrant("/scopes", missing)
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
        await add_events(connection, [_key_event("key.created", caller, key, address)])
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

    async def revoke(self, caller: Principal, key_id: str, address: str) -> ApiKey:
        """Revoke a key; what is revoked stays so.

        Raises:
            KeyNotFound: there is none.
        """
        async with self._database.transaction() as connection:
            key = await revoke_key(connection, key_id)
            if key is None:
                raise KeyNotFound
            await add_events(connection, [_key_event("key.revoked", caller, key, address)])
            return key

    async def issue_token(self, caller: Principal, wanted: TokenRequest) -> AccessToken:
        """Return an access token for the API key the caller showed.

        Raises:
            NeedsApiKey: the caller did not show one.
            MissingGrant: the token would have scopes that the key lacks.
        """
        if caller.key_id is None:
            raise NeedsApiKey("Sign in with an API key.")
        scopes = frozenset(wanted.scopes) if wanted.scopes else caller.scopes
        missing = sorted(scopes - caller.scopes)
        if missing:
            raise MissingGrant("/scopes", missing)
        token = self._tokens.issue(caller.subject, caller.key_id, scopes, wanted.expires_in)
        return AccessToken(access_token=token, expires_in=wanted.expires_in, scope=" ".join(sorted(scopes)))


class AuditService:
    """The audit records of a namespace."""

    def __init__(self, database: Database, secret: str) -> None:
        self._database = database
        self._cursors = Cursors(secret)

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
    )


def _key_event(action: str, caller: Principal, key: ApiKey, address: str) -> dict[str, Any]:
    return {
        "id": str(new_id()),
        "occurred_at": now().isoformat(),
        "namespace": caller.namespace,
        "subject": caller.subject,
        "key_id": caller.key_id,
        "persona": caller.persona,
        "address": address,
        "action": action,
        "resource": f"/api/v1/keys/{key.id}",
        "decision": Decision.ALLOWED,
        "status": 200,
        "request_id": request_id.get() or "command line",
        "trace_id": trace_id(),
        "changed_fields": [],
        "duration_ms": 0.0,
        "repeats": 1,
    }
