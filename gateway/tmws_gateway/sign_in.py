"""Everything that has to do with who is calling, put together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

from tmws_gateway.identity.access_tokens import AccessTokens
from tmws_gateway.identity.address_notes import AddressNotes, Whereabouts
from tmws_gateway.identity.addresses import TrustedProxies
from tmws_gateway.identity.api_keys import Pepper
from tmws_gateway.identity.authenticator import Authenticator
from tmws_gateway.identity.changes import CredentialChanges
from tmws_gateway.identity.failures import SignInFailures
from tmws_gateway.identity.issuers import REFRESH_S, Issuers
from tmws_gateway.identity.metadata import ResourceMetadata
from tmws_gateway.key_service import KeyService
from tmws_gateway.settings import GatewaySettings
from tmws_gateway.token_service import TokenService
from tmws_shared.background import Loop, every
from tmws_shared.database import Database
from tmws_shared.redis import OptionalRedis

USES_EVERY_S = 10.0
FORGET_EVERY_S = 3600.0


@dataclass(frozen=True, slots=True)
class SignIn:
    """The parts of signing in; `metadata` is None while nobody has to."""

    authenticator: Authenticator
    keys: KeyService
    tokens: TokenService
    access_tokens: AccessTokens
    metadata: ResourceMetadata | None
    notes: AddressNotes
    whereabouts: Whereabouts
    _changes: CredentialChanges
    _issuers: Issuers

    @classmethod
    def of(cls, settings: GatewaySettings, database: Database, redis: OptionalRedis) -> SignIn:
        """Return what the settings ask for."""
        secret = settings.secret_key.get_secret_value()
        name = next((url.geturl() for url in settings.public_urls), "tmws")
        notes = AddressNotes(secret)
        access_tokens = AccessTokens(settings.signing_keys(), name)
        issuers = Issuers(settings.issuers)
        authenticator = Authenticator(database, Pepper(secret), access_tokens, issuers, SignInFailures(redis))
        changes = CredentialChanges(redis, settings.redis_url.get_secret_value(), authenticator.forget)
        return cls(
            authenticator=authenticator,
            keys=KeyService(database, secret, changes),
            tokens=TokenService(database, access_tokens, authenticator, changes),
            access_tokens=access_tokens,
            metadata=ResourceMetadata(settings.public_urls, issuers.names) if settings.auth_enabled else None,
            notes=notes,
            whereabouts=Whereabouts(notes, TrustedProxies(settings.proxies)),
            _changes=changes,
            _issuers=issuers,
        )

    def loops(self) -> Mapping[str, Loop]:
        """Return what runs in the background, by name."""
        return {
            "note key uses": partial(every, USES_EVERY_S, self.authenticator.write_uses),
            "hear of changed credentials": self._changes.listen,
            "fetch issuers' keys": partial(every, REFRESH_S, self._issuers.refresh),
            "forget ended tokens": partial(every, FORGET_EVERY_S, self.tokens.forget_ended),
        }

    async def close(self) -> None:
        """Write down when keys were last used, and close the connection."""
        await self.authenticator.write_uses()
        await self._changes.close()
