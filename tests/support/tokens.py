"""Access tokens as an attacker would like them: signed with the right key, wrong in one place.

forge()                         # a valid one
forge(exp=None)                 # without exp
forge(header={"kid": None})     # without kid
sign_raw(b"[]")                 # with a payload of these bytes
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from joserfc.jwk import OKPKey

from tmws_shared.keys import derive_key

SECRET = "7hQp2vXz9LmK4tRw8YbN1cFg6JdS3aEu5ToP"


def signing_key() -> Ed25519PrivateKey:
    """Return the key that access tokens are signed with."""
    return Ed25519PrivateKey.from_private_bytes(derive_key(SECRET, "access token signature"))


def kid_of(key: Ed25519PrivateKey) -> str:
    """Return the name of a key."""
    return OKPKey.import_key(key).thumbprint()


def forge(*, header: dict[str, Any] | None = None, key: Ed25519PrivateKey | None = None, **claims: Any) -> str:
    """Return a signed token; a member that is None is left out."""
    now = int(time.time())
    good = {
        "iss": "tmws", "aud": "tmws", "sub": "alice", "client_id": "k1", "key_version": 1, "scope": "task:read",
        "iat": now, "exp": now + 600, "jti": "1",
    }  # fmt: skip
    return sign_raw(json.dumps(_given(good | claims)).encode(), header, key)


def sign_raw(payload: bytes, header: dict[str, Any] | None = None, key: Ed25519PrivateKey | None = None) -> str:
    """Return a token whose payload is exactly these bytes."""
    key = key or signing_key()
    signed = _head({"alg": "Ed25519", "kid": kid_of(signing_key()), "typ": "at+jwt", **(header or {})}, payload)
    return (signed + b"." + encode(key.sign(signed))).decode()


def sign_with_public_key(payload: bytes) -> list[str]:
    """Return tokens whose HMAC has the public key as its secret, in the forms that it is published in."""
    public = signing_key().public_key()
    raw = public.public_bytes(Encoding.Raw, PublicFormat.Raw)
    secrets = [raw, encode(raw), public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)]
    signed = _head({"alg": "HS256", "kid": kid_of(signing_key()), "typ": "at+jwt"}, payload)
    return [(signed + b"." + encode(hmac.digest(secret, signed, hashlib.sha256))).decode() for secret in secrets]


def unsigned(algorithm: str) -> str:
    """Return a token that claims to need no signature."""
    head, payload, _ = forge().split(".")
    parsed = json.loads(base64.urlsafe_b64decode(head + "=="))
    return f"{encode(json.dumps({**parsed, 'alg': algorithm}).encode()).decode()}.{payload}."


def encode(raw: bytes) -> bytes:
    """Return base64url without padding."""
    return base64.urlsafe_b64encode(raw).rstrip(b"=")


def _head(header: dict[str, Any], payload: bytes) -> bytes:
    return encode(json.dumps(_given(header)).encode()) + b"." + encode(payload)


def _given(members: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in members.items() if value is not None}
