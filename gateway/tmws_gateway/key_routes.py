"""The HTTP routes of API keys and access tokens."""

from __future__ import annotations

from typing import Annotated

from fastapi import Path, Query, Request, Response

from tmws_contracts.common import Limit, Page, Slug
from tmws_contracts.gateway import (
    AccessToken,
    ApiKey,
    IssuedApiKey,
    KeyRotation,
    NewApiKey,
    TokenRequest,
    TokenRevocation,
)
from tmws_gateway.parameters import Address, Caller, OurParts
from tmws_gateway.upstreams import PREFIX
from tmws_shared.replies import Cursor, IfMatch, reply, send, send_model
from tmws_shared.routing import StrictRouter

key_router = StrictRouter(prefix=PREFIX, tags=["keys"])

KeyId = Annotated[str, Path(max_length=100)]


@key_router.post("/auth/token", response_model=AccessToken)
async def issue_token(request: Request, parts: OurParts, wanted: TokenRequest | None = None) -> Response:
    """Make a short-lived access token from the API key in the Authorization header."""
    shown = getattr(request.state, "identity", None)
    return send_model(parts.sign_in.tokens.issue(shown, wanted or TokenRequest()))


@key_router.post("/auth/revoke", status_code=204)
async def revoke_token(caller: Caller, parts: OurParts, address: Address, wanted: TokenRevocation) -> Response:
    """Revoke an access token before its end: your own, or anybody's with `keys:admin`.

    A token that is not valid, or not any more, is a 204 too: it needs no revoking.
    """
    await parts.sign_in.tokens.revoke(caller, wanted.token, address)
    return Response(status_code=204)


@key_router.get("/keys", response_model=Page[ApiKey])
async def list_keys(
    caller: Caller,
    parts: OurParts,
    namespace: Annotated[Slug | None, Query(description="only keys of this namespace")] = None,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> Response:
    """List API keys, revoked ones too, newest first."""
    return send_model(await parts.sign_in.keys.list_page(caller, namespace, cursor, limit))


@key_router.post("/keys", response_model=IssuedApiKey, status_code=201)
async def create_key(caller: Caller, parts: OurParts, address: Address, wanted: NewApiKey) -> Response:
    """Create an API key. Its secret is in this answer and nowhere else, so an Idempotency-Key has no effect."""
    key = await parts.sign_in.keys.create(caller, wanted, address)
    return send(reply(key, 201, location=f"{PREFIX}/keys/{key.id}"))


@key_router.get("/keys/{key_id}", response_model=ApiKey)
async def get_key(parts: OurParts, key_id: KeyId) -> Response:
    """Return an API key, without its secret."""
    return send_model(await parts.sign_in.keys.get(key_id))


@key_router.post("/keys/{key_id}/rotate", response_model=IssuedApiKey)
async def rotate_key(
    caller: Caller,
    parts: OurParts,
    address: Address,
    key_id: KeyId,
    if_match: IfMatch,
    wanted: KeyRotation | None = None,
) -> Response:
    """Give an API key another secret. The one before works for `grace_seconds` more, and so do tokens made with it.

    The secret is in this answer and nowhere else, so an Idempotency-Key has no effect; with `If-Match` a second
    attempt is a 412.
    """
    key = await parts.sign_in.keys.rotate(caller, key_id, wanted or KeyRotation(), if_match, address)
    return send(reply(key))


@key_router.delete("/keys/{key_id}", status_code=204)
async def revoke_key(caller: Caller, parts: OurParts, address: Address, key_id: KeyId, if_match: IfMatch) -> Response:
    """Revoke an API key and the tokens made from it: at every gateway within a second, within 60 s without Redis."""
    await parts.sign_in.keys.revoke(caller, key_id, if_match, address)
    return Response(status_code=204)
