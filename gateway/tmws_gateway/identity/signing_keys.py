"""The key that our access tokens are signed with, and those that were before it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from joserfc import jwt
from joserfc.jwk import OctKey, OKPKey

from tmws_gateway.identity.tokens import TYPE
from tmws_gateway.identity.verification_keys import VerificationKey, read_key_set
from tmws_shared.keys import derive_key

Algorithm = Literal["Ed25519", "HS256"]


@dataclass(frozen=True, slots=True)
class SigningKeys:
    """Signs with one key, and knows by `kid` every key whose signature counts. All gateways must have the same."""

    algorithm: Algorithm
    key: OKPKey | OctKey
    kid: str
    previous: Mapping[str, VerificationKey]

    @classmethod
    def of(
        cls, secret: str, algorithm: Algorithm = "Ed25519", private_key: str = "", previous: str = ""
    ) -> SigningKeys:
        """Return the keys: `private_key` as PEM, else derived from the secret; `previous` as a JWK Set.

        Raises:
            ValueError: a key cannot be read; the message says which setting is wrong.
        """
        if algorithm == "HS256":
            key = OctKey.import_key(derive_key(secret, "access tokens"))
        else:
            key = OKPKey.import_key(_read_private(private_key, secret))
        # The name is the thumbprint (RFC 7638): every gateway comes to the same one.
        return cls(algorithm, key, key.thumbprint(), _read_previous(previous))

    def sign(self, claims: Mapping[str, Any]) -> str:
        """Return a token with these claims."""
        header = {"alg": self.algorithm, "kid": self.kid, "typ": TYPE}
        return jwt.encode(header, dict(claims), self.key, algorithms=[self.algorithm])

    def find(self, kid: str) -> VerificationKey | None:
        """Return the key of this name."""
        return VerificationKey(frozenset({self.algorithm}), self.key) if kid == self.kid else self.previous.get(kid)

    def key_set(self) -> dict[str, Any]:
        """Return the public keys as a JWK Set; a shared secret is in none."""
        kept = [_public(key.key, kid) for kid, key in self.previous.items()]
        own = [_public(self.key, self.kid)] if isinstance(self.key, OKPKey) else []
        return {"keys": own + kept}


def _public(key: Any, kid: str) -> dict[str, Any]:
    return {**key.as_dict(private=False), "kid": kid, "use": "sig", "alg": "Ed25519"}


def _read_private(text: str, secret: str) -> Ed25519PrivateKey:
    if not text:
        return Ed25519PrivateKey.from_private_bytes(derive_key(secret, "access token signature"))
    try:
        key = load_pem_private_key(text.encode(), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        key = None
    if isinstance(key, Ed25519PrivateKey):
        return key
    raise ValueError("TMWS_TOKEN_PRIVATE_KEY must be an Ed25519 key in PEM, without a password")


def _read_previous(text: str) -> dict[str, VerificationKey]:
    if not text:
        return {}
    try:
        found = read_key_set(text.encode())
    except ValueError:
        found = {}
    if not found or any(not isinstance(key.key, OKPKey) for key in found.values()):
        raise ValueError(
            "TMWS_TOKEN_PREVIOUS_KEYS must be a JWK Set of Ed25519 keys, as /.well-known/jwks.json gives it"
        )
    return found
