"""GCRA in the process: the same rule as in Redis."""

from tmws_gateway.limits import LocalBuckets, Policy, Verdict

POLICY = Policy(requests=10, period_s=60)


class Clock:
    def __init__(self) -> None:
        self.time = 1000.0

    def __call__(self) -> float:
        return self.time


def take(buckets: LocalBuckets, times: int, key: str = "k") -> list[bool]:
    return [buckets.take(key).passes for _ in range(times)]


def test_burst_is_the_whole_limit() -> None:
    assert take(LocalBuckets(POLICY, Clock()), 12) == [True] * 10 + [False] * 2


def test_one_more_passes_after_each_interval() -> None:
    clock = Clock()
    buckets = LocalBuckets(POLICY, clock)
    take(buckets, 10)
    clock.time += 6.01
    assert take(buckets, 2) == [True, False]


def test_bucket_is_full_again_after_the_period() -> None:
    clock = Clock()
    buckets = LocalBuckets(POLICY, clock)
    take(buckets, 10)
    clock.time += 60
    assert take(buckets, 11) == [True] * 10 + [False]


def test_refused_request_costs_nothing() -> None:
    clock = Clock()
    buckets = LocalBuckets(POLICY, clock)
    take(buckets, 500)
    clock.time += 6.01
    assert take(buckets, 1) == [True]


def test_callers_do_not_share_a_bucket() -> None:
    buckets = LocalBuckets(POLICY, Clock())
    take(buckets, 10, "a")
    assert take(buckets, 1, "b") == [True]


def test_bucket_goes_on_from_what_redis_said() -> None:
    buckets = LocalBuckets(POLICY, Clock())
    buckets.learn("k", Verdict(passes=True, ahead_s=54.0, policy=POLICY))
    assert take(buckets, 2) == [True, False]


def test_what_passed_without_redis_is_not_forgotten() -> None:
    buckets = LocalBuckets(POLICY, Clock())
    take(buckets, 9)
    buckets.learn("k", Verdict(passes=True, ahead_s=6.0, policy=POLICY))
    assert take(buckets, 2) == [True, False]


def test_refusal_by_redis_is_final() -> None:
    buckets = LocalBuckets(POLICY, Clock())
    buckets.learn("k", Verdict(passes=False, ahead_s=60.0, policy=POLICY))
    assert take(buckets, 1) == [False]


def test_headers_tell_what_is_left() -> None:
    assert Verdict(passes=True, ahead_s=6.0, policy=POLICY).headers() == {
        "RateLimit-Policy": '"default";q=10;w=60',
        "RateLimit": '"default";r=9;t=6',
    }


def test_refusal_tells_when_to_come_back() -> None:
    assert Verdict(passes=False, ahead_s=58.5, policy=POLICY).retry_after_s == 5
