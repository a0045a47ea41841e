"""When a schedule fires: cron in a time zone, as Debian's cron understands it.

A fixed time that a clock change leaves out fires when the gap is over; one that comes twice fires the first time. With
a `*` in the minute or the hour every matching moment fires, so that what runs each hour runs each hour.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from itertools import islice
from zoneinfo import ZoneInfo, available_timezones

from cronsim import CronSim, CronSimError

_FIELDS = 5
_INSTANT = timedelta(microseconds=1)


@lru_cache(1)
def _zones() -> frozenset[str]:
    return frozenset(available_timezones())


def is_zone(name: str) -> bool:
    """Whether this is the name of a time zone."""
    return name in _zones()


def is_cron(text: str) -> bool:
    """Whether this is a cron expression of five fields that can match."""
    if len(text.split()) != _FIELDS or not text.isascii():
        return False
    try:
        CronSim(text, datetime.now(UTC))
    except CronSimError:
        return False
    return True


@dataclass(frozen=True, slots=True)
class Timetable:
    """The fire times of a schedule, all UTC."""

    cron: str
    timezone: str
    starts_at: datetime | None = None
    ends_at: datetime | None = None

    def after(self, moment: datetime) -> Iterator[datetime]:
        """Yield the fire times after a moment, in order; none once 50 years hold no match."""
        if self.starts_at is not None:
            moment = max(moment, self.starts_at - _INSTANT)
        last = moment
        try:
            for local in CronSim(self.cron, moment.astimezone(ZoneInfo(self.timezone))):
                fire = local.astimezone(UTC)
                if self.ends_at is not None and fire > self.ends_at:
                    return
                # The times that a gap leaves out all become its end; an hour that comes twice is told from its start.
                if fire > last:
                    yield fire
                    last = fire
        except OverflowError:
            return

    def next_after(self, moment: datetime) -> datetime | None:
        """Return the first fire time after a moment."""
        return next(self.after(moment), None)

    def coming(self, first: datetime, count: int) -> list[datetime]:
        """Return `first` and what follows it, `count` fire times at most."""
        return [first, *islice(self.after(first), count - 1)]

    def due(self, first: datetime, now: datetime, late_s: float) -> tuple[datetime | None, datetime | None]:
        """Return the last fire time from `first` on that is not more than `late_s` ago, and the next one to come."""
        earliest = now - timedelta(seconds=late_s)
        last = first if first >= earliest else None
        for fire in self.after(max(first, earliest - _INSTANT)):
            if fire > now:
                return last, fire
            last = fire
        return last, None
