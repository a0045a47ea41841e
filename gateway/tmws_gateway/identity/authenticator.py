"""Who is calling: from an API key or an access token to a principal."""

from __future__ import annotations

import hashlib
import re
import time
from dataclasses import dataclass, field
from datetime import datetime

from tmws_contracts.gateway import ApiKey
from tmws_contracts.scopes import SCOPES
from tmws_gateway.identity.access_tokens import AccessTokens
from tmws_gateway.identity.api_keys import Pepper, is_key, parse_key
from tmws_gateway.identity.changes import ALL, of_key, of_token
from tmws_gateway.identity.failures import SignInFailures
from tmws_gateway.identity.issuers import Issuers
from tmws_gateway.identity.tokens import LEEWAY_S, Token, invalid_token, read_token
from tmws_gateway.repository.keys import StoredKey, find_key, note_key_uses
from tmws_gateway.repository.tokens import is_token_revoked
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
class TokenId:
    """What names an access token, and when it ends (seconds since 1970)."""

    issuer: str
    id: str
    expires_at: float


@dataclass(frozen=True, slots=True)
class Identity:
    """A verified credential. `key_version` is that of the API key that was shown, `token` the token that was."""

    principal: Principal
    expires_at: float | None
    key_version: int | None = None
    token: TokenId | None = None

    @property
    def is_api_key(self) -> bool:
        """Whether an API key was shown, not a token."""
        return self.token is None

    def depends_on(self, mark: str) -> bool:
        """Whether a change of what the mark names is one of this."""
        key_id, token = self.principal.key_id, self.token
        return (
            mark == ALL
            or (key_id is not None and mark == of_key(key_id))
            or (token is not None and mark == of_token(token.issuer, token.id))
        )


class Authenticator:
    """Verifies credentials, and knows for 60 s what it has verified: no signature is checked twice in that time.

    Who changes a key or a token has it forgotten at once; the 60 s hold for those who cannot be told.
    """

    def __init__(
        self, database: Database, pepper: Pepper, tokens: AccessTokens, issuers: Issuers, failures: SignInFailures
    ) -> None:
        self._database = database
        self._pepper = pepper
        self._tokens = tokens
        self._issuers = issuers
        self._failures = failures
        self._known: Expiring[bytes, Identity] = Expiring(CACHE_SIZE, CACHE_S)
        self._used: dict[str, datetime] = {}
        self.changes_seen = 0

    async def identify(self, authorization: str | None, address: str) -> Identity:
        """Return whose the credential in an Authorization header is.

        Raises:
            Unauthenticated: there is none, or it is not valid.
            TooManyRequests: there were too many failures from this address, or with this key.
        """
        if not authorization:
            raise Unauthenticated("Send an API key or an access token as `Authorization: Bearer …`.")
        known = self.recall(authorization)
        if known is not None:
            return known
        text = _token(authorization)
        key = parse_key(text)
        key_id, seen = key.id if key else None, self.changes_seen
        await self._failures.check(address, key_id)
        try:
            identity = await self.verify(text)
        except Unauthenticated:
            await self._failures.count(address, key_id)
            raise
        # A key that was revoked while it was verified must not be known as valid afterwards.
        if seen == self.changes_seen:
            self._known.put(_digest(authorization), identity)
        return identity

    def recall(self, authorization: str) -> Identity | None:
        """Return whose the credential is, if that was verified lately and nothing of it has changed since."""
        known = self._known.get(_digest(authorization))
        return known if known is None or known.expires_at is None or known.expires_at > time.time() else None

    async def verify(self, text: str) -> Identity:
        """Return whose a credential is, as the database knows it at this moment.

        Raises:
            Unauthenticated: it is not valid.
            Unavailable: the database, or the keys of its issuer, are out of reach.
        """
        return await (self._by_key(text) if is_key(text) else self.verify_token(text))

    async def verify_token(self, text: str) -> Identity:
        """Return whose an access token is.

        Raises:
            Unauthenticated: it is not valid.
            Unavailable: the database, or the keys of its issuer, are out of reach.
        """
        token = read_token(text)
        ours = token.claims.get("iss") == self._tokens.issuer
        return await (self._by_own_token(token) if ours else self._by_foreign_token(token))

    def forget(self, mark: str) -> None:
        """Verify again whatever depends on what the mark names."""
        self.changes_seen += 1
        self._known.forget(lambda known: known.depends_on(mark))

    async def write_uses(self) -> None:
        """Write down when keys were last used, or try again next time."""
        used, self._used = self._used, {}
        try:
            if used:
                await note_key_uses(self._database, used)
        except Unavailable:
            self._used = used | self._used

    async def _by_key(self, text: str) -> Identity:
        shown = parse_key(text)
        # Look-up and comparison happen whatever is wrong, so that time tells neither that nor which ids exist.
        stored = await find_key(self._database, shown.id if shown else "")
        secret = shown.secret if shown else ""
        is_current = self._pepper.matches(secret, stored.digest if stored else _NO_DIGEST)
        is_previous = self._pepper.matches(secret, (stored.previous_digest if stored else None) or _NO_DIGEST)
        version = stored.key.version - (not is_current) if stored else 0
        if stored is None or not (is_current or is_previous) or not has_version(stored.key, version):
            raise Unauthenticated("The API key is not valid.", error="invalid_token")
        self._used[stored.key.id] = now()
        principal = _principal(stored.key, frozenset(stored.key.scopes))
        return Identity(principal, _expiry(stored.key, version), version)

    async def _by_own_token(self, token: Token) -> Identity:
        claims = self._tokens.verify(token)
        stored: StoredKey | None = await find_key(self._database, claims.key_id)
        if stored is None or not has_version(stored.key, claims.key_version):
            raise Unauthenticated("The API key of this token is not valid any more.", error="invalid_token")
        principal = _principal(stored.key, claims.scopes & frozenset(stored.key.scopes))
        expires_at = min(claims.expires_at + LEEWAY_S, _expiry(stored.key, claims.key_version) or float("inf"))
        return await self._unless_revoked(principal, expires_at, TokenId(self._tokens.issuer, claims.id, expires_at))

    async def _by_foreign_token(self, token: Token) -> Identity:
        found = await self._issuers.verify(token)
        return await self._unless_revoked(
            found.principal, found.expires_at, TokenId(found.issuer, found.token_id, found.expires_at)
        )

    async def _unless_revoked(self, principal: Principal, expires_at: float, token: TokenId) -> Identity:
        if await is_token_revoked(self._database, token.issuer, token.id):
            raise invalid_token("The token was revoked.")
        return Identity(principal, expires_at, token=token)


