"""Where a caller is, by what proxies say of it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tmws_gateway.identity.addresses import TrustedProxies, read_networks

PROXY, INNER, CALLER, LIE = "10.0.0.1", "10.1.2.3", "198.51.100.7", "203.0.113.9"
PROXIES = TrustedProxies(read_networks(["10.0.0.0/8", "2001:db8:ffff::/48"]))


def find(peer: str, **headers: str | list[str]) -> str:
    given = [
        (name.replace("_", "-").encode(), value.encode())
        for name, values in headers.items()
        for value in ([values] if isinstance(values, str) else values)
    ]
    return PROXIES.find_caller(peer, given)


def test_without_trusted_proxies_nothing_is_believed() -> None:
    scope = {"type": "http", "client": (PROXY, 1), "headers": [(b"x-forwarded-for", CALLER.encode())]}
    assert TrustedProxies([]).locate(scope) is scope
    assert PROXIES.locate(scope)["client"] == (CALLER, 0)


@pytest.mark.parametrize(
    ("peer", "given", "caller"),
    [
        (PROXY, CALLER, CALLER),
        (PROXY, f"{LIE}, {CALLER}", CALLER),
        (PROXY, f"{LIE}, {CALLER}, {INNER}", CALLER),
        (PROXY, f"{CALLER},{INNER} , {INNER}", CALLER),
        (PROXY, [LIE, CALLER], CALLER),
        (PROXY, INNER, INNER),
        (PROXY, f"{CALLER}:51234", CALLER),
        (PROXY, "[2001:db8::1]:443", "2001:db8::1"),
        (PROXY, "2001:DB8::1", "2001:db8::1"),
        (PROXY, f"::ffff:{CALLER}", CALLER),
        ("::ffff:10.0.0.1", CALLER, CALLER),
        ("2001:db8:ffff::1", CALLER, CALLER),
        (LIE, CALLER, LIE),
        (PROXY, "", PROXY),
        (PROXY, "unknown", PROXY),
        (PROXY, f"{CALLER}, unknown", PROXY),
        (PROXY, f"{CALLER}, nonsense, {INNER}", INNER),
        (PROXY, f"{CALLER}\x00", PROXY),
        (PROXY, "127.1", PROXY),
    ],
)
def test_caller_is_the_first_address_that_is_no_trusted_proxy(peer: str, given: str | list[str], caller: str) -> None:
    assert find(peer, x_forwarded_for=given) == caller


@pytest.mark.parametrize(
    ("given", "caller"),
    [
        (f"for={CALLER}", CALLER),
        (f"for={LIE}, for={CALLER};proto=https;by={PROXY}", CALLER),
        ([f"for={LIE}", f'For="{CALLER}:80"'], CALLER),
        ('for="[2001:db8::1]:443"', "2001:db8::1"),
        (f"for={CALLER}, for=_hidden", PROXY),
        (f"for={CALLER}, proto=https", PROXY),
    ],
)
def test_forwarded_is_read_like_it(given: str | list[str], caller: str) -> None:
    assert find(PROXY, forwarded=given) == caller


def test_headers_that_disagree_are_not_believed() -> None:
    assert find(PROXY, x_forwarded_for=CALLER, forwarded=f"for={LIE}") == PROXY
    assert find(PROXY, x_forwarded_for=CALLER, forwarded=f"for={CALLER}") == CALLER


@given(st.text(max_size=60), st.text(max_size=60))
def test_whatever_a_caller_writes_left_of_the_proxys_word_changes_nothing(forwarded_for: str, more: str) -> None:
    lies = [text.encode("utf-8", "replace") + b", " + CALLER.encode() for text in (forwarded_for, more)]
    assert PROXIES.find_caller(PROXY, [(b"x-forwarded-for", lie) for lie in lies]) == CALLER


@given(st.binary(max_size=60), st.binary(max_size=60))
def test_any_header_gives_an_address(one: bytes, other: bytes) -> None:
    assert PROXIES.find_caller(PROXY, [(b"x-forwarded-for", one), (b"forwarded", other)])


@pytest.mark.parametrize("item", ["x", "10.0.0.1/8", "10.0.0.0/33", "", "0.0.0.0/0", "::/0"])
def test_what_is_no_network_is_refused(item: str) -> None:
    with pytest.raises(ValueError, match=r".*"):
        read_networks([item])
