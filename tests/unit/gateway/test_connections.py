"""Who may have how many connections."""

from dataclasses import dataclass
from time import monotonic

from tmws_gateway.connections import QUIET_S, Connections, most_connections


@dataclass(eq=False)
class Fake:
    heard_at: float = 0.0
    is_answering: bool = False
    is_open: bool = True

    def hang_up(self) -> None:
        self.is_open = False


def connections(most: int = 100, most_of_one: int = 100) -> Connections:
    return Connections(most, most_of_one, lambda address: address == "192.0.2.9")


def test_oldest_quiet_connection_of_the_address_makes_room() -> None:
    kept, mine = connections(most_of_one=2), [Fake(is_answering=True), Fake(), Fake()]
    other = Fake()
    assert kept.admit(other, "192.0.2.2")
    assert [kept.admit(one, "192.0.2.1") for one in mine] == [True] * 3
    assert [one.is_open for one in (other, *mine)] == [True, True, False, True]


def test_address_whose_connections_are_all_at_work_is_refused() -> None:
    kept = connections(most_of_one=2)
    for busy in (Fake(is_answering=True), Fake(heard_at=monotonic() + QUIET_S)):
        assert kept.admit(busy, "192.0.2.1")
    assert not kept.admit(Fake(), "192.0.2.1")
    assert kept.admit(Fake(), "192.0.2.2")


def test_place_of_a_connection_that_is_gone_is_free() -> None:
    kept, first = connections(most_of_one=1), Fake(is_answering=True)
    kept.admit(first, "192.0.2.1")
    kept.forget(first)
    kept.forget(first)
    assert kept.admit(Fake(), "192.0.2.1")


def test_network_of_ipv6_is_one_address() -> None:
    kept = connections(most_of_one=1)
    kept.admit(Fake(is_answering=True), "2001:db8::1")
    assert not kept.admit(Fake(), "2001:db8::2")
    assert kept.admit(Fake(), "2001:db8:0:1::1")


def test_trusted_proxy_and_a_socket_of_ours_have_no_limit_of_their_own() -> None:
    kept = connections(most_of_one=1)
    for address in ("192.0.2.9", None):
        assert all(kept.admit(Fake(is_answering=True), address) for _ in range(3))


def test_all_together_are_limited_too() -> None:
    kept, quiet = connections(most=3), Fake()
    for one in (Fake(is_answering=True), quiet, Fake(is_answering=True)):
        kept.admit(one, None)
    assert kept.admit(Fake(is_answering=True), "192.0.2.1")
    assert not quiet.is_open
    assert not kept.admit(Fake(), "192.0.2.2")


def test_some_files_are_left_for_other_things() -> None:
    assert 0 < most_connections() <= 750_000
