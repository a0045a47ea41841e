"""An issuer of access tokens: a real web server with keys that it can change.

async with issuer() as site:
    site.url                                   # what its tokens name as `iss`
    site.sign(sub="alice", scope="task:read")  # a token by its newest key
    site.rotate("ES256")                       # from now on with another key
"""

from __future__ import annotations

import json
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from joserfc.jwk import ECKey, OKPKey, RSAKey
from joserfc.jws import JWSRegistry

from support.tokens import encode
from support.web import Answer, Asked, Website, json_page, page, website

AUDIENCE = "https://tmws.test"
DISCOVERY = "/.well-known/openid-configuration"
JWKS = "/keys"
_MAKERS: dict[str, Callable[[], Any]] = {
    "RS256": lambda: RSAKey.generate_key(2048),
    "ES256": lambda: ECKey.generate_key("P-256"),
    "Ed25519": lambda: OKPKey.generate_key("Ed25519"),
    "EdDSA": lambda: OKPKey.generate_key("Ed25519"),
}


@dataclass
class Issuer:
    """An issuer; `pages` has the answers that are not its usual ones."""

    site: Website = field(init=False)
    keys: dict[str, tuple[str, Any]] = field(default_factory=dict[str, tuple[str, Any]])
    pages: dict[str, Answer] = field(default_factory=dict[str, Answer])

    @property
    def url(self) -> str:
        """What its tokens name as `iss`."""
        return f"http://127.0.0.1:{self.site.port}"

    def asked_for(self, path: str) -> int:
        """How often it was asked for a page."""
        return [asked.target for asked in self.site.asked].count(path)

    def rotate(self, algorithm: str) -> str:
        """Publish another key, sign with it, and return its kid."""
        kid = f"key-{len(self.keys) + 1}"
        self.keys[kid] = (algorithm, _MAKERS[algorithm]())
        return kid

    def answer(self, asked: Asked) -> Answer:
        """Answer a request."""
        if asked.target in self.pages:
            return self.pages[asked.target]
        if asked.target == DISCOVERY:
            return json_page(json.dumps({"issuer": self.url, "jwks_uri": f"{self.url}{JWKS}"}).encode())
        if asked.target == JWKS:
            return json_page(json.dumps({"keys": self.key_set()}).encode())
        return page(status="404 Not Found")

    def key_set(self) -> list[dict[str, Any]]:
        """Return the public keys."""
        return [{**key.as_dict(private=False), "kid": kid, "use": "sig"} for kid, (_, key) in self.keys.items()]

    def sign(self, *, kid: str | None = None, header: dict[str, Any] | None = None, **claims: Any) -> str:
        """Return a token; a member that is None is left out."""
        kid = kid or list(self.keys)[-1]
        algorithm, key = self.keys[kid]
        now = int(time.time())
        good: dict[str, Any] = {
            "iss": self.url, "aud": AUDIENCE, "sub": "alice", "client_id": "app", "scope": "openid task:read",
            "iat": now, "exp": now + 600, "jti": "1",
        }  # fmt: skip
        head = {"alg": algorithm, "kid": kid, "typ": "at+jwt", **(header or {})}
        signed = b".".join(encode(json.dumps(part).encode()) for part in (head, _given(good | claims)))
        return (signed + b"." + encode(JWSRegistry.algorithms[algorithm].sign(signed, key))).decode()


def _given(members: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in members.items() if value is not None}


@asynccontextmanager
async def issuer(algorithm: str = "ES256") -> AsyncGenerator[Issuer]:
    """Run an issuer with one key."""
    running = Issuer()
    running.rotate(algorithm)
    async with website(running.answer) as running.site:
        yield running
