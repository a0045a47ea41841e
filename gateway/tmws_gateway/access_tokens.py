"""JWT access tokens (RFC 9068), signed with HS256 under a key derived from the secret."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import OctKey

from tmws_contracts.gateway import MAX_TOKEN_LIFETIME_S
from tmws_shared.clock import new_id
from tmws_shared.keys import derive_key
from tmws_shared.problems import Unauthenticated

AUDIENCE = "tmws"
LEEWAY_S = 30
MAX_BYTES = 8 * 1024
_TYPE = "at+jwt"
_ALGORITHMS = ["HS256"]
_HEADER = frozenset({"alg", "kid", "typ"})
_TIMES = ("exp", "iat", "nbf")


@dataclass(frozen=True, slots=True)
class Claims:
    """What a verified token says."""

    subject: str
    key_id: str
    scopes: frozenset[str]
    expires_at: int


class AccessTokens:
    """Makes and verifies access tokens."""

    def __init__(self, secret: str, issuer: str) -> None:
        raw = derive_key(secret, "access tokens")
        self._key = OctKey.import_key(raw)
        self._kid = hashlib.sha256(raw).hexdigest()[:16]
        self._issuer = issuer

    def issue(self, subject: str, key_id: str, scopes: Iterable[str], lifetime_s: int) -> str:
        """Return a token that speaks for the API key `key_id`."""
        issued = int(time.time())
        claims = {
            "iss": self._issuer,
            "aud": AUDIENCE,
            "sub": subject,
            "client_id": key_id,
            "scope": " ".join(sorted(scopes)),
            "iat": issued,
            "exp": issued + lifetime_s,
            "jti": str(new_id()),
        }
        header = {"alg": "HS256", "kid": self._kid, "typ": _TYPE}
        return jwt.encode(header, claims, self._key, algorithms=_ALGORITHMS)

    def verify(self, token: str) -> Claims:
        """Return what the token says.

        Raises:
            Unauthenticated: it is not one of ours, or not valid now.
        """
        claims = self._decode(token)
        if claims.get("iss") != self._issuer or claims.get("aud") != AUDIENCE or not _is_timely(claims):
            raise Unauthenticated("The token has expired, or is for another service.", error="invalid_token")
        texts = [claims.get(name) for name in ("sub", "client_id", "scope")]
        if not all(isinstance(text, str) and text for text in texts):
            raise Unauthenticated("The token is not valid.", error="invalid_token")
        subject, key_id, scope = map(str, texts)
        return Claims(subject, key_id, frozenset(scope.split()), claims["exp"])

    def _decode(self, token: str) -> dict[str, Any]:
        invalid = Unauthenticated("The token is not valid.", error="invalid_token")
        if len(token) > MAX_BYTES or not token.isascii():
            raise invalid
        try:
            decoded = jwt.decode(token, self._key, algorithms=_ALGORITHMS)
        # A validly signed payload nested 20,000 deep makes the JSON reader recurse; odd types raise the others.
        except (JoseError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            raise invalid from error
        header: dict[str, Any] = decoded.header
        if header.keys() != _HEADER or header["kid"] != self._kid or header["typ"] != _TYPE:
            raise invalid
        return decoded.claims


def _is_timely(claims: dict[str, Any]) -> bool:
    expires, issued, not_before = (claims.get(name) for name in _TIMES)
    current = time.time()
    return (
        type(expires) is int
        and type(issued) is int
        and (not_before is None or (type(not_before) is int and not_before <= current + LEEWAY_S))
        and expires > current - LEEWAY_S
        and issued <= current + LEEWAY_S
        and 0 < expires - issued <= MAX_TOKEN_LIFETIME_S
    )
