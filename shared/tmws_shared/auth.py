"""Who is calling: principals, scopes, and the internal tokens that carry them between services."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from fastapi import Request
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import OctKey
from pydantic import BaseModel, ConfigDict

from tmws_contracts.scopes import SCOPES
from tmws_shared.expiring import Expiring
from tmws_shared.keys import derive_key
from tmws_shared.problems import Forbidden, Unauthenticated

ISSUER = "tmws"
# With the leeway, nobody takes a token that is older than 30 s.
LIFETIME_S = 25
REUSE_S = 10
LEEWAY_S = 5
MAX_TOKEN_BYTES = 8 * 1024


@dataclass(frozen=True, slots=True)
class Principal:
    """Somebody who may do something.

    `namespace` is the one the request acts in; `persona` the agent it speaks for, if any.
    """

    subject: str
    namespace: str = "default"
    scopes: frozenset[str] = field(default_factory=frozenset)
    persona: str | None = None
    key_id: str | None = None

    def allow(self, scope: str) -> None:
        """Return when the principal has the scope.

        Raises:
            Forbidden: it does not.
        """
        if scope not in self.scopes:
            raise Forbidden(f"This needs the scope {scope}.", error="insufficient_scope", scope=scope)


class _Claims(BaseModel):
    model_config = ConfigDict(strict=True, frozen=True)

    iss: str
    aud: str
    method: str
    sub: str
    ns: str
    scopes: list[str]
    exp: int
    persona: str | None = None
    kid: str | None = None


class InternalTokens:
    """Makes and checks the tokens that services show each other.

    Each audience has a key of its own, so a token for one service is worth nothing at another; nor is one for GET worth
    anything with DELETE.
    """

    def __init__(self, secret: str) -> None:
        self._secret = secret
        self._keys: dict[str, OctKey] = {}
        self._made: Expiring[tuple[Principal, str, str], str] = Expiring(4096, REUSE_S)
        # What a token says does not change; whether it has expired is asked each time.
        self._verified: Expiring[tuple[str, str, str], tuple[int, Principal]] = Expiring(4096, REUSE_S)

    def mint(self, principal: Principal, audience: str, method: str) -> str:
        """Return a token for requests with `method` to `audience`, valid for at least 15 s."""
        known = self._made.get((principal, audience, method))
        if known is not None:
            return known
        issued = int(time.time())
        claims = {
            "iss": ISSUER,
            "aud": audience,
            "method": method,
            "sub": principal.subject,
            "iat": issued,
            "exp": issued + LIFETIME_S,
            "ns": principal.namespace,
            "scopes": sorted(principal.scopes),
            "persona": principal.persona,
            "kid": principal.key_id,
        }
        token = jwt.encode({"alg": "HS256", "typ": "JWT"}, claims, self._key(audience), algorithms=["HS256"])
        self._made.put((principal, audience, method), token)
        return token

    def verify(self, token: str, audience: str, method: str) -> Principal:
        """Return who the token speaks for.

        Raises:
            Unauthenticated: the token is not one of ours for `audience` and `method`, or has expired.
        """
        known = self._verified.get((token, audience, method))
        if known is None:
            claims = self._claims(token, audience)
            if (claims.iss, claims.aud, claims.method) != (ISSUER, audience, method):
                raise Unauthenticated("The internal token is for another service or method.")
            caller = Principal(claims.sub, claims.ns, frozenset(claims.scopes), claims.persona, claims.kid)
            known = claims.exp, caller
            self._verified.put((token, audience, method), known)
        expires_at, principal = known
        if expires_at < time.time() - LEEWAY_S:
            raise Unauthenticated("The internal token has expired.")
        return principal

    def _claims(self, token: str, audience: str) -> _Claims:
        if not token or len(token) > MAX_TOKEN_BYTES:
            raise Unauthenticated("An internal token is needed.")
        try:
            return _Claims.model_validate(jwt.decode(token, self._key(audience), algorithms=["HS256"]).claims)
        # A validly signed payload nested 20,000 deep makes the JSON reader recurse.
        except (JoseError, ValueError, RecursionError) as error:
            raise Unauthenticated("The internal token is not valid.") from error

    def _key(self, audience: str) -> OctKey:
        if audience not in self._keys:
            self._keys[audience] = OctKey.import_key(derive_key(self._secret, f"internal token for {audience}"))
        return self._keys[audience]


def bearer(authorization: str) -> str:
    """Return the token of an Authorization header, or an empty string (RFC 6750)."""
    scheme, _, token = authorization.partition(" ")
    return token if scheme.lower() == "bearer" else ""


class NeedsScope:
    """Dependency that gives the principal of a request, when it has `scope`."""

    def __init__(self, scope: str) -> None:
        if scope not in SCOPES:
            raise ValueError(f"{scope} is not a scope")
        self.scope = scope

    async def __call__(self, request: Request) -> Principal:
        """Return the principal.

        Raises:
            Forbidden: it lacks the scope.
        """
        principal: Principal = request.state.principal
        principal.allow(self.scope)
        return principal
