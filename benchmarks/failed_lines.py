"""How often two equal runs are called different where lines of one fail: the verdict that counts failed lines.

    python benchmarks/failed_lines.py

It prints a section of docs/statistics.md. A verdict needs both readings: failed lines as the worst score, and answered
lines only. "Before" is the reading of answered lines alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray
from scipy import special

from phi3flow.stats import ALPHA, UNIT, infer_bounded_difference, mcnemar_mid_p, tango_interval

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Scores = Callable[[Floats], Floats]

SIMULATIONS = 20_000
SIZES = (100, 300)
SHARES = (0.04, 0.12, 0.24)
HITS = 0.7
MOST_BETTER = 0.03
_AGREE = 0.5  # correlation of the two runs' latent qualities
_BATCH = 2_000


def main() -> None:
    """Print the section."""
    print(section())


def section() -> str:
    """Return the section as Markdown. Raises AssertionError where a cell is outside of its bound."""
    cells = list(_cells())
    worst = max(after for *_, after in cells)
    assert worst <= MOST_BETTER, f"{worst:.4f} > {MOST_BETTER}"
    lines = [
        "## Failed lines\n",
        "Two equal runs, of which lines fail: at random, or the lines that it would answer worst. The candidate is",
        f"called better in so many of {SIMULATIONS:,} comparisons, at most {MOST_BETTER:g}; before: by answered",
        "lines alone.\n",
        "| scores | lines fail | in | share | n | before | after |",
        "|---|---|---|---|---|---|---|",
        *(
            f"| {scores} | {how} | {run} | {share:.0%} | {n} | {before:.3f} | {after:.3f} |"
            for scores, how, run, share, n, before, after in cells
        ),
    ]
    return "\n".join(lines) + "\n"


def _cells() -> Iterator[tuple[str, str, str, float, int, float, float]]:
    kinds: dict[str, Scores] = {
        "0/1": lambda quality: (quality < special.ndtri(HITS)).astype(float),
        "0 to 1": lambda quality: special.betaincinv(2.0, 1.0, special.ndtr(-quality)),
    }
    for name, scores in kinds.items():
        for how in ("at random", "the worst"):
            for run in ("candidate", "baseline", "both"):
                for share in SHARES:
                    for n in SIZES:
                        yield name, how, run, share, n, *_better(scores, how, run, share, n)


def _better(scores: Scores, how: str, run: str, share: float, n: int) -> tuple[float, float]:
    """Return how often the candidate is better over answered lines, and by both readings."""
    rng = np.random.default_rng([n, round(100 * share)])
    answered_only = agreed = 0
    for _ in range(SIMULATIONS // _BATCH):
        common = rng.normal(size=(_BATCH, n))
        sides = [np.sqrt(_AGREE) * common + np.sqrt(1 - _AGREE) * rng.normal(size=(_BATCH, n)) for _ in range(2)]
        failed = [_failed(rng, side, how, share, run in (name, "both")) for side, name in zip(sides, RUNS, strict=True)]
        values = [scores(side) for side in sides]
        least = _is_better(*(np.where(lost, 0.0, value) for value, lost in zip(values, failed, strict=True)))
        answered = _answered_better(*values, ~(failed[0] | failed[1]))
        answered_only += int(answered.sum())
        agreed += int((least & answered).sum())
    return answered_only / SIMULATIONS, agreed / SIMULATIONS


RUNS = ("baseline", "candidate")


def _failed(rng: np.random.Generator, quality: Floats, how: str, share: float, fails: bool) -> Bools:
    """Return which lines fail: ``share`` of each sample, at random or those of the worst (the highest) quality."""
    order = rng.random(quality.shape) if how == "at random" else quality
    count = round(share * quality.shape[1]) if fails else 0
    return np.argsort(np.argsort(-order, axis=1), axis=1) < count


def _is_better(baseline: Floats, candidate: Floats) -> Bools:
    """Return for each sample, (samples, lines), whether the tool calls the candidate better."""
    if np.isin(baseline, UNIT).all() and np.isin(candidate, UNIT).all():
        wins, losses = (candidate > baseline).sum(axis=1), (candidate < baseline).sum(axis=1)
        low, _ = tango_interval(wins, losses, baseline.shape[1])
        return np.asarray((low > 0) & (mcnemar_mid_p(wins, losses) < ALPHA))
    inferred = infer_bounded_difference(candidate - baseline, None, 1.0)
    return np.asarray((inferred.interval()[0] > 0) & (inferred.p() < ALPHA))


def _answered_better(baseline: Floats, candidate: Floats, answered: Bools) -> Bools:
    """Return the same over the answered lines, whose number differs from sample to sample."""
    better = np.zeros(len(baseline), dtype=bool)
    counts = answered.sum(axis=1)
    for count in np.unique(counts):
        samples = np.flatnonzero(counts == count)
        kept = answered[samples]
        sides = [side[samples][kept].reshape(len(samples), count) for side in (baseline, candidate)]
        better[samples] = _is_better(*sides)
    return better


if __name__ == "__main__":
    main()
