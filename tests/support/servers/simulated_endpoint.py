"""Endpoints and a runner in virtual time: nothing sleeps, and a run of a minute takes a few milliseconds."""

from __future__ import annotations

import heapq
import itertools
import math
import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from phi3flow.pacing.pacer import Pacer
from phi3flow.pacing.start import Start


@dataclass
class Refusal:
    retry_after_s: float | None = None
    explicit: bool = True


class Endpoint:
    """Takes everything; `inside` is how many attempts it works on."""

    inside = 0

    def admit(self, now: float) -> Refusal | None:
        return None

    def serve_s(self, now: float, latency_s: float) -> float:
        return latency_s


@dataclass
class TokenBucket(Endpoint):
    per_s: float
    burst: float
    retry_after_s: float | None = None

    def __post_init__(self) -> None:
        self.tokens, self.at_s = self.burst, 0.0

    def admit(self, now: float) -> Refusal | None:
        self.tokens = min(self.burst, self.tokens + (now - self.at_s) * self.per_s)
        self.at_s = now
        if self.tokens < 1:
            return Refusal(self.retry_after_s)
        self.tokens -= 1
        return None


@dataclass
class FixedWindow(Endpoint):
    most: int
    age_s: float = 0.0

    def __post_init__(self) -> None:
        self.minute, self.count = -1, 0

    def admit(self, now: float) -> Refusal | None:
        minute = int((now + self.age_s) // 60)
        if minute != self.minute:
            self.minute, self.count = minute, 0
        if self.count >= self.most:
            return Refusal((minute + 1) * 60 - self.age_s - now)
        self.count += 1
        return None


@dataclass
class ConcurrencyLimit(Endpoint):
    most: int

    def admit(self, now: float) -> Refusal | None:
        return Refusal() if self.inside >= self.most else None


class Queueing(Endpoint):
    def __init__(self, servers: int) -> None:
        self.free_s = [0.0] * servers

    def serve_s(self, now: float, latency_s: float) -> float:
        end_s = max(now, heapq.heappop(self.free_s)) + latency_s
        heapq.heappush(self.free_s, end_s)
        return end_s - now


@dataclass
class Batching(Endpoint):
    """Latency doubles at `half` in flight, while goodput still grows: it approaches half / latency."""

    half: int

    def serve_s(self, now: float, latency_s: float) -> float:
        return latency_s * (1 + self.inside / self.half)


@dataclass
class Faulty(Endpoint):
    share: float

    def __post_init__(self) -> None:
        self.random = random.Random(5)

    def admit(self, now: float) -> Refusal | None:
        return Refusal(explicit=False) if self.random.random() < self.share else None


@dataclass
class Outcome:
    lines: int
    seconds: float = 0.0
    refused: int = 0
    starts_s: list[float] = field(default_factory=list)
    ends_s: list[float] = field(default_factory=list)
    spent: list[tuple[float, int]] = field(default_factory=list)
    most_in_flight: int = 0

    @property
    def per_s(self) -> float:
        return self.lines / self.seconds

    @property
    def refused_share(self) -> float:
        return self.refused / len(self.starts_s)


@dataclass
class Simulation:
    """A runner in virtual time: it comes up to 5 ms late and tries a refused line again after a jittered backoff."""

    pacer: Pacer
    endpoint: Endpoint
    latency_s: float = 0.1
    refusal_s: float | None = 0.002  # None: as slow as an answer
    way_s: float = 0.0  # an attempt reaches the endpoint up to so much after it was sent
    busy_s: float = 0.0  # of processor time that sending takes, one attempt after the other
    stalls: tuple[float, ...] = ()  # from each of these times on nothing is sent for 0.1 s
    tokens: Callable[[], int] = int
    changes: tuple[tuple[float, Callable[[Endpoint], None]], ...] = ()
    seed: int = 1

    def run(self, lines: int, *, most_s: float = math.inf) -> Outcome:
        self.random, self.tie, self.now, self.free_s = random.Random(self.seed), itertools.count(), 0.0, 0.0
        self.events: list[tuple[float, int, Callable[[], None]]] = []
        self.outcome, self.ready, self.wake_s = Outcome(lines), deque([0] * lines), -1.0
        for at_s, change in self.changes:
            self._at(at_s, lambda change=change: change(self.endpoint))
        while len(self.outcome.ends_s) < lines and self.now < most_s:
            self._send()
            assert self.events, "nothing will ever happen again"
            self.now, _, act = heapq.heappop(self.events)
            act()
        self.outcome.seconds = self.now
        return self.outcome

    def _at(self, at_s: float, act: Callable[[], None]) -> None:
        heapq.heappush(self.events, (at_s, next(self.tie), act))

    def _send(self) -> None:
        while self.ready:
            wait_s = self.pacer.wait_s(self.now)
            if wait_s is None:
                return
            if wait_s > 0:
                if not self.now < self.wake_s <= self.now + wait_s + 0.005:
                    self.wake_s = self.now + wait_s + self.random.uniform(0, 0.005)
                    self._at(self.wake_s, lambda: None)
                return
            self._start(self.ready.popleft())

    def _start(self, tries: int) -> None:
        start = self.pacer.start(self.now)
        self.outcome.starts_s.append(self.now)
        self.outcome.most_in_flight = max(self.outcome.most_in_flight, self.pacer.in_flight)
        sent_s = self._send_s()
        way_s = self.random.uniform(0, self.way_s) if self.way_s else 0.0
        if sent_s + way_s > self.now:
            self._at(sent_s + way_s, lambda: self._arrive(start, sent_s, tries))
        else:
            self._arrive(start, sent_s, tries)

    def _send_s(self) -> float:
        """Return when an attempt that starts now is sent."""
        sent_s = max(self.now, self.free_s)
        sent_s = next((stall_s + 0.1 for stall_s in self.stalls if stall_s <= sent_s < stall_s + 0.1), sent_s)
        self.free_s = sent_s + self.busy_s
        return sent_s

    def _arrive(self, start: Start, sent_s: float, tries: int) -> None:
        self.pacer.send(start, sent_s)
        latency_s = self.latency_s * self.random.uniform(0.8, 1.2)
        refusal = self.endpoint.admit(self.now)
        if refusal is None:
            self.endpoint.inside += 1
            end_s = self.now + self.endpoint.serve_s(self.now, latency_s)
            self._at(end_s, lambda: self._succeed(start))
        else:
            end_s = self.now + (latency_s if self.refusal_s is None else self.refusal_s)
            self._at(end_s, lambda: self._refuse(start, refusal, tries))

    def _succeed(self, start: Start) -> None:
        self.endpoint.inside -= 1
        tokens = self.tokens()
        self.outcome.spent.append((start.at_s, tokens))
        self.outcome.ends_s.append(self.now)
        self.pacer.succeed(self.now, start, tokens=tokens)

    def _refuse(self, start: Start, refusal: Refusal, tries: int) -> None:
        self.outcome.refused += 1
        self.pacer.refuse(self.now, start, retry_after_s=refusal.retry_after_s, explicit=refusal.explicit)
        backoff_s = max(refusal.retry_after_s or 0.0, self.random.uniform(0, 0.5 * 2**tries))
        self._at(self.now + backoff_s, lambda: self.ready.append(tries + 1))
