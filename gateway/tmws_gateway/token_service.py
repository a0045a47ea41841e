"""Access tokens: made from API keys, and revoked before their end."""

from __future__ import annotations

from tmws_contracts.gateway import AccessToken, TokenRequest
from tmws_gateway.errors import NeedsApiKey, NotYourToken
from tmws_gateway.identity.access_tokens import AccessTokens
from tmws_gateway.identity.api_keys import is_key
from tmws_gateway.identity.authenticator import Authenticator, Identity
from tmws_gateway.identity.changes import CredentialChanges, of_token
from tmws_gateway.key_service import check_grant, rights_event
from tmws_gateway.repository.audit import add_events
from tmws_gateway.repository.tokens import forget_revoked_tokens, revoke_token
from tmws_shared.auth import Principal
from tmws_shared.database import Database
from tmws_shared.problems import Unauthenticated

MANAGES_KEYS = "keys:admin"


class TokenService:
    """Issues and revokes access tokens."""

    def __init__(
        self, database: Database, tokens: AccessTokens, authenticator: Authenticator, changes: CredentialChanges
    ) -> None:
        self._database = database
        self._tokens = tokens
        self._authenticator = authenticator
        self._changes = changes

    def issue(self, shown: Identity | None, wanted: TokenRequest) -> AccessToken:
        """Return an access token for the API key that was shown.

        Raises:
            NeedsApiKey: none was.
            MissingGrant: the token would have scopes that the key lacks.
        """
        key_id = shown.principal.key_id if shown and shown.is_api_key else None
        if shown is None or key_id is None or shown.key_version is None:
            raise NeedsApiKey("Sign in with an API key to get a token.")
        caller = shown.principal
        scopes = frozenset(wanted.scopes) if wanted.scopes else caller.scopes
        check_grant(caller, scopes, "/scopes")
        token = self._tokens.issue(caller.subject, key_id, shown.key_version, scopes, wanted.expires_in)
        return AccessToken(access_token=token, expires_in=wanted.expires_in, scope=" ".join(sorted(scopes)))

    async def revoke(self, caller: Principal, text: str, address: str) -> None:
        """Revoke an access token; one that is not valid, or not any more, needs no revoking.

        Raises:
            NotYourToken: it speaks for somebody else, and the caller does not manage keys.
        """
        # Not looked at: what this says of keys would tell who guesses them.
        if is_key(text):
            raise NotYourToken("API keys are revoked by DELETE /api/v1/keys/{id}.")
        try:
            identity = await self._authenticator.verify_token(text)
        except Unauthenticated:
            return
        holder, token = identity.principal, identity.token
        is_own = (holder.subject, holder.key_id) == (caller.subject, caller.key_id)
        if not is_own and MANAGES_KEYS not in caller.scopes:
            raise NotYourToken("It speaks for somebody else.")
        assert token is not None  # noqa: S101 -- what verify_token gives has one
        async with self._database.transaction() as connection:
            await revoke_token(connection, token.issuer, token.id, token.expires_at)
            resource = f"/api/v1/auth/tokens/{token.id}"
            await add_events(connection, [rights_event("token.revoked", caller, resource, address)])
        await self._changes.tell(of_token(token.issuer, token.id))

    async def forget_ended(self) -> None:
        """Forget the revoked tokens that have ended by themselves."""
        await forget_revoked_tokens(self._database)