@dataclass(slots=True)
class Credentials:
    """What a caller has shown, verified again every minute for as long as its answer goes on, and when keys change."""

    authenticator: Authenticator
    authorization: str | None
    address: str
    expires_at: float | None
    checked_at: float = field(default_factory=time.time)
    changes_seen: int = -1

    def __post_init__(self) -> None:
        self.changes_seen = self.authenticator.changes_seen

    @property
    def left_s(self) -> float:
        """Seconds until they expire."""
        return float("inf") if self.expires_at is None else self.expires_at - time.time()

    async def hold(self) -> bool:
        """Whether they are still valid, as far as is known: while the database is away they are."""
        current, changes_seen = time.time(), self.authenticator.changes_seen
        if self.left_s <= 0:
            return False
        if current - self.checked_at >= CACHE_S or changes_seen != self.changes_seen:
            self.checked_at, self.changes_seen = current, changes_seen
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


def has_version(key: ApiKey, version: int) -> bool:
    """Whether the key is usable with the secret of this version: its own, or the one before in its time of grace."""
    is_in_grace = version == key.version - 1 and key.previous_until is not None and key.previous_until > now()
    return is_usable(key) and (version == key.version or is_in_grace)


def _digest(authorization: str) -> bytes:
    return hashlib.sha256(authorization.encode()).digest()


def _token(authorization: str) -> str:
    found = _BEARER.fullmatch(authorization)
    if found is None:
        raise Unauthenticated("The Authorization header must be `Bearer` and one token.", error="invalid_request")
    return found.group(1)


def _principal(key: ApiKey, scopes: frozenset[str]) -> Principal:
    return Principal(key.name, key.namespace, scopes, key.persona, key.id)


def _expiry(key: ApiKey, version: int) -> float | None:
    """When this version of the key ends (seconds since 1970), None when it does not."""
    ends = [key.expires_at, None if version == key.version else key.previous_until]
    return min((moment.timestamp() for moment in ends if moment is not None), default=None)
