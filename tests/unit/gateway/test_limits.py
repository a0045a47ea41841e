"""GCRA in the process: the same rule as in Redis."""

from tmws_gateway.limits import Bucket, Buckets, Limits, LocalBuckets, Policy, Verdict

POLICY = Policy(requests=10, period_s=60)


class Clock:
    def __init__(self) -> None:
        self.time = 1000.0

    def __call__(self) -> float:
        return self.time


def take(buckets: LocalBuckets, times: int, key: str = "k") -> list[bool]:
    return [buckets.take(Buckets([Bucket(key, POLICY)])).passes for _ in range(times)]


def test_burst_is_the_whole_limit() -> None:
    assert take(LocalBuckets(Clock()), 12) == [True] * 10 + [False] * 2


def test_one_more_passes_after_each_interval() -> None:
    clock = Clock()
    buckets = LocalBuckets(clock)
    take(buckets, 10)
    clock.time += 6.01
    assert take(buckets, 2) == [True, False]


def test_bucket_is_full_again_after_the_period() -> None:
    clock = Clock()
    buckets = LocalBuckets(clock)
    take(buckets, 10)
    clock.time += 60
    assert take(buckets, 11) == [True] * 10 + [False]


def test_refused_request_costs_nothing() -> None:
    clock = Clock()
    buckets = LocalBuckets(clock)
    take(buckets, 500)
    clock.time += 6.01
    assert take(buckets, 1) == [True]


def test_callers_do_not_share_a_bucket() -> None:
    buckets = LocalBuckets(Clock())
    take(buckets, 10, "a")
    assert take(buckets, 1, "b") == [True]


def test_bucket_goes_on_from_what_redis_said() -> None:
    buckets = LocalBuckets(Clock())
    buckets.learn(Buckets([Bucket("k", POLICY)]), [54.0], passes=True)
    assert take(buckets, 2) == [True, False]


def test_what_passed_without_redis_is_not_forgotten() -> None:
    buckets = LocalBuckets(Clock())
    take(buckets, 9)
    buckets.learn(Buckets([Bucket("k", POLICY)]), [6.0], passes=True)
    assert take(buckets, 2) == [True, False]


def test_refusal_by_redis_is_final() -> None:
    buckets = LocalBuckets(Clock())
    buckets.learn(Buckets([Bucket("k", POLICY)]), [60.0], passes=False)
    assert take(buckets, 1) == [False]


def test_headers_tell_what_is_left() -> None:
    assert Verdict(passes=True, ahead_s=6.0, policy=POLICY).header() == (b"ratelimit", b'"default";r=9;t=6')


def test_refusal_tells_when_to_come_back() -> None:
    assert Verdict(passes=False, ahead_s=58.5, policy=POLICY).retry_after_s == 5


def test_bucket_that_refuses_keeps_the_others_full() -> None:
    buckets = LocalBuckets(Clock())
    narrow, wide = Bucket("narrow", Policy(1, 60, "narrow")), Bucket("wide", Policy(2, 60, "wide"))
    verdicts = [buckets.take(Buckets([wide, narrow])) for _ in range(5)]
    assert [verdict.passes for verdict in verdicts] == [True] + [False] * 4
    assert verdicts[1].policy.name == "narrow"
    assert buckets.take(Buckets([wide])).passes


def test_tightest_bucket_is_told() -> None:
    buckets = LocalBuckets(Clock())
    wanted = [Bucket("a", Policy(9, 60, "a")), Bucket("b", Policy(5, 60, "b")), Bucket("c", POLICY)]
    verdict = buckets.take(Buckets(wanted))
    assert verdict.header() == (b"ratelimit", b'"b";r=4;t=12')


def test_one_of_several_gateways_gives_its_part() -> None:
    buckets = LocalBuckets(Clock())
    bucket = Buckets([Bucket("k", Policy(100, 3600))])
    assert sum(buckets.take(bucket, gateways=4).passes for _ in range(100)) == 25


def test_request_is_counted_for_its_caller_and_its_namespace() -> None:
    buckets = Limits(Policy(100, 60)).buckets_of("key 1", "team-a", is_bulk=False)
    assert [(bucket.key, bucket.policy.requests) for bucket in buckets] == [
        ("tmws:limit:key 1", 100), ("tmws:limit:namespace team-a", 1_000),
    ]  # fmt: skip


def test_bulk_has_a_tenth() -> None:
    *_, bulk = Limits(Policy(600, 60)).buckets_of("key 1", "team-a", is_bulk=True)
    assert (bulk.policy.name, bulk.policy.requests) == ("bulk", 60)


def test_who_has_not_signed_in_is_counted_by_address_alone() -> None:
    buckets = Limits(Policy(100, 60)).buckets_of("address 192.0.2.1", None, is_bulk=False)
    assert [bucket.policy.name for bucket in buckets] == ["default"]
