"""Keys that signatures are checked with (RFC 7517), each for its own algorithms alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias, cast

from joserfc.errors import JoseError
from joserfc.jwk import ECKey, OctKey, OKPKey, RSAKey
from joserfc.jws import JWSRegistry

from tmws_gateway.identity.tokens import Token
from tmws_shared.problems import ProblemError
from tmws_shared.strict_json import read_json

Key: TypeAlias = OKPKey | ECKey | RSAKey | OctKey
MAX_KEYS = 100
RSA_BITS = range(2048, 8193)
# By key type and curve; a key that fits no row is not used.
_ALGORITHMS = {
    # RFC 9864 has renamed EdDSA over this curve; issuers use either name.
    ("OKP", "Ed25519"): frozenset({"Ed25519", "EdDSA"}),
    ("EC", "P-256"): frozenset({"ES256"}),
    ("RSA", None): frozenset({"RS256"}),
}
_TYPES: dict[str, type[OKPKey | ECKey | RSAKey]] = {"OKP": OKPKey, "EC": ECKey, "RSA": RSAKey}
_PUBLIC = frozenset({"kty", "crv", "x", "y", "n", "e"})


@dataclass(frozen=True, slots=True)
class VerificationKey:
    """A key and the algorithms it is for: a public RSA key must never be taken for an HMAC secret."""

    algorithms: frozenset[str]
    key: Key

    def has_signed(self, token: Token) -> bool:
        """Whether the token's signature is from this key."""
        if token.algorithm not in self.algorithms:
            return False
        try:
            # Not through `jws.deserialize_compact`: the header is read already, once and strictly.
            return JWSRegistry.algorithms[token.algorithm].verify(token.signed, token.signature, self.key)
        except (JoseError, ValueError):
            return False


def read_key_set(raw: bytes) -> dict[str, VerificationKey]:
    """Return the usable keys of a JWK Set by their `kid`; those that sign nothing of ours are left out.

    Raises:
        ValueError: it is not a JWK Set.
    """
    try:
        document: Any = read_json(raw)
    except ProblemError as error:
        raise ValueError("the key set is not JSON") from error
    listed = cast("dict[str, Any]", document).get("keys") if isinstance(document, dict) else None
    if not isinstance(listed, list) or len(cast("list[Any]", listed)) > MAX_KEYS:
        raise ValueError(f"the key set must have `keys`, at most {MAX_KEYS}")
    found: dict[str, VerificationKey] = {}
    for item in cast("list[Any]", listed):
        key = read_public_key(cast("dict[str, Any]", item)) if isinstance(item, dict) else None
        if key is not None:
            found[cast("dict[str, Any]", item)["kid"]] = key
    return found


def read_public_key(jwk: Mapping[str, Any]) -> VerificationKey | None:
    """Return the public key of a JWK; None when it is not for signatures that we accept."""
    kind, kid = jwk.get("kty"), jwk.get("kid")
    algorithms = _ALGORITHMS.get((str(kind), jwk.get("crv") if kind != "RSA" else None), frozenset[str]())
    if "alg" in jwk:
        algorithms &= {str(jwk["alg"])}
    if not algorithms or not isinstance(kid, str) or not _is_for_signatures(jwk):
        return None
    try:
        key = _TYPES[str(kind)].import_key({name: value for name, value in jwk.items() if name in _PUBLIC})
        is_fit = not isinstance(key, RSAKey) or key.public_key.key_size in RSA_BITS
    except (JoseError, ValueError, TypeError, KeyError):
        return None
    return VerificationKey(algorithms, key) if is_fit else None


def _is_for_signatures(jwk: Mapping[str, Any]) -> bool:
    operations = jwk.get("key_ops", ["verify"])
    return jwk.get("use", "sig") == "sig" and isinstance(operations, list) and "verify" in operations
