"""JWT access tokens as RFC 9068 wants them: read strictly, then checked, whoever has signed them.

Each check is also one that the library leaves to us: `kid` and `exp` may be missing there, `typ` and `nbf` are not
looked at, a lifetime has no limit, and a payload nested 20,000 deep ends in a RecursionError.
"""

from __future__ import annotations

import base64
import time
from collections.abc import Mapping, Set
from dataclasses import dataclass
from typing import Any, cast

from tmws_contracts.gateway import MAX_TOKEN_LIFETIME_S
from tmws_shared.problems import ProblemError, Unauthenticated
from tmws_shared.strict_json import read_json

MAX_BYTES = 8 * 1024
MAX_NAME_CHARS = 255
LEEWAY_S = 30
TYPE = "at+jwt"
_TYPES = frozenset({TYPE, f"application/{TYPE}"})
_HEADER = frozenset({"alg", "kid", "typ"})


@dataclass(frozen=True, slots=True)
class Token:
    """A token that could be read. Nothing in it may be believed before its signature is checked."""

    algorithm: str
    kid: str
    claims: Mapping[str, Any]
    signed: bytes
    signature: bytes


@dataclass(frozen=True, slots=True)
class Claims:
    """What a checked token says; `id` is its jti, `others` are all of its claims."""

    id: str
    subject: str
    client: str
    expires_at: int
    others: Mapping[str, Any]


def invalid_token(detail: str = "The token is not valid.") -> Unauthenticated:
    """Return the one answer to every token that is not."""
    return Unauthenticated(detail, error="invalid_token")


def read_token(text: str) -> Token:
    """Return the parts of a token.

    Raises:
        Unauthenticated: it is not a token, or its header names anything but algorithm, key and type.
    """
    parts = text.split(".")
    if len(text) > MAX_BYTES or not text.isascii() or len(parts) != 3:
        raise invalid_token()
    header, claims = _object(_decode(parts[0])), _object(_decode(parts[1]))
    # What else a header may hold (jku, jwk, x5u, crit, b64, zip …) makes a careless reader fetch, trust or unpack.
    if header.keys() != _HEADER or not all(_is_name(value) for value in header.values()) or header["typ"] not in _TYPES:
        raise invalid_token()
    return Token(header["alg"], header["kid"], claims, f"{parts[0]}.{parts[1]}".encode(), _decode(parts[2]))


def check_claims(token: Token, issuer: str, audiences: Set[str]) -> Claims:
    """Return what a token says whose signature is good.

    Raises:
        Unauthenticated: a claim is missing or wrong, it is not valid now, or for longer than an hour.
    """
    claims = token.claims
    if claims.get("iss") != issuer or not _audiences(claims) & audiences or not _is_timely(claims):
        raise invalid_token("The token has expired, or is for another service.")
    names = [claims.get(name) for name in ("jti", "sub", "client_id")]
    if not all(_is_name(name) for name in names):
        raise invalid_token()
    token_id, subject, client = map(str, names)
    return Claims(token_id, subject, client, claims["exp"], claims)


def _decode(part: str) -> bytes:
    """The bytes of a part, which can be written in one way only: without padding, unused bits are zero."""
    try:
        raw = base64.b64decode(part + "=" * (-len(part) % 4), altchars=b"-_", validate=True)
    except ValueError:
        raise invalid_token() from None
    if base64.urlsafe_b64encode(raw).rstrip(b"=") != part.encode():
        raise invalid_token()
    return raw


def _object(raw: bytes) -> dict[str, Any]:
    try:
        value = read_json(raw)
    except ProblemError:
        raise invalid_token() from None
    if not isinstance(value, dict):
        raise invalid_token()
    return cast("dict[str, Any]", value)


def _is_name(value: Any) -> bool:
    return isinstance(value, str) and 0 < len(value) <= MAX_NAME_CHARS and value.isprintable()


def _audiences(claims: Mapping[str, Any]) -> Set[str]:
    given = claims.get("aud")
    listed = cast("list[Any]", given) if isinstance(given, list) else [given]
    return {audience for audience in listed if isinstance(audience, str)}


def _is_timely(claims: Mapping[str, Any]) -> bool:
    expires, issued, not_before = (claims.get(name) for name in ("exp", "iat", "nbf"))
    current = time.time()
    return (
        type(expires) is int
        and type(issued) is int
        and (not_before is None or (type(not_before) is int and not_before <= current + LEEWAY_S))
        and expires > current - LEEWAY_S
        and issued <= current + LEEWAY_S
        and 0 < expires - issued <= MAX_TOKEN_LIFETIME_S
    )
