"""Access tokens as an attacker would like them: signed with the right key, wrong in one place.

forge()                         # a valid one
forge(exp=None)                 # without exp
forge(header={"kid": None})     # without kid
"""

from __future__ import annotations

import base64
import hashlib
import json
import time
from typing import Any

from joserfc import jwt
from joserfc.jwk import OctKey

from tmws_shared.keys import derive_key

SECRET = "7hQp2vXz9LmK4tRw8YbN1cFg6JdS3aEu5ToP"


def signing_key() -> bytes:
    """Return the key that access tokens are signed with."""
    return derive_key(SECRET, "access tokens")


def forge(*, header: dict[str, Any] | None = None, key: bytes | None = None, **claims: Any) -> str:
    """Return a signed token; a member that is None is left out."""
    now = int(time.time())
    good_header = {"alg": "HS256", "kid": hashlib.sha256(signing_key()).hexdigest()[:16], "typ": "at+jwt"}
    good = {
        "iss": "tmws", "aud": "tmws", "sub": "alice", "client_id": "k1", "scope": "task:read",
        "iat": now, "exp": now + 600, "jti": "1",
    }  # fmt: skip
    return jwt.encode(
        _given(good_header | (header or {})),
        _given(good | claims),
        OctKey.import_key(key or signing_key()),
        algorithms=["HS256"],
        default_type=None,
    )


def sign_raw(payload: bytes, header: dict[str, Any] | None = None) -> str:
    """Return a token whose payload is exactly these bytes, signed with the right key."""
    import hmac

    head = {"alg": "HS256", "kid": hashlib.sha256(signing_key()).hexdigest()[:16], "typ": "at+jwt", **(header or {})}
    signed = _encode(json.dumps(head).encode()) + b"." + _encode(payload)
    return (signed + b"." + _encode(hmac.digest(signing_key(), signed, "sha256"))).decode()


def unsigned(algorithm: str) -> str:
    """Return a token that claims to need no signature."""
    head, payload, _ = forge().split(".")
    parsed = json.loads(base64.urlsafe_b64decode(head + "=="))
    return f"{_encode(json.dumps({**parsed, 'alg': algorithm}).encode()).decode()}.{payload}."


def _given(members: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in members.items() if value is not None}


def _encode(raw: bytes) -> bytes:
    return base64.urlsafe_b64encode(raw).rstrip(b"=")
