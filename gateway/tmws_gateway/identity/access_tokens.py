"""The access tokens that we issue: each speaks for an API key, as long as that key is valid."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass

from tmws_gateway.identity.signing_keys import SigningKeys
from tmws_gateway.identity.tokens import Claims, Token, check_claims, invalid_token
from tmws_shared.clock import new_id

AUDIENCE = "tmws"


@dataclass(frozen=True, slots=True)
class KeyClaims:
    """What a verified token says; `key_version` is that of the API key it was made from."""

    id: str
    key_id: str
    key_version: int
    scopes: frozenset[str]
    expires_at: int


class AccessTokens:
    """Makes and verifies access tokens."""

    def __init__(self, keys: SigningKeys, issuer: str) -> None:
        self.keys = keys
        self.issuer = issuer

    def issue(self, subject: str, key_id: str, key_version: int, scopes: Iterable[str], lifetime_s: int) -> str:
        """Return a token that speaks for the API key `key_id`."""
        issued = int(time.time())
        return self.keys.sign(
            {
                "iss": self.issuer,
                "aud": AUDIENCE,
                "sub": subject,
                "client_id": key_id,
                "key_version": key_version,
                "scope": " ".join(sorted(scopes)),
                "iat": issued,
                "exp": issued + lifetime_s,
                "jti": str(new_id()),
            }
        )

    def verify(self, token: Token) -> KeyClaims:
        """Return what the token says.

        Raises:
            Unauthenticated: it is not one of ours, or not valid now.
        """
        key = self.keys.find(token.kid)
        if key is None or not key.has_signed(token):
            raise invalid_token()
        claims = check_claims(token, self.issuer, {AUDIENCE})
        return _key_claims(claims)


def _key_claims(claims: Claims) -> KeyClaims:
    scope, version, audience = (claims.others.get(name) for name in ("scope", "key_version", "aud"))
    if audience != AUDIENCE or type(version) is not int or not isinstance(scope, str) or not scope:
        raise invalid_token()
    return KeyClaims(claims.id, claims.client, version, frozenset(scope.split()), claims.expires_at)
