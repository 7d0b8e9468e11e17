"""An endpoint is kept full and hardly ever refuses: endpoints are simulated in virtual time, nothing sleeps."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from phi3flow.pacing.pacer import Pacer
from phi3flow.pacing.start import Start
from tests.support.servers.simulated_endpoint import (
    Batching,
    ConcurrencyLimit,
    Endpoint,
    Faulty,
    FixedWindow,
    Queueing,
    Simulation,
    TokenBucket,
)


def _in_a_minute(starts_s: list[float]) -> int:
    old, most = 0, 0
    for place, start_s in enumerate(starts_s):
        while starts_s[old] <= start_s - 60:
            old += 1
        most = max(most, place - old + 1)
    return most


@pytest.mark.parametrize("concurrency", [None, 64, 256])
@pytest.mark.parametrize("retry_after_s", [1.0, None])
@pytest.mark.parametrize("way_s", [0.0, 0.01])
@pytest.mark.parametrize(
    ("latency_s", "refusal_s"), [(0.005, 0.002), (0.02, None), (0.1, None), (0.1, 0.002), (0.4, 0.002)]
)
def test_a_token_bucket_is_filled_to_nine_tenths_with_few_refusals(
    latency_s: float, refusal_s: float | None, way_s: float, retry_after_s: float | None, concurrency: int | None
) -> None:
    simulation = Simulation(
        Pacer(0.0, concurrency=concurrency), TokenBucket(200, 50, retry_after_s), latency_s, refusal_s, way_s
    )
    outcome = simulation.run(5000)
    capacity = min(200.0, concurrency / latency_s) if concurrency else 200.0
    share = 0.86 if latency_s == 0.4 else 0.92  # what is known is four tenths of a second old
    assert outcome.per_s >= (share if retry_after_s else 0.93) * capacity
    assert outcome.refused_share <= 0.02


@pytest.mark.parametrize("concurrency", [None, 64, 256])
@pytest.mark.parametrize("retry_after_s", [1.0, None])
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_busy_machine_that_sends_late_learns_the_same(
    seed: int, retry_after_s: float | None, concurrency: int | None
) -> None:
    """Its processor is just fast enough for the bucket's rate four times over, and is away for 0.1 s at times."""
    stalls = tuple(random.Random(seed).uniform(0, 8) for _ in range(3))
    pacer, bucket = Pacer(0.0, concurrency=concurrency), TokenBucket(200, 50, retry_after_s)
    outcome = Simulation(pacer, bucket, busy_s=0.00125, stalls=stalls, seed=seed).run(5000)
    assert outcome.per_s >= (0.89 if retry_after_s else 0.95) * 200
    assert outcome.refused_share <= 0.02


@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize("retry_after_s", [1.0, None])
@pytest.mark.parametrize(("per_s", "burst", "lines"), [(20, 5, 1000), (50, 100, 1500), (1000, 10, 20000)])
def test_buckets_of_other_sizes_are_filled_as_well(
    per_s: float, burst: float, lines: int, retry_after_s: float | None, seed: int
) -> None:
    outcome = Simulation(Pacer(0.0), TokenBucket(per_s, burst, retry_after_s), seed=seed).run(lines)
    bound = 0.92 if retry_after_s else 0.97
    assert outcome.per_s >= (bound - 0.13 if per_s == 1000 else bound) * per_s  # 10 ms of burst: a refusal says less
    assert outcome.refused_share <= 0.03


@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize("latency_s", [0.1, 0.5])
@pytest.mark.parametrize(("per_s", "burst"), [(20, 5), (20, 20), (50, 5), (100, 10)])
def test_a_slow_bucket_is_not_mistaken_for_a_limit_on_concurrency(
    per_s: float, burst: float, latency_s: float, seed: int
) -> None:
    """Few are in flight, so that refusals often come at the same number."""
    outcome = Simulation(Pacer(0.0), TokenBucket(per_s, burst), latency_s, seed=seed).run(int(50 * per_s))
    assert outcome.per_s >= (0.97 if latency_s == 0.1 else 0.9) * per_s
    assert outcome.refused_share <= 0.03


