"""The gateway's own counters."""

from prometheus_client import REGISTRY

from tmws_gateway.traffic import Traffic


class Clock:
    def __init__(self) -> None:
        self.time = 1000.0

    def __call__(self) -> float:
        return self.time


def test_nothing_is_counted_before_the_first_request() -> None:
    stats = Traffic(Clock()).stats()
    assert (stats.requests, stats.p50_ms, stats.p99_ms, stats.requests_per_second) == (0, None, None, 0)


def test_quantiles_are_those_of_the_latest_requests() -> None:
    traffic = Traffic(Clock())
    for duration_ms in [9_999, *range(1_000)]:
        traffic.note(200, duration_ms / 1000)
    stats = traffic.stats()
    assert (stats.p50_ms, stats.p99_ms) == (500, 990)


def test_rate_is_that_of_the_last_minute() -> None:
    clock = Clock()
    traffic = Traffic(clock)
    for _ in range(120):
        traffic.note(200, 0.001)
        clock.time += 1
    assert traffic.stats().requests_per_second == 1


def test_requests_are_counted_by_status() -> None:
    traffic = Traffic(Clock())
    for status in (200, 404, 200):
        traffic.note(status, 0.001)
    assert traffic.stats().by_status == {"200": 2, "404": 1}


def test_requests_are_counted_by_key_and_by_the_class_of_their_status() -> None:
    traffic = Traffic(Clock())
    for status in (200, 201, 404):
        traffic.note(status, 0.001, "key of this test")
    counted = {
        (sample.labels["status_class"], sample.value)
        for metric in REGISTRY.collect()
        for sample in metric.samples
        if sample.name == "tmws_gateway_requests_total" and sample.labels["key_id"] == "key of this test"
    }
    assert counted == {("2xx", 2.0), ("4xx", 1.0)}


def test_keys_beyond_a_thousand_are_counted_together() -> None:
    traffic = Traffic(Clock())
    for number in range(2_000):
        traffic.note(299, 0.001, f"one of many {number}")
    of_many = [
        sample.labels["key_id"]
        for metric in REGISTRY.collect()
        for sample in metric.samples
        if sample.name == "tmws_gateway_requests_total" and sample.labels["key_id"].startswith(("one of many", "other"))
    ]
    assert 900 < len(of_many) <= 1_000
    assert "other" in of_many
