"""Keys for one purpose each, derived from the one secret (HKDF, RFC 5869)."""

from __future__ import annotations

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF


def derive_key(secret: str, purpose: str) -> bytes:
    """Return the 32-byte key for `purpose`; other purposes cannot be computed from it."""
    return HKDF(SHA256(), 32, salt=b"tmws", info=purpose.encode()).derive(secret.encode())
