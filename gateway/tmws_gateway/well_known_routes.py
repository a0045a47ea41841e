"""The documents under `/.well-known/`: how to sign in, and what our tokens are signed with."""

from __future__ import annotations

import orjson
from fastapi import APIRouter, Request, Response

from tmws_gateway.identity.metadata import MCP, WELL_KNOWN
from tmws_gateway.parameters import OurParts
from tmws_gateway.parts import Parts
from tmws_shared.problems import NotFound

well_known_router = APIRouter(tags=["system"])

_KEPT = {"Cache-Control": "public, max-age=300"}


@well_known_router.get(WELL_KNOWN)
async def describe_api(request: Request, parts: OurParts) -> Response:
    """Tell how to sign in to the API (RFC 9728); there is nothing to tell while authentication is off."""
    return _metadata(request, parts, "")


@well_known_router.get(WELL_KNOWN + MCP)
async def describe_mcp(request: Request, parts: OurParts) -> Response:
    """Tell how to sign in to the MCP bridge at `/mcp` (RFC 9728)."""
    return _metadata(request, parts, MCP)


@well_known_router.get("/.well-known/jwks.json")
async def get_keys(parts: OurParts) -> Response:
    """Return the public keys of our access tokens as a JWK Set (RFC 7517); none where they are signed with HS256."""
    return _send(parts.sign_in.access_tokens.keys.key_set(), "application/jwk-set+json")


def _metadata(request: Request, parts: Parts, path: str) -> Response:
    metadata = parts.sign_in.metadata
    if metadata is None:
        raise NotFound("Authentication is off: nobody has to sign in.")
    return _send(metadata.document(request.headers.get("host", ""), path), "application/json")


def _send(document: object, media_type: str) -> Response:
    return Response(orjson.dumps(document), media_type=media_type, headers=_KEPT)
