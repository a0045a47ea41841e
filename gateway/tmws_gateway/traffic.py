"""Counts the gateway's own requests, for `/api/v1/stats` and, by API key, for Prometheus."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable
from functools import lru_cache

from tmws_contracts.gateway import TrafficStats
from tmws_shared.telemetry import Counter as Metric

LATEST = 1_000
# More keys than this are counted together: each is a time series.
MAX_KEYS = 1_000
OTHER = "other"
NO_KEY = "none"
WINDOW_S = 60
_BY_KEY = Metric("tmws_gateway_requests_total", "Answered requests by API key", ["key_id", "status_class"])


class Traffic:
    """The latest 1,000 durations, and a count for each of the last 60 seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._started = clock()
        self._durations_s: deque[float] = deque(maxlen=LATEST)
        self._by_status: Counter[int] = Counter()
        self._by_second: dict[int, int] = {}
        self._keys: set[str] = {NO_KEY, OTHER}
        self._count_of = lru_cache(10 * MAX_KEYS)(self._new_count)

    def note(self, status: int, duration_s: float, key_id: str | None = None) -> None:
        """Count an answered request of the caller with this key."""
        self._count_of(key_id or NO_KEY, status // 100).inc()
        self._durations_s.append(duration_s)
        self._by_status[status] += 1
        second = int(self._clock())
        self._by_second[second] = self._by_second.get(second, 0) + 1
        if len(self._by_second) > WINDOW_S + 1:
            self._by_second = {known: count for known, count in self._by_second.items() if known >= second - WINDOW_S}

    def _new_count(self, key_id: str, status_class: int) -> Metric:
        if len(self._keys) < MAX_KEYS:
            self._keys.add(key_id)
        return _BY_KEY.labels(key_id if key_id in self._keys else OTHER, f"{status_class}xx")

    def stats(self) -> TrafficStats:
        """Return what was counted."""
        current = self._clock()
        recent = sum(count for second, count in self._by_second.items() if second >= current - WINDOW_S)
        durations = sorted(self._durations_s)
        return TrafficStats(
            requests=self._by_status.total(),
            requests_per_second=round(recent / max(1.0, min(WINDOW_S, current - self._started)), 3),
            by_status={str(status): count for status, count in sorted(self._by_status.items())},
            p50_ms=_quantile_ms(durations, 0.50),
            p99_ms=_quantile_ms(durations, 0.99),
        )


def _quantile_ms(ordered_s: list[float], share: float) -> float | None:
    """The nearest-rank quantile of ordered durations, None without any."""
    if not ordered_s:
        return None
    return round(ordered_s[min(len(ordered_s) - 1, int(len(ordered_s) * share))] * 1000, 3)
