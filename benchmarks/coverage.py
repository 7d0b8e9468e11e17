"""Whether the statistics keep their promises: coverage, false positives, and what stopping early saves.

    python benchmarks/coverage.py > docs/statistics.md

0/1 scores without conversations by exact enumeration of all outcomes, all else by 20,000 simulations (a share of 5 % is
then known to 0.15 points). Takes some minutes.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import early_stopping
import numpy as np
from numpy.typing import NDArray
from scipy import special

from phi3flow import stats

Floats = NDArray[np.float64]

SIMULATIONS = 20_000
SIZES = (30, 300)
SHARES = (0.02, 0.5)
LINES_A_CONVERSATION = 5
FLIPS = 1_000

ABOUT = """# Statistics

Every interval is a 95 % interval, every p two-sided. The methods and their sources are in `phi3flow/stats`; this page
is what `python benchmarks/coverage.py` measures of them.

| scores | interval of a mean | paired difference |
|---|---|---|
| any number | Student's t | paired t, sign-flip permutation |
| 0 or 1 | Wilson | Tango's interval, mid-p McNemar |
| lines share conversations | clustered t; clustered Wilson for 0/1 | clustered t, sign flips by conversation |
| BLEU and chrF of the run | bootstrap over conversations | paired bootstrap, swaps by conversation |

Two runs of true difference 0 are compared below; conversations are of five lines, which share half of their variance.
Coverage must be at least 0.93, false positives at most 0.06 (for continuous scores at least 0.04 by the t test). What
is above 0.97, or below 0.04, is a small sample of few possible results: 30 lines with a rare outcome, or the 64 ways to
flip six conversations. For 0/1 scores without conversations the test is the mid-p McNemar test.
"""


def main() -> None:
    """Print the page."""
    print(ABOUT)
    print("| scores | n | coverage of the mean | coverage of the difference | false positives | sign flips |")
    print("|---|---|---|---|---|---|")
    for name, n, *figures in [*_continuous(), *_binary(), *_clustered_binary()]:
        cells = [f"{figure:.3f}" for figure in figures] + [""] * (4 - len(figures))
        print(f"| {name} | {n} | {' | '.join(cells)} |")
    print(f"\nHolm over three correlated metrics: at least one false positive in {_holm():.3f} of all comparisons.\n")
    early_stopping.main()


def _continuous() -> Iterator[tuple[str, int, float, float, float, float]]:
    for name, lines in (("continuous", 1), ("continuous, conversations", LINES_A_CONVERSATION)):
        for n in SIZES:
            rng, clusters = np.random.default_rng(n), _conversations(n, lines)
            scores, differences = _correlated(rng, n, lines), _correlated(rng, n, lines)
            flipped = [stats.sign_flip_p(row, clusters=clusters, rng=rng, draws=FLIPS) for row in differences]
            yield (
                *(name, n, _t_coverage(scores, clusters), _t_coverage(differences, clusters)),
                *(_t_rejections(differences, clusters), float(np.mean(np.array(flipped) < stats.ALPHA))),
            )


def _binary() -> Iterator[tuple[str, int, float, float, float]]:
    for share in SHARES:
        for n in SIZES:
            hits = np.arange(n + 1)
            chance = np.exp(_log_choose(n, hits) + special.xlogy(hits, share) + special.xlogy(n - hits, 1 - share))
            low, high = stats.wilson_interval(hits / n, n)
            wins, losses, paired = _outcomes(n, share * (1 - share))
            below, above = stats.tango_interval(wins, losses, n)
            rejected = stats.mcnemar_mid_p(wins, losses) < stats.ALPHA
            yield (
                *(f"0/1, p = {share:g}", n),
                *(
                    float(chance[(low <= share) & (share <= high)].sum()),
                    float(paired[(below <= 0) & (above >= 0)].sum()),
                ),
                float(paired[rejected].sum()),
            )


def _clustered_binary() -> Iterator[tuple[str, int, float, float, float]]:
    for share in SHARES:
        for n in SIZES:
            rng, clusters = np.random.default_rng(n), _conversations(n, LINES_A_CONVERSATION)
            before, after = (
                (_correlated(rng, n, LINES_A_CONVERSATION) < special.ndtri(share)).astype(float) for _ in range(2)
            )
            se, df = stats.standard_error(before, clusters)
            low, high = stats.clustered_wilson_interval(before.mean(axis=-1), se, n, df)
            covered = float(((low <= share) & (share <= high)).mean())
            difference = after - before
            yield (
                *(f"0/1, p = {share:g}, conversations", n, covered),
                *(_t_coverage(difference, clusters), _t_rejections(difference, clusters)),
            )


def _holm() -> float:
    rng = np.random.default_rng(0)
    shared = rng.standard_normal((SIMULATIONS, 30, 1))
    scores = math.sqrt(0.5) * (shared + rng.standard_normal((SIMULATIONS, 30, 3)))
    metrics = np.moveaxis(scores, 2, 0)
    p = np.stack([stats.t_test(metric.mean(axis=-1), *stats.standard_error(metric)) for metric in metrics])
    adjusted = (stats.holm(list(comparison)) for comparison in p.T)
    return float(np.mean([min(value or 1 for value in p_holm) < stats.ALPHA for p_holm in adjusted]))


def _t_coverage(values: Floats, clusters: NDArray[np.intp] | None) -> float:
    low, high = stats.t_interval(values.mean(axis=-1), *stats.standard_error(values, clusters))
    return float(((low <= 0) & (high >= 0)).mean())


def _t_rejections(values: Floats, clusters: NDArray[np.intp] | None) -> float:
    with np.errstate(invalid="ignore", divide="ignore"):
        p = stats.t_test(values.mean(axis=-1), *stats.standard_error(values, clusters))
    return float((p < stats.ALPHA).mean())


def _outcomes(n: int, discordant: float) -> tuple[NDArray[np.intp], NDArray[np.intp], Floats]:
    """Return every (wins, losses) of n pairs that win or lose with chance ``discordant`` each, and its chance."""
    wins, losses = (grid.ravel() for grid in np.meshgrid(np.arange(n + 1), np.arange(n + 1)))
    wins, losses = wins[wins + losses <= n], losses[wins + losses <= n]
    ties = n - wins - losses
    log_chance = _log_choose(n, wins) + _log_choose(n - wins, losses)
    log_chance += special.xlogy(wins + losses, discordant) + special.xlogy(ties, 1 - 2 * discordant)
    return wins, losses, np.exp(log_chance)


def _log_choose(n: int | NDArray[np.intp], k: NDArray[np.intp]) -> Floats:
    return np.asarray(special.gammaln(n + 1) - special.gammaln(k + 1) - special.gammaln(n - k + 1))


def _conversations(n: int, lines: int) -> NDArray[np.intp] | None:
    return None if lines == 1 else np.repeat(np.arange(n // lines), lines)


def _correlated(rng: np.random.Generator, n: int, lines: int) -> Floats:
    """Return standard normal scores, half of whose variance is shared by the ``lines`` of a conversation."""
    if lines == 1:
        return rng.standard_normal((SIMULATIONS, n))
    shared = np.repeat(rng.standard_normal((SIMULATIONS, n // lines)), lines, axis=-1)
    return math.sqrt(0.5) * (shared + rng.standard_normal((SIMULATIONS, n)))


if __name__ == "__main__":
    main()
