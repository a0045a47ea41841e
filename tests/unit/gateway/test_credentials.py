"""API keys and access tokens as texts."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from support.tokens import SECRET, forge
from tmws_gateway.access_tokens import AccessTokens
from tmws_gateway.api_keys import Pepper, make_key, parse_key
from tmws_shared.problems import Unauthenticated

TOKENS = AccessTokens(SECRET, "tmws")


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
    claims = TOKENS.verify(TOKENS.issue("alice", "k1", ["task:read", "memory:read"], 60))
    assert (claims.subject, claims.key_id, claims.scopes) == ("alice", "k1", {"task:read", "memory:read"})


def test_forged_token_of_the_support_module_is_otherwise_valid() -> None:
    assert TOKENS.verify(forge()).subject == "alice"


@pytest.mark.parametrize("skew_s", [-29, 29])
def test_clock_may_differ_by_29_seconds(skew_s: int) -> None:
    now = int(time.time())
    assert TOKENS.verify(forge(exp=now + skew_s + 1, iat=now + skew_s - 600))


@given(st.integers(0, 400), st.characters(min_codepoint=33, max_codepoint=126))
def test_token_with_one_letter_changed_is_refused(place: int, letter: str) -> None:
    token = forge()
    place %= len(token) - 1
    changed = token[:place] + letter + token[place + 1 :]
    refused = False
    try:
        TOKENS.verify(changed)
    except Unauthenticated:
        refused = True
    # The last letter of a base64url part may carry bits that are not used.
    assert refused or changed == token or token[place + 1] == "."
