"""How an API key is written, `tmws_<id>_<secret>_<checksum>`, and how its secret is kept."""

from __future__ import annotations

import hashlib
import hmac
import secrets
import string
import zlib
from dataclasses import dataclass, field

from tmws_shared.keys import derive_key

PREFIX = "tmws"
ID_LENGTH = 12
SECRET_LENGTH = 43  # 256 bits in base 62
_ID_LETTERS = string.ascii_lowercase + string.digits
_SECRET_LETTERS = string.ascii_letters + string.digits


@dataclass(frozen=True, slots=True)
class KeyText:
    """The two halves of an API key."""

    id: str
    secret: str = field(repr=False)

    def __str__(self) -> str:
        body = f"{PREFIX}_{self.id}_{self.secret}"
        return f"{body}_{_checksum(body)}"


def make_key(key_id: str | None = None) -> KeyText:
    """Return a new API key, or another secret for an old one."""
    return KeyText(key_id or _random(_ID_LETTERS, ID_LENGTH), _random(_SECRET_LETTERS, SECRET_LENGTH))


def is_key(text: str) -> bool:
    """Whether a credential is meant to be an API key."""
    return text.startswith(f"{PREFIX}_")


def parse_key(text: str) -> KeyText | None:
    """Return the halves of an API key, None when it is not one; the checksum finds typing errors without a look-up."""
    body, _, checksum = text.rpartition("_")
    prefix, _, rest = body.partition("_")
    key_id, _, secret = rest.partition("_")
    well_formed = (
        text.isascii()
        and prefix == PREFIX
        and len(key_id) == ID_LENGTH
        and len(secret) == SECRET_LENGTH
        and (key_id + secret).isalnum()
    )
    return KeyText(key_id, secret) if well_formed and checksum == _checksum(body) else None


class Pepper:
    """The key under which secrets are kept: a stolen table is worth nothing without it."""

    def __init__(self, secret: str) -> None:
        self._key = derive_key(secret, "API key pepper")

    def digest(self, key_secret: str) -> bytes:
        """Return the HMAC-SHA-256 to keep; a secret of 256 random bits needs no slow hash."""
        return hmac.digest(self._key, key_secret.encode(), hashlib.sha256)

    def matches(self, key_secret: str, digest: bytes) -> bool:
        """Whether `digest` is that of the secret, in constant time."""
        return hmac.compare_digest(self.digest(key_secret), digest)


def _checksum(body: str) -> str:
    return f"{zlib.crc32(body.encode()):08x}"


def _random(letters: str, length: int) -> str:
    return "".join(secrets.choice(letters) for _ in range(length))
