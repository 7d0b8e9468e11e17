"""Every number by which pacing is tuned: its unit, the bounds within which it means anything, and where it is from.

*Measured* numbers were chosen with the simulated endpoints of tests/unit/pacing/test_pacer.py (token buckets, fixed
windows, limits on concurrency, queues, batching, random faults), which hold at them: an endpoint is kept full, and
hardly ever refuses.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

Number = TypeVar("Number", int, float)

MEASURED = "measured"
CONVENTION = "convention"


@dataclass(frozen=True)
class Tunable:
    """A number as it is documented: ``low`` and ``high`` are the least and the greatest that it may be set to."""

    value: float
    unit: str
    low: float
    high: float
    source: str


TUNABLES: list[Tunable] = []
"""All of them, in the order of this file."""


def _tunable(value: Number, unit: str, low: float, high: float, source: str) -> Number:
    if not low <= value <= high:
        raise ValueError(f"{value:g} {unit} is outside of {low:g} to {high:g}")
    TUNABLES.append(Tunable(value, unit, low, high, source))
    return value


# Attempts at large
MOST_IN_FLIGHT = _tunable(500, "attempts", 1, 500, "Azure ML: 500 connections an online endpoint")
MOST_WAITING_FOR_RETRY = _tunable(1_000, "attempts", 1, 100_000, "what is kept in memory; new lines wait meanwhile")
MINUTE_S = _tunable(60.0, "s", 60, 60, "the window of rpm and tpm")

# Trying again (endpoint_health)
FIRST_BACKOFF_S = _tunable(0.5, "s", 0.05, 5, "Brooker, AWS Architecture Blog, 2015: exponential with full jitter")
LONGEST_BACKOFF_S = _tunable(30.0, "s", 1, 300, CONVENTION)
RETRIES_BEYOND_ITEMS = _tunable(100, "retries", 0, 10_000, "a small run may retry too; a large one at most doubles")
FIRST_ANSWER_S = _tunable(120.0, "s", 1, 900, "an address that is wrong shows sooner than an outage that passes")

# The circuit breaker (outage): Nygard, Release It!, 2007
FAILURES_OF_AN_OUTAGE = _tunable(20, "failures in a row", 2, 100, MEASURED)
FIRST_PAUSE_S = _tunable(1.0, "s", 0.1, 10, CONVENTION)
LONGEST_PAUSE_S = _tunable(30.0, "s", 1, 300, CONVENTION)

# Starts (pacer)
FIRST_PER_S = _tunable(100.0, "attempts/s", 1, 500, MEASURED)
FIRST_PER_S_A_SLOT = _tunable(10.0, "attempts/s and slot", 1, 100, "a bound that was asked for, at 100 ms an answer")
FEW_SLOTS = _tunable(64, "attempts in flight", 1, 500, "up to here a bound that was asked for is reached at once")
CATCH_UP_S = _tunable(0.006, "s", 0, 0.1, "a timer of the event loop comes so late")
CATCH_UP_MOST_S = _tunable(0.02, "s", 0, 0.1, MEASURED)
CATCH_UP_STARTS = _tunable(4, "starts", 0, 100, MEASURED)
FAULTS_HEARD = _tunable(50, "ends of attempts", 1, 100, "fewer tell a share of a fifth from chance badly")
ENDS_REMEMBERED = _tunable(100, "ends of attempts", 50, 10_000, "the share of faults is of the last so many")
FAULTS_SHARE = _tunable(0.2, "of what comes back", 0.05, 1, "Mathis et al. 1997: at 5 % a TCP window would be 5")
BUDGET_SLACK = _tunable(1e-6, "of a budget", 0, 1e-3, "sums of floats differ in the last digits")

# The window of attempts in flight (window)
FIRST_WINDOW = _tunable(8, "attempts in flight", 1, 64, "TCP begins with 10 (RFC 6928)")
SLOW_START_STEP = _tunable(2, "slots an answer", 1, 3, "slow start: Jacobson 1988")
STEP = _tunable(1, "slot a round trip", 1, 1, "additive increase: Chiu and Jain 1989")
SHRINK = _tunable(0.7, "of the window", 0.5, 0.95, "CUBIC's beta (RFC 9438, 4.6)")
GROWN_ENOUGH = _tunable(1.25, "times the goodput of two rounds ago", 1, 2, "BBR's start-up exit (Cardwell et al. 2016)")
ENOUGH = _tunable(0.8, "of the best goodput", 0.5, 1, "1 / 1.25: less growth was not worth the window")
SLOWER = _tunable(2.0, "times the lowest latency", 1.1, 10, "a queue as long as the work itself")
TRIED_WINDOW = _tunable(1.25, "times the proven window", 1.05, 2, MEASURED)
WORTH_IT = _tunable(1.06, "times the proven goodput", 1, 1.25, "a quarter more in flight has to bring a quarter of it")
BACK_OFF = _tunable(0.9, "of the proven window", 0.5, 1, "where it got slower, a little is given back")
SPARE = _tunable(3.0, "times what a learned rate needs", 1, 10, MEASURED)
HOLD_ROUNDS = _tunable(30, "round trips", 1, 1_000, "before a window that was enough is doubted again")
ROUNDS_REMEMBERED = _tunable(20, "rounds", 3, 1_000, "slow start ends well before")
LATENCIES_REMEMBERED = _tunable(50, "rounds", 1, 10_000, "the lowest latency may rise with the endpoint's load")

# A limit on attempts in flight, where refusals show it (slots)
SAME_OVERLOAD_S = _tunable(0.2, "s", 0, 5, "refusals so close are of one overload")
SAME_NUMBER = _tunable(0.05, "of a number in flight", 0, 0.5, MEASURED)
STRIKES = _tunable(4, "refusals below the limit", 2, 100, "so many disprove it")
MORE_AFTER = _tunable(40, "answers a slot", 1, 10_000, "before one more slot is tried")

# A token bucket, where refusals show it (learned_rate)
LEAST_PER_S = _tunable(0.2, "attempts/s", 0.01, 1, "the slowest quota worth waiting for: 12 a minute")
RATE_STEP = _tunable(1.01, "from one considered rate to the next", 1.001, 1.1, "a rate is told to a percent")
LEAST_BURST_S = _tunable(0.006, "s of the bucket's rate", 0, 1, "a bucket holds at least so much, and one")
REFUSALS_REMEMBERED = _tunable(6, "refusals", 2, 100, "a limit that changed has to be forgotten")
SOON_S = _tunable(0.2, "s", 0, 5, "after a refusal the bucket is empty, and the next one tells nothing new")
CHECK_S = _tunable(0.05, "s", 0, 1, "what was let through is looked at no more often")
COUNT_JITTER = _tunable(2.0, "attempts", 0, 10, "how far the backlogs at two refusals may differ under one rate")
ARRIVAL_JITTER_S = _tunable(0.01, "s", 0, 0.1, "by which attempts arrive earlier or later than they were started")
WANDER = _tunable(0.006, "of a rate", 0, 0.1, "by which it may be off over the time between two refusals")
LATE_S = _tunable(0.03, "s", 0, 1, "a refusal that took so much longer than others arrived nobody knows when")
LATE = _tunable(0.5, "of the lowest latency of a refusal", 0, 10, "the same, for a far endpoint")
DOUBLE_S = _tunable(0.25, "s", 0.05, 10, "a slower ramp wastes time, a faster one learns less from its refusal")
DOUBLE_AGAIN_S = _tunable(2.0, "s", 0.25, 60, "a ramp after a refusal goes where little is left to find")
RAISED_DOUBLE_S = _tunable(1.0, "s", 0.25, 60, "a ramp after a limit was raised")
BURST_S = _tunable(0.25, "s of the bucket's rate", 0, 5, "what a bucket's burst is assumed to be worth")
WIDE = _tunable(4.0, "highest over lowest possible rate", 1.1, 100, "so far apart, little is known: it climbs on")
AMONG = _tunable(0.35, "of the way from lowest to highest rate, in logarithms", 0, 1, MEASURED)
CLIMB_ON = _tunable(0.8, "of the rate that was refused", 0.1, 1, MEASURED)
AFTER_A_CHANGE = _tunable(0.5, "of the rate that was refused", 0.1, 1, "halving: Chiu and Jain 1989")
PROBE = _tunable(0.01, "of the learned rate", 0, 0.1, "a plateau, then growth (CUBIC, RFC 9438)")
PROBE_S = _tunable(2.0, "s", 0.1, 60, "in which the growth multiplies by e")
CALM_S = _tunable(22.0, "s", 1, 600, "the plateau, where a refusal costs a pause")
CALM_UNPAUSED_S = _tunable(4.4, "s", 1, 600, "the plateau, where a refusal costs a retry only")
IDLE_S = _tunable(0.1, "s", 0, 5, "a gap between starts that is no idling")
IDLE_GAPS = _tunable(2.0, "gaps between starts", 1, 10, "the same, at a low rate")
MOST_DOUBLINGS = _tunable(30.0, "doublings", 1, 1_000, "a bound on the exponent: 2^30 attempts/s is no bound")

# What was sent so far (arrival_curve)
ATTEMPTS_REMEMBERED = _tunable(10_000, "attempts", 100, 1_000_000, "older ones stand on the hull, or under it")