def test_a_slow_endpoint_is_given_the_places_that_its_rate_needs() -> None:
    outcome = Simulation(Pacer(0.0), TokenBucket(200, 50), 1.0, 0.02).run(5000)
    assert outcome.per_s >= 0.84 * 200
    assert outcome.most_in_flight > 200


@pytest.mark.parametrize("age_s", [0.0, 30.0])
@pytest.mark.parametrize("concurrency", [None, 64])
def test_a_counter_that_starts_anew_every_minute_is_used_up(concurrency: int | None, age_s: float) -> None:
    outcome = Simulation(Pacer(0.0, concurrency=concurrency), FixedWindow(6000, age_s)).run(15000)
    assert outcome.per_s >= 93
    assert outcome.refused_share <= 0.05


@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize(("most", "latency_s"), [(4, 0.1), (16, 0.02), (16, 0.1), (64, 0.1), (16, 1.0)])
def test_a_limit_on_concurrency_is_not_mistaken_for_a_low_rate(most: int, latency_s: float, seed: int) -> None:
    outcome = Simulation(Pacer(0.0), ConcurrencyLimit(most), latency_s, seed=seed).run(int(25 * most / latency_s))
    assert outcome.per_s >= 0.9 * most / latency_s
    assert outcome.refused_share <= 0.04


def test_a_limit_that_was_raised_is_found_within_half_a_minute() -> None:
    def scale_out(bucket: Endpoint) -> None:
        assert isinstance(bucket, TokenBucket)
        bucket.per_s = 400

    outcome = Simulation(Pacer(0.0), TokenBucket(200, 50, 1.0), changes=((10.0, scale_out),)).run(12000, most_s=60)
    assert sum(42 < end_s <= 47 for end_s in outcome.ends_s) / 5 > 300


def test_a_limit_that_was_lowered_is_followed() -> None:
    def scale_in(bucket: Endpoint) -> None:
        assert isinstance(bucket, TokenBucket)
        bucket.per_s = 100

    outcome = Simulation(Pacer(0.0), TokenBucket(200, 50, 1.0), changes=((10.0, scale_in),)).run(9000, most_s=60)
    assert sum(20 < end_s <= 60 for end_s in outcome.ends_s) / 40 > 85
    assert outcome.refused_share <= 0.03


def test_an_unlimited_endpoint_soon_gets_more_than_a_window_of_64() -> None:
    outcome = Simulation(Pacer(0.0), Endpoint()).run(1000)
    assert outcome.seconds <= 1.5 * 1000 / 640
    assert outcome.most_in_flight > 64


@pytest.mark.parametrize("servers", [4, 16, 100])
def test_a_queue_is_not_filled_for_nothing(servers: int) -> None:
    pacer = Pacer(0.0)
    outcome = Simulation(pacer, Queueing(servers)).run(100 * servers)
    assert outcome.per_s >= 0.9 * servers / 0.1
    assert pacer.limit < 4 * servers


def test_latency_alone_does_not_throttle_a_server_that_batches() -> None:
    pacer = Pacer(0.0)
    outcome = Simulation(pacer, Batching(256)).run(10000)
    assert outcome.per_s >= 0.8 * Simulation(Pacer(0.0, concurrency=500), Batching(256)).run(10000).per_s


@pytest.mark.parametrize("concurrency", [None, 64])
def test_random_faults_do_not_shrink_the_window(concurrency: int | None) -> None:
    lines = 20000 if concurrency is None else 5000
    pacer, calm = Pacer(0.0, concurrency=concurrency), Pacer(0.0, concurrency=concurrency)
    faulty = Simulation(pacer, Faulty(0.05)).run(lines)
    sound = Simulation(calm, Endpoint()).run(lines)
    assert pacer.limit == calm.limit
    most = int(0.94 * lines)  # what comes after are the last retries
    assert faulty.ends_s[most] <= sound.ends_s[most] / 0.9


