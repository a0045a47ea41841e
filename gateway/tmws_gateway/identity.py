"""Who is calling: from an API key or an access token to a principal."""

from __future__ import annotations

import hashlib
import re
import time
from dataclasses import dataclass, field
from datetime import datetime

from tmws_contracts.gateway import ApiKey
from tmws_contracts.scopes import SCOPES
from tmws_gateway.access_tokens import LEEWAY_S, AccessTokens
from tmws_gateway.api_keys import PREFIX, Pepper, parse_key
from tmws_gateway.failures import SignInFailures
from tmws_gateway.repository import StoredKey, find_key, note_key_uses
from tmws_shared.auth import Principal
from tmws_shared.clock import now
from tmws_shared.database import Database
from tmws_shared.expiring import Expiring
from tmws_shared.problems import TooManyRequests, Unauthenticated, Unavailable

CACHE_S = 60
CACHE_SIZE = 4096
LOCAL = Principal(subject="local", scopes=SCOPES)
# auth-scheme 1*SP token68 (RFC 9110, section 11.4); the scheme's case does not matter
_BEARER = re.compile(r"bearer +([A-Za-z0-9._~+/=-]+)", re.IGNORECASE)
_NO_DIGEST = bytes(32)


@dataclass(frozen=True, slots=True)
class Identity:
    """A verified credential."""

    principal: Principal
    expires_at: float | None
    is_api_key: bool


class Authenticator:
    """Verifies credentials; what was verified is known for 60 s, so a revoked key dies within that time."""

    def __init__(self, database: Database, secret: str, issuer: str, failures: SignInFailures) -> None:
        self._database = database
        self._pepper = Pepper(secret)
        self._tokens = AccessTokens(secret, issuer)
        self._failures = failures
        self._known: Expiring[bytes, Identity] = Expiring(CACHE_SIZE, CACHE_S)
        self._used: dict[str, datetime] = {}

    async def identify(self, authorization: str | None, address: str) -> Identity:
        """Return whose the credential in an Authorization header is.

        Raises:
            Unauthenticated: there is none, or it is not valid.
            TooManyRequests: there were too many failures from this address, or with this key.
        """
        if not authorization:
            raise Unauthenticated("Send an API key or an access token as `Authorization: Bearer …`.")
        token = _token(authorization)
        digest = hashlib.sha256(token.encode()).digest()
        known = self._known.get(digest)
        if known is not None and (known.expires_at is None or known.expires_at > time.time()):
            return known
        text = parse_key(token)
        await self._failures.check(address, text.id if text else None)
        try:
            identity = await (self._by_key(token) if token.startswith(f"{PREFIX}_") else self._by_token(token))
        except Unauthenticated:
            await self._failures.count(address, text.id if text else None)
            raise
        self._known.put(digest, identity)
        return identity

    def forget(self, key_id: str) -> None:
        """Verify again whatever came from this key."""
        self._known.forget(lambda known: known.principal.key_id == key_id)

    async def write_uses(self) -> None:
        """Write down when keys were last used, or try again next time."""
        used, self._used = self._used, {}
        try:
            if used:
                await note_key_uses(self._database, used)
        except Unavailable:
            self._used = used | self._used

    async def _by_key(self, token: str) -> Identity:
        text = parse_key(token)
        stored = await find_key(self._database, text.id) if text else None
        # The comparison happens for unknown keys too, so that time does not tell which ids exist.
        matches = self._pepper.matches(text.secret if text else "", stored.digest if stored else _NO_DIGEST)
        if stored is None or not matches or not is_usable(stored.key):
            raise Unauthenticated("The API key is not valid.", error="invalid_token")
        self._used[stored.key.id] = now()
        return Identity(_principal(stored.key, frozenset(stored.key.scopes)), _expiry(stored.key), is_api_key=True)

    async def _by_token(self, token: str) -> Identity:
        claims = self._tokens.verify(token)
        stored: StoredKey | None = await find_key(self._database, claims.key_id)
        if stored is None or not is_usable(stored.key):
            raise Unauthenticated("The API key of this token is not valid any more.", error="invalid_token")
        principal = _principal(stored.key, claims.scopes & frozenset(stored.key.scopes))
        expires_at = min(claims.expires_at + LEEWAY_S, _expiry(stored.key) or float("inf"))
        return Identity(principal, expires_at, is_api_key=False)


@dataclass(slots=True)
class Credentials:
    """What a caller has shown, verified again every minute for as long as its answer goes on."""

    authenticator: Authenticator
    authorization: str | None
    address: str
    expires_at: float | None
    checked_at: float = field(default_factory=time.time)

    @property
    def left_s(self) -> float:
        """Seconds until they expire."""
        return float("inf") if self.expires_at is None else self.expires_at - time.time()

    async def hold(self) -> bool:
        """Whether they are still valid, as far as is known: while the database is away they are."""
        current = time.time()
        if self.left_s <= 0:
            return False
        if current - self.checked_at >= CACHE_S:
            self.checked_at = current
            try:
                await self.authenticator.identify(self.authorization, self.address)
            except (Unauthenticated, TooManyRequests):
                return False
            except Unavailable:
                return True
        return True


def is_usable(key: ApiKey) -> bool:
    """Whether the key is neither revoked nor expired."""
    return key.revoked_at is None and (key.expires_at is None or key.expires_at > now())


def _token(authorization: str) -> str:
    found = _BEARER.fullmatch(authorization)
    if found is None:
        raise Unauthenticated("The Authorization header must be `Bearer` and one token.", error="invalid_request")
    return found.group(1)


def _principal(key: ApiKey, scopes: frozenset[str]) -> Principal:
    return Principal(key.name, key.namespace, scopes, key.persona, key.id)


def _expiry(key: ApiKey) -> float | None:
    return key.expires_at.timestamp() if key.expires_at else None
