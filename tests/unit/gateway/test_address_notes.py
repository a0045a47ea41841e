"""What a gateway writes down of a caller's address for the MCP bridge, and believes when it comes back."""

import pytest

from tmws_gateway.identity.address_notes import HEADER, LIFETIME_S, AddressNotes, Whereabouts
from tmws_gateway.identity.addresses import TrustedProxies, read_networks

SECRET, CALLER, BRIDGE = "7hQp2vXz9LmK4tRw8YbN1cFg6JdS3aEu5ToP", "198.51.100.7", "127.0.0.1"
KEY = [(b"authorization", b"Bearer tmws_a_b_c")]


class Clock:
    """A clock that is put forward by hand."""

    now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


def test_note_comes_back_as_the_address() -> None:
    notes = AddressNotes(SECRET)
    for address in (CALLER, "2001:db8::1", "local"):
        assert notes.read([*KEY, (HEADER, notes.write(address, KEY))]) == address


def test_note_of_another_gateway_of_ours_counts() -> None:
    note = AddressNotes(SECRET).write(CALLER, KEY)
    assert AddressNotes(SECRET).read([*KEY, (HEADER, note)]) == CALLER
    assert AddressNotes(SECRET[::-1]).read([*KEY, (HEADER, note)]) is None


def test_note_counts_with_its_own_credential_only() -> None:
    notes = AddressNotes(SECRET)
    note = notes.write(CALLER, KEY)
    assert notes.read([(HEADER, note)]) is None
    assert notes.read([(b"authorization", b"Bearer another"), (HEADER, note)]) is None


def test_note_ends() -> None:
    clock = Clock()
    notes = AddressNotes(SECRET, clock)
    headers = [*KEY, (HEADER, notes.write(CALLER, KEY))]
    clock.now += LIFETIME_S - 1
    assert notes.read(headers) == CALLER
    clock.now += 2
    assert notes.read(headers) is None


@pytest.mark.parametrize(
    "note", [b"", b"x", b"1.2.3.4 9999999999 ", b"1.2.3.4 9999999999 \xff\xfe", b" " * 9, b"a b c"]
)
def test_note_that_is_none_is_nothing(note: bytes) -> None:
    assert AddressNotes(SECRET).read([*KEY, (HEADER, note)]) is None


def test_changed_note_is_nothing() -> None:
    note = AddressNotes(SECRET).write(CALLER, KEY)
    assert AddressNotes(SECRET).read([*KEY, (HEADER, note.replace(CALLER.encode(), b"203.0.113.9"))]) is None


def test_our_own_note_goes_before_what_proxies_say() -> None:
    notes = AddressNotes(SECRET)
    whereabouts = Whereabouts(notes, TrustedProxies(read_networks(["127.0.0.0/8"])))
    forwarded = (b"x-forwarded-for", b"203.0.113.9")
    noted = {"client": (BRIDGE, 1), "headers": [*KEY, forwarded, (HEADER, notes.write(CALLER, KEY))]}
    assert whereabouts.locate(noted)["client"] == (CALLER, 0)
    assert whereabouts.locate({**noted, "headers": [*KEY, forwarded]})["client"] == ("203.0.113.9", 0)
