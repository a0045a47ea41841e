"""When schedules fire, above all when clocks change."""

from datetime import UTC, datetime, timedelta
from itertools import islice, pairwise

import pytest

from tmws_workflow.fire_times import Timetable, is_cron, is_zone

BERLIN = "Europe/Berlin"


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def fires(cron: str, after: str, count: int, zone: str = BERLIN) -> list[str]:
    return [f"{fire:%d %H:%M}" for fire in islice(Timetable(cron, zone).after(at(after)), count)]


def test_cron_is_read_in_its_time_zone() -> None:
    assert fires("30 7 * * MON-FRI", "2026-01-09T12:00", 2) == ["12 06:30", "13 06:30"]


@pytest.mark.parametrize(
    ("cron", "expected"),
    [
        ("30 2 * * *", ["28 01:30", "29 01:00", "30 00:30"]),
        ("0,30 2 * * *", ["28 01:00", "28 01:30", "29 01:00", "30 00:00"]),
        ("30 2,3 * * *", ["28 01:30", "28 02:30", "29 01:00", "29 01:30", "30 00:30"]),
    ],
)
def test_time_that_spring_leaves_out_fires_once_when_the_gap_is_over(cron: str, expected: list[str]) -> None:
    assert fires(cron, "2026-03-27T23:00", len(expected)) == expected


def test_hourly_schedule_fires_at_every_real_hour_of_spring() -> None:
    assert fires("0 * * * *", "2026-03-28T23:30", 4) == ["29 00:00", "29 01:00", "29 02:00", "29 03:00"]


def test_time_that_comes_twice_in_autumn_fires_the_first_time() -> None:
    assert fires("30 2 * * *", "2026-10-24T12:00", 2) == ["25 00:30", "26 01:30"]


def test_time_that_comes_twice_is_not_fired_again_from_within_the_fold() -> None:
    assert fires("30 2 * * *", "2026-10-25T01:10", 1) == ["26 01:30"]


def test_hourly_schedule_fires_in_both_hours_of_the_fold() -> None:
    assert fires("0 * * * *", "2026-10-24T23:30", 4) == ["25 00:00", "25 01:00", "25 02:00", "25 03:00"]


def test_every_fire_time_comes_after_the_one_before_through_a_whole_year() -> None:
    for cron in ("0,30 2 * * *", "*/20 2 * * *", "15 2,3 * * *", "30 1-3 * * SUN"):
        times = list(islice(Timetable(cron, BERLIN).after(at("2026-01-01T00:00")), 900))
        assert all(earlier < later for earlier, later in pairwise(times))


def test_times_one_by_one_are_those_of_the_whole_list() -> None:
    table, moment = Timetable("0,30 2 * * *", BERLIN), at("2026-03-27T00:00")
    listed = list(islice(table.after(moment), 8))
    for expected in listed:
        found = table.next_after(moment)
        assert found == expected
        moment = expected


def test_nothing_fires_before_its_start_or_after_its_end() -> None:
    table = Timetable("0 * * * *", "UTC", at("2026-05-01T10:00"), at("2026-05-01T12:00"))
    assert [fire.hour for fire in table.after(at("2026-05-01T03:00"))] == [10, 11, 12]


def test_expression_that_never_matches_ends() -> None:
    assert Timetable("0 0 */31 * SUN#2", "UTC").next_after(at("2026-01-01T00:00")) is None


def test_last_missed_time_is_the_one_that_is_due() -> None:
    table, now = Timetable("*/10 * * * *", "UTC"), at("2026-05-01T10:35")
    assert table.due(at("2026-05-01T09:00"), now, 3600) == (at("2026-05-01T10:30"), at("2026-05-01T10:40"))


def test_time_that_is_too_late_is_not_due() -> None:
    table, now = Timetable("0 0 * * *", "UTC"), at("2026-05-01T10:35")
    assert table.due(at("2026-05-01T00:00"), now, 60) == (None, at("2026-05-02T00:00"))


def test_schedule_that_is_over_has_no_next_time() -> None:
    table = Timetable("0 0 * * *", "UTC", None, at("2026-05-01T06:00"))
    assert table.due(at("2026-05-01T00:00"), at("2026-05-01T00:00:05"), 60) == (at("2026-05-01T00:00"), None)


def test_coming_times_begin_with_the_next_one() -> None:
    table = Timetable("0 0 * * *", "UTC")
    assert table.coming(at("2026-05-01T00:00"), 3) == [at("2026-05-01T00:00") + timedelta(days=n) for n in range(3)]


@pytest.mark.parametrize("cron", ["* * * * *", "30 7 * * MON-FRI", "0 0 L * *", "0 9 * * 1#2", "*/5 8-18 * * *"])
def test_cron_is_taken(cron: str) -> None:
    assert is_cron(cron)


@pytest.mark.parametrize(
    "cron",
    ["", "x", "* * *", "* * * * * *", "60 * * * *", "* 24 * * *", "0 0 30 2 *", "*/0 * * * *", "5-1 * * * *", "@daily"],
)  # fmt: skip
def test_bad_cron_is_refused(cron: str) -> None:
    assert not is_cron(cron)


@pytest.mark.parametrize(
    ("name", "expected"), [(BERLIN, True), ("UTC", True), ("Mars/Base", False), ("../etc/passwd", False)]
)
def test_zones_are_those_of_iana(name: str, expected: bool) -> None:
    assert is_zone(name) is expected
