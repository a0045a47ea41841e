"""API keys and access tokens as texts."""

import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from joserfc.jwk import OKPKey

from support.tokens import SECRET, forge, sign_raw, sign_with_public_key
from tmws_gateway.identity.access_tokens import AccessTokens, KeyClaims
from tmws_gateway.identity.api_keys import Pepper, make_key, parse_key
from tmws_gateway.identity.signing_keys import SigningKeys
from tmws_gateway.identity.tokens import read_token
from tmws_shared.problems import Unauthenticated

KEYS = SigningKeys.of(SECRET)
TOKENS = AccessTokens(KEYS, "tmws")
OTHER_PEM = """-----BEGIN PRIVATE KEY-----
MC4CAQAwBQYDK2VwBCIEIJ1hsZ3v/VpguoRK9JLsLMREScVpezJpGXA7rAMcrn9g
-----END PRIVATE KEY-----"""


def verify(token: str, tokens: AccessTokens = TOKENS) -> KeyClaims:
    return tokens.verify(read_token(token))


def test_key_is_read_back() -> None:
    key = make_key()
    assert parse_key(str(key)) == key


def test_secret_of_a_key_is_not_in_its_repr() -> None:
    key = make_key()
    assert key.secret not in repr(key)


def test_keys_differ() -> None:
    assert make_key() != make_key()


@given(st.integers(0, 65), st.sampled_from("abcXYZ019_-"))
def test_key_with_one_letter_changed_is_not_a_key(place: int, letter: str) -> None:
    text = str(make_key())
    changed = text[:place] + letter + text[place + 1 :]
    assert parse_key(changed) is None or changed == text


@given(st.text(max_size=80))
def test_any_text_is_read_or_not_a_key(text: str) -> None:
    assert parse_key(text) is None


def test_digest_fits_its_secret_only() -> None:
    pepper = Pepper(SECRET)
    digest = pepper.digest("a")
    assert pepper.matches("a", digest)
    assert not pepper.matches("b", digest)


def test_digest_is_worthless_under_another_secret() -> None:
    assert not Pepper("another secret of 32 bytes or so").matches("a", Pepper(SECRET).digest("a"))


def test_token_says_what_was_put_in() -> None:
    claims = verify(TOKENS.issue("alice", "k1", 3, ["task:read", "memory:read"], 60))
    assert (claims.key_id, claims.key_version, claims.scopes) == ("k1", 3, {"task:read", "memory:read"})


def test_forged_token_of_the_support_module_is_otherwise_valid() -> None:
    assert verify(forge()).key_id == "k1"


@pytest.mark.parametrize("skew_s", [-29, 29])
def test_clock_may_differ_by_29_seconds(skew_s: int) -> None:
    now = int(time.time())
    assert verify(forge(exp=now + skew_s + 1, iat=now + skew_s - 600))


@given(st.data())
def test_token_with_one_character_changed_is_refused(data: st.DataObject) -> None:
    token = forge()
    place = data.draw(st.integers(0, len(token) - 1))
    letter = data.draw(st.characters(min_codepoint=33, max_codepoint=126).filter(lambda new: new != token[place]))
    with pytest.raises(Unauthenticated):
        verify(token[:place] + letter + token[place + 1 :])


def test_signature_is_written_in_one_way_only() -> None:
    token = forge()
    for letter in "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_=":
        if letter != token[-1]:
            with pytest.raises(Unauthenticated):
                verify(token[:-1] + letter)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
CLAIMS = ("iss", "aud", "sub", "client_id", "key_version", "scope", "iat", "exp", "jti")


@given(st.sampled_from(["alg", "kid", "typ", "jku", "crit"]), JSON.filter(lambda value: value is not None))
def test_token_with_another_header_is_refused(name: str, value: object) -> None:
    with pytest.raises(Unauthenticated):
        verify(forge(header={name: value}))


@given(st.sampled_from(CLAIMS), JSON.filter(lambda value: not isinstance(value, (int, str))))
def test_signed_token_with_a_claim_of_another_type_is_refused(name: str, value: object) -> None:
    with pytest.raises(Unauthenticated):
        verify(forge(**{name: value}))


@given(st.binary(max_size=200))
def test_signed_token_with_any_payload_is_refused_by_name(payload: bytes) -> None:
    with pytest.raises(Unauthenticated):
        verify(sign_raw(payload))


def test_payload_nested_20_000_deep_is_refused_by_name() -> None:
    with pytest.raises(Unauthenticated):
        verify(sign_raw(b'{"a":' * 20_000 + b"1" + b"}" * 20_000)[:8_000])
    with pytest.raises(Unauthenticated):
        verify(sign_raw(b'{"a":' * 600 + b"1" + b"}" * 600))


@pytest.mark.parametrize("token", sign_with_public_key(b"{}"))
def test_public_key_is_no_secret(token: str) -> None:
    with pytest.raises(Unauthenticated):
        verify(token)


def test_all_gateways_sign_alike() -> None:
    assert SigningKeys.of(SECRET).kid == KEYS.kid != SigningKeys.of(SECRET[::-1]).kid


def test_published_key_is_public_and_named_by_its_thumbprint() -> None:
    (key,) = KEYS.key_set()["keys"]
    assert set(key) == {"kty", "crv", "x", "kid", "use", "alg"}
    assert key["kid"] == OKPKey.import_key({name: key[name] for name in ("kty", "crv", "x")}).thumbprint()


def test_key_before_counts_as_long_as_it_is_named() -> None:
    token = TOKENS.issue("alice", "k1", 1, ["task:read"], 60)
    published = json.dumps(KEYS.key_set())
    assert verify(token, AccessTokens(SigningKeys.of(SECRET, "Ed25519", OTHER_PEM, published), "tmws")).key_id == "k1"
    with pytest.raises(Unauthenticated):
        verify(token, AccessTokens(SigningKeys.of(SECRET, "Ed25519", OTHER_PEM), "tmws"))


def test_shared_secret_is_not_published() -> None:
    keys = SigningKeys.of(SECRET, "HS256")
    assert keys.key_set() == {"keys": []}
    token = AccessTokens(keys, "tmws").issue("alice", "k1", 1, ["task:read"], 60)
    assert verify(token, AccessTokens(keys, "tmws")).key_id == "k1"
    with pytest.raises(Unauthenticated):
        verify(token)


@pytest.mark.parametrize(
    ("private", "previous"),
    [
        ("x", ""),
        (OTHER_PEM[:60], ""),
        ("", "x"),
        ("", '{"keys":[]}'),
        ("", '{"keys":[{"kty":"oct"}]}'),
    ],
)
def test_key_that_cannot_be_read_is_named(private: str, previous: str) -> None:
    with pytest.raises(ValueError, match="TMWS_TOKEN_P"):
        SigningKeys.of(SECRET, "Ed25519", private, previous)