def test_an_overload_that_is_not_explicit_is_answered() -> None:
    pacer = Pacer(0.0, concurrency=64)
    Simulation(pacer, Faulty(0.6)).run(300)
    assert pacer.rate is not None


@pytest.mark.parametrize("latency_s", [0.02, 1.0])
def test_no_minute_has_more_requests_than_rpm(latency_s: float) -> None:
    outcome = Simulation(Pacer(0.0, concurrency=64, rpm=600), Endpoint(), latency_s).run(2000)
    assert _in_a_minute(outcome.starts_s) <= 600
    assert outcome.per_s >= 0.95 * 10
    tenths = [sum(at_s <= each < at_s + 1 for each in outcome.starts_s) for at_s in range(100)]
    assert max(tenths) <= 12


def test_no_minute_has_more_tokens_than_tpm() -> None:
    chance = random.Random(3)
    simulation = Simulation(
        Pacer(0.0, concurrency=64, tpm=60_000), Endpoint(), tokens=lambda: chance.randrange(80, 121)
    )
    outcome = simulation.run(2000)
    spent = sorted(outcome.spent)
    for start_s, _ in spent[::20]:
        assert sum(tokens for at_s, tokens in spent if start_s <= at_s < start_s + 60) <= 60_000 + 40
    assert outcome.per_s >= 0.95 * 10


def test_a_known_limit_is_kept_from_the_start() -> None:
    outcome = Simulation(Pacer(0.0, most_per_s=100), TokenBucket(105, 5)).run(1000)
    assert outcome.refused == 0
    assert outcome.per_s >= 95


def test_idle_time_is_not_saved_up_for_a_burst() -> None:
    pacer = Pacer(0.0, concurrency=64)
    Simulation(pacer, TokenBucket(20, 5)).run(100)
    now, started = 1000.0, 0
    while pacer.wait_s(now) == 0.0:
        pacer.start(now)
        started += 1
    assert started <= 2


@settings(max_examples=60)
@given(
    concurrency=st.none() | st.integers(1, 40),
    rpm=st.none() | st.integers(1, 600),
    events=st.lists(
        st.tuples(
            st.sampled_from(["succeed", "refuse", "told", "503", "fail", "pause", "idle"]), st.floats(0.001, 3.0)
        ),
        max_size=120,
    ),
)
def test_whatever_happens_bounds_hold_and_sending_goes_on(
    concurrency: int | None, rpm: int | None, events: list[tuple[str, float]]
) -> None:
    pacer, now, paused_s = Pacer(0.0, concurrency=concurrency, most_in_flight=50, rpm=rpm), 0.0, 0.0
    started: list[Start] = []
    starts_s: list[float] = []
    for kind, span_s in events:
        while pacer.wait_s(now) == 0.0:
            assert now >= paused_s
            started.append(pacer.start(now))
            assert pacer.in_flight <= pacer.limit <= (concurrency or 50)
            starts_s.append(now)
        now += span_s
        if kind == "pause":
            pacer.pause(now, for_s=span_s)
            paused_s = max(paused_s, now + span_s)
        elif started and kind != "idle":
            start = started.pop(0)
            if kind == "succeed":
                pacer.succeed(now, start)
            elif kind == "fail":
                pacer.fail(start)
            else:
                told_s = span_s if kind == "told" else None
                pacer.refuse(now, start, retry_after_s=told_s, explicit=kind != "503")
                paused_s = max(paused_s, now + (told_s or 0.0))
        assert pacer.in_flight == len(started)
    assert rpm is None or _in_a_minute(starts_s) <= rpm
    while started:
        pacer.fail(started.pop())
    wait_s = pacer.wait_s(max(now, paused_s))
    assert wait_s is not None
    assert wait_s <= (60.001 if rpm else 5.001)
