"""Other issuers whose access tokens count here: those that the operator has named, and no others."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, Any, cast

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, TypeAdapter

from tmws_contracts.common import Slug, is_slug
from tmws_contracts.scopes import SCOPES
from tmws_gateway.identity.fetching import is_fetchable
from tmws_gateway.identity.key_sources import KeySource
from tmws_gateway.identity.tokens import LEEWAY_S, MAX_NAME_CHARS, Claims, Token, check_claims, invalid_token
from tmws_shared.auth import Principal

MAX_ISSUERS = 16
# So long, at most, does a key count that its issuer has withdrawn.
REFRESH_S = 300.0


def _fetchable(url: str) -> str:
    if not is_fetchable(url):
        raise ValueError("must be an https URL without credentials, query or fragment (http on the loopback)")
    return url


_Url = Annotated[str, AfterValidator(_fetchable)]
_Name = Annotated[str, Field(min_length=1, max_length=MAX_NAME_CHARS)]


class TrustedIssuer(BaseModel):
    """An issuer, and what its claims mean here."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    issuer: _Url
    audience: _Name
    jwks_uri: _Url | None = None
    namespace: Slug = "default"
    namespace_claim: _Name | None = None
    persona_claim: _Name | None = None
    scope_claim: _Name = "scope"


_SETTING = TypeAdapter(Annotated[list[TrustedIssuer], Field(max_length=MAX_ISSUERS)])


def read_issuers(text: str) -> list[TrustedIssuer]:
    """Return the issuers of a JSON list; none of an empty text.

    Raises:
        ValueError: it is not such a list, or names an issuer twice.
    """
    found = _SETTING.validate_json(text) if text else []
    if len({trusted.issuer for trusted in found}) < len(found):
        raise ValueError("an issuer is named twice")
    return found


@dataclass(frozen=True, slots=True)
class ForeignIdentity:
    """What a verified token of another issuer says."""

    principal: Principal
    issuer: str
    token_id: str
    expires_at: float


class Issuers:
    """Verifies the tokens of other issuers."""

    def __init__(self, trusted: Iterable[TrustedIssuer]) -> None:
        self._known = {one.issuer: (one, KeySource(one.issuer, one.jwks_uri)) for one in trusted}

    @property
    def names(self) -> list[str]:
        """The issuers."""
        return sorted(self._known)

    async def verify(self, token: Token) -> ForeignIdentity:
        """Return whose the token is.

        Raises:
            Unauthenticated: its issuer is not one of ours, or it is not valid.
            Unavailable: its issuer cannot be reached, and never was.
        """
        issuer = token.claims.get("iss")
        found = self._known.get(issuer) if isinstance(issuer, str) else None
        if found is None:
            raise invalid_token("The token has expired, or is for another service.")
        trusted, source = found
        key = await source.find(token.kid)
        if key is None or not key.has_signed(token):
            raise invalid_token()
        claims = check_claims(token, trusted.issuer, {trusted.audience})
        return ForeignIdentity(
            _principal(trusted, claims), trusted.issuer, claims.id, float(claims.expires_at + LEEWAY_S)
        )

    async def refresh(self) -> None:
        """Fetch the keys of all issuers anew."""
        await asyncio.gather(*(source.refresh() for _, source in self._known.values()))


def _principal(trusted: TrustedIssuer, claims: Claims) -> Principal:
    """Whom the claims name. The subject names the issuer too: nobody there can be taken for an API key of the name."""
    subject = f"{trusted.issuer}#{claims.subject}"
    if len(subject) > MAX_NAME_CHARS:
        raise invalid_token()
    namespace = _slug(claims, trusted.namespace_claim) if trusted.namespace_claim else trusted.namespace
    persona = trusted.persona_claim if trusted.persona_claim in claims.others else None
    return Principal(
        subject,
        namespace,
        _scopes(claims.others.get(trusted.scope_claim)),
        _slug(claims, persona) if persona else None,
    )


def _slug(claims: Claims, name: str) -> str:
    value = claims.others.get(name)
    if not isinstance(value, str) or not is_slug(value):
        raise invalid_token(f"The token's claim {name} must be a slug.")
    return value


def _scopes(value: Any) -> frozenset[str]:
    """Those of ours among the scopes of a token: a text separated by spaces (RFC 8693), or a list."""
    listed = value.split() if isinstance(value, str) else cast("list[Any]", value) if isinstance(value, list) else []
    return SCOPES & {scope for scope in listed if isinstance(scope, str)}
