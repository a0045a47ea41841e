"""The keys of an issuer (RFC 7517), found where it says (RFC 8414, OpenID Connect Discovery), kept while it is down."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from time import monotonic
from typing import Any, cast
from urllib.parse import urlsplit

from tmws_gateway.identity.fetching import NotFetched, fetch
from tmws_gateway.identity.verification_keys import VerificationKey, read_key_set
from tmws_shared.problems import ProblemError, Unavailable
from tmws_shared.strict_json import read_json

_log = logging.getLogger(__name__)

# A token may name a key that we do not know, and anybody can write one: so often, at most, is the issuer asked for it.
UNKNOWN_KEY_S = 30.0


class KeySource:
    """Knows the keys of one issuer by their `kid`; `jwks_uri` None finds them by discovery."""

    def __init__(self, issuer: str, jwks_uri: str | None, clock: Callable[[], float] = monotonic) -> None:
        self._issuer = issuer
        self._jwks_uri = jwks_uri
        self._clock = clock
        self._keys: Mapping[str, VerificationKey] | None = None
        self._asked_for_unknown_at = -UNKNOWN_KEY_S
        self._lock = asyncio.Lock()

    async def find(self, kid: str) -> VerificationKey | None:
        """Return the key of this name, which the issuer may have begun to use a moment ago.

        Raises:
            Unavailable: none of its keys could be fetched so far.
        """
        if self._keys is None or kid not in self._keys:
            await self._fetch_unknown(kid)
        if self._keys is None:
            raise Unavailable("The keys of the token's issuer are not available.", retry_after_s=int(UNKNOWN_KEY_S))
        return self._keys.get(kid)

    async def refresh(self) -> None:
        """Fetch the keys anew, which forgets those that the issuer has withdrawn; while it is down they stay."""
        try:
            self._keys = await self._fetch()
        except (NotFetched, ValueError) as error:
            _log.warning("the keys of %s could not be fetched: %s", self._issuer, error)

    async def _fetch_unknown(self, kid: str) -> None:
        async with self._lock:
            is_known = self._keys is not None and kid in self._keys
            if is_known or self._clock() - self._asked_for_unknown_at < UNKNOWN_KEY_S:
                return
            self._asked_for_unknown_at = self._clock()
            await self.refresh()

    async def _fetch(self) -> Mapping[str, VerificationKey]:
        return read_key_set(await fetch(self._jwks_uri or await self._discover()))

    async def _discover(self) -> str:
        """The jwks_uri that the issuer publishes; one on another host has to be configured."""
        parts = urlsplit(self._issuer)
        path = parts.path.rstrip("/")
        origin = f"{parts.scheme}://{parts.netloc}"
        try:
            raw = await fetch(f"{origin}{path}/.well-known/openid-configuration")
        except NotFetched:
            raw = await fetch(f"{origin}/.well-known/oauth-authorization-server{path}")
        document = _object(raw)
        if document.get("issuer") != self._issuer:
            raise NotFetched("its metadata is of another issuer")
        found = document.get("jwks_uri")
        if not isinstance(found, str) or not found.startswith(f"{origin}/"):
            raise NotFetched("its metadata names no jwks_uri of the same host: set jwks_uri")
        return found


def _object(raw: bytes) -> dict[str, Any]:
    try:
        value = read_json(raw)
    except ProblemError as error:
        raise NotFetched("its metadata is not JSON") from error
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}
