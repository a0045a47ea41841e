"""What is known for a while."""

from tmws_shared.expiring import Expiring


class Clock:
    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def test_value_is_known_until_it_expires() -> None:
    clock = Clock()
    kept: Expiring[str, int] = Expiring(10, 60, clock)
    kept.put("a", 1)
    clock.now_s += 59.9
    before = kept.get("a")
    clock.now_s += 0.2
    assert (before, kept.get("a")) == (1, None)


def test_value_put_again_lives_from_then_on() -> None:
    clock = Clock()
    kept: Expiring[str, int] = Expiring(10, 60, clock)
    kept.put("a", 1)
    clock.now_s += 50
    kept.put("a", 2)
    clock.now_s += 50
    assert kept.get("a") == 2


def test_oldest_value_goes_when_there_is_no_room() -> None:
    kept: Expiring[str, int] = Expiring(2, 60)
    for number, key in enumerate(["a", "b", "a", "c"]):
        kept.put(key, number)
    assert [kept.get(key) for key in ("a", "b", "c")] == [2, None, 3]


def test_wrong_values_are_forgotten() -> None:
    kept: Expiring[str, int] = Expiring(10, 60)
    kept.put("a", 1)
    kept.put("b", 2)
    kept.forget(lambda value: value == 1)
    assert (kept.get("a"), kept.get("b")) == (None, 2)
