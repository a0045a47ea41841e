"""Signatures that show what the chain was, made with a key that is derived from the secret (Ed25519, RFC 8032)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import orjson
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from tmws_gateway.chain.records import Head
from tmws_shared.keys import derive_key

# What is signed begins with what it is for, so that no signature can stand in for one of another kind.
_CHECKPOINT = b"tmws audit checkpoint 1\n"
_BEGINNING = b"tmws audit beginning 1\n"
_EXPORT = b"tmws audit export 1\n"


class Checkpoint(NamedTuple):
    """The signed statement that the chain's record `seq` had this hash; `made_at` in µs since 1970, UTC."""

    seq: int
    hash: bytes
    made_at: int
    public_key: bytes
    signature: bytes

    @property
    def head(self) -> Head:
        """The record that it tells of."""
        return Head(self.seq, self.hash)

    def line(self) -> bytes:
        """Return it as a line of JSON."""
        fields = {name: value.hex() if isinstance(value, bytes) else value for name, value in self._asdict().items()}
        return orjson.dumps(fields, option=orjson.OPT_APPEND_NEWLINE)

    @classmethod
    def parse(cls, line: bytes) -> Checkpoint:
        """Return the checkpoint of a line.

        Raises:
            ValueError: it is none.
        """
        try:
            fields = orjson.loads(line)
            numbers = [int(fields[name]) for name in ("seq", "made_at")]
            raw = [bytes.fromhex(fields[name]) for name in ("hash", "public_key", "signature")]
        except (KeyError, TypeError) as error:
            raise ValueError("not a checkpoint") from error
        return cls(numbers[0], raw[0], numbers[1], raw[1], raw[2])


class Signer:
    """Signs, and knows its own signatures; all gateways with one secret have the same key."""

    def __init__(self, secret: str, previous_keys: Iterable[bytes] = ()) -> None:
        self._key = Ed25519PrivateKey.from_private_bytes(derive_key(secret, "audit signatures"))
        self.verifier = Verifier(self._key.public_key().public_bytes_raw(), previous_keys)

    def checkpoint(self, head: Head, made_at: int) -> Checkpoint:
        """Sign the head of the chain."""
        return self._sign(_CHECKPOINT, head, made_at)

    def beginning(self, head: Head, made_at: int) -> Checkpoint:
        """Sign that the chain begins behind a record, all up to which were removed."""
        return self._sign(_BEGINNING, head, made_at)

    def _sign(self, purpose: bytes, head: Head, made_at: int) -> Checkpoint:
        signature = self._key.sign(_text(purpose, head.seq, head.hash, made_at))
        return Checkpoint(head.seq, head.hash, made_at, self.verifier.public_key, signature)

    def sign_export(self, digest: bytes) -> bytes:
        """Sign the SHA-256 of an export."""
        return self._key.sign(_EXPORT + digest)


class Verifier:
    """Knows the signatures of a public key (32 bytes), and of those before it.

    Raises:
        ValueError: the bytes are no key.
    """

    def __init__(self, public_key: bytes, previous_keys: Iterable[bytes] = ()) -> None:
        self.public_key = public_key
        self._keys = {key: Ed25519PublicKey.from_public_bytes(key) for key in (public_key, *previous_keys)}

    def is_ours(self, checkpoint: Checkpoint) -> bool:
        """Whether it was signed with one of the keys, as it is."""
        return self._has_signed(_CHECKPOINT, checkpoint)

    def is_our_beginning(self, beginning: Checkpoint) -> bool:
        """Whether it was signed with one of the keys, as the beginning of a chain."""
        return self._has_signed(_BEGINNING, beginning)

    def _has_signed(self, purpose: bytes, checkpoint: Checkpoint) -> bool:
        text = _text(purpose, checkpoint.seq, checkpoint.hash, checkpoint.made_at)
        return self._fits(checkpoint.public_key, checkpoint.signature, text)

    def is_our_export(self, digest: bytes, signature: bytes) -> bool:
        """Whether the SHA-256 of an export was signed with the key."""
        return self._fits(self.public_key, signature, _EXPORT + digest)

    def _fits(self, public_key: bytes, signature: bytes, text: bytes) -> bool:
        key = self._keys.get(public_key)
        if key is None:
            return False
        try:
            key.verify(signature, text)
        except InvalidSignature:
            return False
        return True


def _text(purpose: bytes, seq: int, record_hash: bytes, made_at: int) -> bytes:
    numbers = (number.to_bytes(8, "big", signed=True) for number in (seq, made_at))
    return b"".join((purpose, *numbers, record_hash))
