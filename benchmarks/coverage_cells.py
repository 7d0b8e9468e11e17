"""The cells of docs/statistics.md: scores, and how often intervals and tests err on them, before and after.

"Before" is what the tool did at first, kept here as the peer to measure against: Student's t, by conversation CR1 with
t on C - 1, no width where nothing differs.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import special

from phi3flow import stats

Floats = NDArray[np.float64]
Clusters = NDArray[np.intp]
Sample = Callable[[np.random.Generator, int], Floats]
Intervals = tuple[Floats, Floats]

SIZES = (5, 10, 20, 50, 200)
NO_TRUTH = 1e-9  # bounds this near to the truth include it


@dataclass(frozen=True)
class Errors:
    """Shares of samples: covered by the interval, missed on either side, significant where nothing differs."""

    above: float
    below: float
    false_positives: float | None = None

    @property
    def coverage(self) -> float:
        return 1 - self.above - self.below

    @property
    def larger(self) -> float:
        return max(self.above, self.below)


@dataclass(frozen=True)
class Cell:
    """One row: what the scores are, how many lines or conversations, what erred before and what errs now.

    ``one_sided`` is the error of a gate at its margin: of the bound that it reads and, where scores are 0 or 1, of the
    exact count that has to agree.
    """

    scores: str
    n: str
    before: Errors
    after: Errors
    one_sided: float


# --- exact: 0/1 scores without conversations ---------------------------------------------------------------------


def exact_shares() -> Iterator[Cell]:
    """Yield the cells of a mean of 0/1 scores, by enumeration; a gate reads the lower bound of a high share."""
    for share in (0.5, 0.9, 0.97):
        for n in SIZES:
            hits = np.arange(n + 1)
            chance = np.exp(_log_choose(n, hits) + special.xlogy(hits, share) + special.xlogy(n - hits, 1 - share))
            before = _errors(stats.wilson_interval(hits / n, n), share, chance)
            after = _errors(stats.share_interval(hits, n), share, chance)
            agrees = [stats.share_tail(hit, n, share, above=True) <= stats.MOST_ONE_SIDED for hit in hits.tolist()]
            passes = (stats.share_interval(hits, n)[0] > share + NO_TRUTH) & agrees
            yield Cell(f"0/1, {share:.0%} ones", str(n), before, after, float(chance[passes].sum()))


SHARES_THAT_DIFFER = (
    *((0.0, loss) for loss in (0.01, 0.02, 0.05, 0.1)),
    *((share, share) for share in (0.01, 0.025, 0.05, 0.1, 0.25)),
    *((0.01, 0.02), (0.01, 0.04), (0.1, 0.2)),
)


def exact_differences() -> Iterator[Cell]:
    """Yield the cells of a difference of 0/1 scores: shares that win and that lose, by enumeration."""
    for win, loss in SHARES_THAT_DIFFER:
        for n in SIZES:
            wins, losses, chance = outcomes(n, win, loss)
            low, high = stats.tango_interval(wins, losses, n)
            now, p = (low, high), stats.mcnemar_mid_p(wins, losses)
            low, high = (np.where(wins + losses == 0, 0.0, bound) for bound in now)
            significant = [(p < stats.ALPHA), (p < stats.ALPHA) & ((now[0] > 0) | (now[1] < 0))]
            false = [float(chance[found].sum()) if win == loss else None for found in significant]
            before = _errors((low, high), win - loss, chance, false[0])
            after = _errors(now, win - loss, chance, false[1])
            one_sided = max(after.above, _worse_by_count(wins, losses, n, loss - win, now[1], chance))
            yield Cell(f"0/1, {win:.1%} win, {loss:.1%} lose", str(n), before, after, one_sided)


def _worse_by_count(
    wins: NDArray[np.intp], losses: NDArray[np.intp], n: int, margin: float, high: Floats, chance: Floats
) -> float:
    """Return how often a gate calls a run worse by more than the ``margin`` by which it is worse."""
    called = high < -margin - NO_TRUTH
    if margin == 0:
        return float(chance[called & (stats.mcnemar_mid_p(wins, losses) < stats.ALPHA)].sum())
    for index in np.flatnonzero(called & (chance > 1e-9)):
        tail = stats.share_difference_tail(int(losses[index]), int(wins[index]), n, margin)
        called[index] = tail <= stats.MOST_ONE_SIDED
    return float(chance[called].sum())


def outcomes(n: int, win: float, loss: float) -> tuple[NDArray[np.intp], NDArray[np.intp], Floats]:
    """Return every (wins, losses) of n pairs, and its chance."""
    wins, losses = (grid.ravel() for grid in np.meshgrid(np.arange(n + 1), np.arange(n + 1)))
    possible = wins + losses <= n
    wins, losses = wins[possible], losses[possible]
    ties = n - wins - losses
    log_chance = _log_choose(n, wins) + _log_choose(n - wins, losses)
    log_chance += special.xlogy(wins, win) + special.xlogy(losses, loss) + special.xlogy(ties, 1 - win - loss)
    return wins, losses, np.exp(log_chance)


def _log_choose(n: int | NDArray[np.intp], k: NDArray[np.intp]) -> Floats:
    return np.asarray(special.gammaln(n + 1) - special.gammaln(k + 1) - special.gammaln(n - k + 1))


def _errors(intervals: Intervals, truth: float, chance: Floats, false: float | None = None) -> Errors:
    low, high = intervals
    above, below = float(chance[low > truth + NO_TRUTH].sum()), float(chance[high < truth - NO_TRUTH].sum())
    return Errors(above, below, false)


# --- simulated: everything else ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Scores:
    """Scores of a mean, or differences of scores, that a range of width 1 bounds; ``sample`` is (simulations, n)."""

    name: str
    truth: float
    sample: Callable[[np.random.Generator, int, int], Floats]


def _mixture(name: str, values: dict[float, float]) -> Scores:
    """Scores of a few values with their chances; what is left to 1 is 0."""
    points, chances = np.array([*values, 0.0]), np.array([*values.values(), 1 - sum(values.values())])
    edges = np.cumsum(chances)[:-1]

    def sample(rng: np.random.Generator, simulations: int, n: int) -> Floats:
        return points[np.searchsorted(edges, rng.random((simulations, n)), side="right")]

    return Scores(name, float(points @ chances), sample)


def _normal(name: str, deviation: float, *, ties: float = 0.0) -> Scores:
    def sample(rng: np.random.Generator, simulations: int, n: int) -> Floats:
        drawn = np.clip(rng.normal(0, deviation, (simulations, n)), -1, 1)
        return np.where(rng.random((simulations, n)) < ties, 0.0, drawn)

    return Scores(name, 0.0, sample)


def _beta(a: float, b: float) -> Scores:
    return Scores(f"beta({a:g}, {b:g})", a / (a + b), lambda rng, simulations, n: rng.beta(a, b, (simulations, n)))


MEANS = (
    _mixture("stars: 95 % 4, 5 % 5", {0.75: 0.95, 1.0: 0.05}),
    _mixture("stars: 95 % 4, 5 % 1", {0.75: 0.95}),
    _mixture("stars: 97 % 5, 3 % 1", {1.0: 0.95, 0.75: 0.02}),
    _mixture("97 % are 1, others 0.5", {1.0: 0.97, 0.5: 0.03}),
    _mixture("90 % are 1, others 0.5", {1.0: 0.9, 0.5: 0.1}),
    _beta(0.5, 9.5),
    _beta(5, 1),
    _beta(0.2, 0.8),
    _beta(1, 1),
)
DIFFERENCES = (
    _mixture("2 % lose 0.5", {-0.5: 0.02}),
    _mixture("5 % lose 0.5", {-0.5: 0.05}),
    _mixture("2 % lose 0.9", {-0.9: 0.02}),
    _mixture("5 % lose 0.9", {-0.9: 0.05}),
    _mixture("stars: 2 % -0.75, 6 % +0.25", {-0.75: 0.02, 0.25: 0.06}),
    _mixture("95 % +0.05, 5 % -0.95", {0.05: 0.95, -0.95: 0.05}),
    _mixture("95 % +0.5, 5 % -1", {0.5: 0.95, -1.0: 0.05}),
    _mixture("80 % +0.75, 20 % -1", {0.75: 0.8, -1.0: 0.2}),
    _mixture("1 % ±0.9", {-0.9: 0.01, 0.9: 0.01}),
    _mixture("2.5 % ±0.5", {-0.5: 0.025, 0.5: 0.025}),
    _normal("normal, sd 0.3", 0.3),
    _normal("normal, sd 0.1", 0.1),
    _normal("half tie, others sd 0.3", 0.3, ties=0.5),
)

LENGTHS: dict[str, Callable[[int], NDArray[np.intp]]] = {
    "1 to 8 lines": lambda count: np.linspace(1, 8, count).round().astype(int),
    "1 to 40 lines": lambda count: np.linspace(1, 40, count).round().astype(int),
    "one has half": lambda count: np.array([3 * (count - 1)] + [3] * (count - 1)),
}
CONVERSATIONS = (6, 10, 20, 50)
UNLIKE_LENGTHS = LENGTHS | {
    "one has a fifth": lambda count: np.array([math.ceil(3 * (count - 1) / 4)] + [3] * (count - 1)),
    "one has a tenth": lambda count: np.array([math.ceil((count - 1) / 3)] + [3] * (count - 1)),
    "1 to 55 lines, most of them few": lambda count: np.exp(np.linspace(0, 4, count)).round().astype(int),
}
WHOLE_CONVERSATIONS = (20, 50, 200)
ALIKE = (0.5, 0.95)  # share of the latent variance that the lines of a conversation have in common


def clustered_scores(alike: float, clusters: Clusters) -> Iterator[tuple[str, Scores]]:
    """Yield ("mean", "difference" or "unbounded", scores) of lines in conversations."""

    def latent(rng: np.random.Generator, simulations: int, n: int) -> Floats:
        shared = rng.standard_normal((simulations, int(clusters.max()) + 1))[:, clusters]
        return np.asarray(math.sqrt(alike) * shared + math.sqrt(1 - alike) * rng.standard_normal((simulations, n)))

    def below(share: float) -> Callable[[np.random.Generator, int, int], Floats]:
        return lambda *size: (latent(*size) < special.ndtri(share)).astype(float)

    for share in (0.9, 0.97):
        yield "mean", Scores(f"0/1, {share:.0%} ones", share, below(share))
    yield "mean", Scores("stars: 95 % 4, 5 % 1", 0.7125, lambda *size: 0.75 * below(0.95)(*size))
    for share in (0.01, 0.02, 0.05, 0.1):
        yield "difference", Scores(f"0/1, {share:.0%} lose", -share, _negated(below(share)))
    yield "difference", Scores("0/1, 10 % win, 10 % lose", 0.0, lambda *size: _signs(latent(*size)))
    yield "difference", Scores("normal, sd 0.3", 0.0, lambda *size: np.clip(0.3 * latent(*size), -1, 1))
    yield "unbounded", Scores("normal, no range", 0.0, latent)


def whole_conversations(clusters: Clusters) -> Iterator[tuple[str, Scores]]:
    """Yield ("mean" or "difference", scores) of conversations of which each loses all of its lines, or none."""

    def lost(share: float) -> Callable[[np.random.Generator, int, int], Floats]:
        conversations = int(clusters.max()) + 1
        return lambda rng, count, n: (rng.random((count, conversations)) < share)[:, clusters].astype(float)

    for share in (0.02, 0.05, 0.1, 0.2, 0.3, 0.4):
        yield "mean", Scores(f"0/1, {share:.0%} ones", share, lost(share))
        yield "difference", Scores(f"0/1, {share:.0%} lose", -share, _negated(lost(share)))


def _negated(sample: Callable[[np.random.Generator, int, int], Floats]) -> Callable[..., Floats]:
    return lambda *size: -sample(*size)


def _signs(latent: Floats) -> Floats:
    return (latent > special.ndtri(0.9)).astype(float) - (latent < special.ndtri(0.1))
