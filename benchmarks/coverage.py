"""Whether the statistics keep their promises: coverage, false positives, gates' errors, and what stopping early saves.

    python benchmarks/coverage.py > docs/statistics.md

0/1 scores without conversations by exact enumeration of all outcomes, all else by 20,000 simulations (a share of 3 % is
then known to 0.12 points; of some 600 such figures one or two are 3 standard errors too high, so that a cell outside of
its bound is simulated anew, 200,000 times). Takes over an hour, nearly all of it the bootstrap of corpus metrics. Exits
with 1 where a cell is outside its bound.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable, Iterator

import coverage_cells as cells
import early_stopping
import failed_lines
import numpy as np
from corpus_bootstrap import corpus_bootstrap_section
from coverage_cells import Cell, Clusters, Errors, Floats, Intervals, Scores
from lines_needed import lines_needed_section

from phi3flow import stats

SIMULATIONS = 20_000
MORE_SIMULATIONS = 200_000  # of a cell that is outside its bound
BATCH = 2_000_000  # numbers held at once

LEAST_COVERAGE, MOST_ONE_SIDED, MOST_FALSE = 0.93, 0.03, 0.06
WIDTHS = {20: 1.25, 50: 1.10}  # against Student's t, for differences of sd 0.3 of the range

ABOUT = """# Statistics

Every interval is a 95 % interval, every p two-sided. The methods and their sources are in `phi3flow/stats`; why these,
is in [decisions/0022](decisions/0022-verdicts-at-the-edges.md). This page is what `python benchmarks/coverage.py`
measures of them.

| scores | interval | test of a difference |
|---|---|---|
| of a range: 0 to 1, or the declared one | t with a pseudo score at each end, corrected for skewness | that t |
| 0 or 1 | Wilson's; of fewer than 30 lines no narrower than the exact 94 % one | |
| differences of 0 and 1 | Tango's | mid-p McNemar: a verdict needs both; beyond a margin the exact test |
| without a range | Student's t | paired t |
| BLEU and chrF of the run | bootstrap over conversations | the same, paired |

Where lines share conversations, each is by conversation: CR2 with Bell and McCaffrey's degrees of freedom, from six
conversations on, and no narrower than where conversations of any length scatter alike. Beside each test stands the
sign-flip permutation test (swaps for BLEU and chrF), by conversation. No interval has width zero: scores without a
range that show no scatter have none, and the note says why.

In every cell coverage must be at least 0.93, a gate's one-sided error at its margin at most 0.03, false positives at
most 0.06. "Before" is the first build: Student's t, by conversation CR1 with t on C - 1, [0, 0] where nothing differs.
One-sided is a gate's error at its margin: the larger of the two bounds', of a mean of 0/1 scores the lower one's. Of
scores of 0 and 1 no bound alone decides: mid-p McNemar or the exact count has to agree (3 % at most); else a gate is
undecided and says with what chance. A cell outside of a bound is simulated anew, 200,000 times ("*"). n is lines, or
conversations; "0.5 alike": lines of a conversation share half of their latent variance; "as a whole": they all lose, or
none does. What is far above 0.95 is few lines of which few differ: rare large losses cannot be ruled out by lines that
show none.
"""


def main() -> int:
    """Print the page; return 1 where a cell that is not named is outside its bound."""
    print(ABOUT)
    sections = [
        ("## A mean", [*cells.exact_shares(), *_simulated("mean", cells.MEANS)]),
        ("## A difference", [*cells.exact_differences(), *_simulated("difference", cells.DIFFERENCES)]),
        ("## Conversations", [*_clustered()]),
    ]
    for title, section in sections:
        print(f"{title}\n\n{HEADER}")
        for cell in section:
            print(_row(cell))
        print()
    outside = [cell for _, section in sections for cell in section if _is_outside(cell)]
    too_wide = _print_widths()
    print(f"Holm over three correlated metrics: at least one false positive in {_holm():.3f} of all comparisons.\n")
    print(lines_needed_section())
    print(corpus_bootstrap_section())
    print(failed_lines.section())
    early_stopping.main()
    failures = [*(f"{cell.scores}, {cell.n}" for cell in outside), *too_wide]
    for failure in failures:
        print(f"outside its bound: {failure}", file=sys.stderr)
    return 1 if failures else 0


HEADER = """| scores | n | coverage before | now | one-sided before | now | false positives before | now |
|---|---|---|---|---|---|---|---|"""


def _row(cell: Cell) -> str:
    figures = (cell.before.coverage, cell.after.coverage, cell.before.larger, cell.one_sided)
    false = (cell.before.false_positives, cell.after.false_positives)
    shown = [f"{figure:.3f}" for figure in figures] + ["" if share is None else f"{share:.3f}" for share in false]
    return f"| {cell.scores} | {cell.n} | {' | '.join(shown)} |"


def _is_outside(cell: Cell) -> bool:
    """Whether a figure, as it is printed, is outside its bound."""
    one_sided, false = round(cell.one_sided, 3), round(cell.after.false_positives or 0.0, 3)
    return round(cell.after.coverage, 3) < LEAST_COVERAGE or one_sided > MOST_ONE_SIDED or false > MOST_FALSE


def _simulated(kind: str, scores: Iterable[Scores]) -> Iterator[Cell]:
    for one in scores:
        for n in cells.SIZES:
            yield _measured(kind, one, n, None, str(n))


def _clustered() -> Iterator[Cell]:
    for lengths, draw in cells.LENGTHS.items():
        for count in cells.CONVERSATIONS:
            clusters = np.repeat(np.arange(count), draw(count))
            for alike in cells.ALIKE:
                for kind, scores in cells.clustered_scores(alike, clusters):
                    label = f"{count} of {lengths}, {alike:g} alike"
                    yield _measured(kind, scores, len(clusters), clusters, label)
    for lengths, draw in cells.UNLIKE_LENGTHS.items():
        for count in cells.WHOLE_CONVERSATIONS:
            clusters = np.repeat(np.arange(count), draw(count))
            for kind, scores in cells.whole_conversations(clusters):
                yield _measured(kind, scores, len(clusters), clusters, f"{count} of {lengths}, as a whole")


def _measured(kind: str, scores: Scores, n: int, clusters: Clusters | None, label: str) -> Cell:
    """Return the cell, simulated anew where it is outside of a bound."""
    cell = simulate(kind, scores, n, clusters, label)
    return simulate(kind, scores, n, clusters, f"{label} *", MORE_SIMULATIONS) if _is_outside(cell) else cell


def simulate(
    kind: str, scores: Scores, n: int, clusters: Clusters | None, label: str, simulations: int = SIMULATIONS
) -> Cell:
    """Return how often the intervals of a kind of scores err, and their tests where the truth is 0."""
    rng, size = np.random.default_rng([n, simulations]), max(1, BATCH // n)
    bounds: list[tuple[Intervals, Intervals, Floats, Floats]] = []
    for start in range(0, simulations, size):
        sample = scores.sample(rng, min(size, simulations - start), n)
        (before, p_before), (after, p_after) = _before(kind, sample, clusters), _after(kind, sample, clusters)
        bounds.append((before, after, p_before, p_after))
    sides = [tuple(np.concatenate([batch[side][end] for batch in bounds]) for end in (0, 1)) for side in (0, 1)]
    tests = [np.concatenate([batch[side] for batch in bounds]) for side in (2, 3)]
    is_null = kind != "mean" and scores.truth == 0
    before, after = (
        _errors(low, high, scores.truth, float((p < stats.ALPHA).mean()) if is_null else None)
        for (low, high), p in zip(sides, tests, strict=True)
    )
    return Cell(scores.name, label, before, after, after.larger)


def _errors(low: Floats, high: Floats, truth: float, false: float | None) -> Errors:
    above, below = (low > truth + cells.NO_TRUTH).mean(), (high < truth - cells.NO_TRUTH).mean()
    return Errors(float(above), float(below), false)


def _before(kind: str, sample: Floats, clusters: Clusters | None) -> tuple[Intervals, Floats]:
    """Return the first build's intervals and p: Student's t, by cluster CR1 on C - 1, Wilson's of clustered shares."""
    n, mean = sample.shape[-1], sample.mean(axis=-1)
    residuals = sample - mean[:, None]
    if clusters is not None:
        starts = np.flatnonzero(np.diff(clusters, prepend=-1))
        residuals = np.add.reduceat(residuals, starts, axis=-1)
    count = residuals.shape[-1]
    se = np.sqrt(np.square(residuals).sum(axis=-1) * count / (count - 1)) / n
    se = np.where(se <= 1e-12, 0.0, se)
    low, high = stats.t_interval(mean, se, count - 1)
    if kind == "mean" and clusters is not None:
        binary = np.isin(sample, (0.0, 1.0)).all(axis=-1)
        least, most = stats.clustered_wilson_interval(mean, se, n, count - 1)
        low, high = np.where(binary, least, low), np.where(binary, most, high)
    with np.errstate(invalid="ignore", divide="ignore"):
        p = np.where(se > 0, stats.t_test(mean, se, count - 1), 1.0)
    return (low, high), p


def _after(kind: str, sample: Floats, clusters: Clusters | None) -> tuple[Intervals, Floats]:
    if kind == "unbounded":
        mean, (_, df) = sample.mean(axis=-1), stats.standard_error(sample, clusters)
        se = stats.unbounded_error(sample, clusters)
        return stats.t_interval(mean, se, df), stats.t_test(mean, se, df)
    if kind == "mean":
        inferred = stats.infer_bounded_mean(sample, clusters, stats.UNIT)
    else:
        inferred = stats.infer_bounded_difference(sample, clusters, 1.0)
    low, high = inferred.interval()
    if kind == "mean":
        binary, n = np.isin(sample, (0.0, 1.0)).all(axis=-1), sample.shape[-1]
        if clusters is None:
            least, most = stats.share_interval(np.round(sample.sum(axis=-1)), n)
        else:
            least, most = stats.clustered_share_interval(sample, clusters)
        low, high = np.where(binary, least, low), np.where(binary, most, high)
    return (low, high), inferred.p()


def _print_widths() -> list[str]:
    """Print how wide intervals are against Student's t, and what that costs; return what is wider than its bound."""
    print("## What it costs\n\nWidth of a difference's interval, against Student's t:\n")
    print("| differences | n = 20 | 50 | 200 |\n|---|---|---|---|")
    too_wide = []
    for scores in cells.DIFFERENCES[-3:]:
        ratios = {n: _width(scores, n) for n in (20, 50, 200)}
        print(f"| {scores.name} | {' | '.join(f'{ratio:.2f}' for ratio in ratios.values())} |")
        if scores.name == "normal, sd 0.3":
            too_wide = [f"width at n = {n}: {ratios[n]:.2f}" for n, most in WIDTHS.items() if ratios[n] > most]
    before, now = (_lines_for(kind) for kind in ("unbounded", "difference"))
    print(f"\nLines that show a difference of 0.1 at sd 0.3 with 80 % power: {before} by Student's t, {now} now.\n")
    return too_wide


def _width(scores: Scores, n: int) -> float:
    sample = scores.sample(np.random.default_rng(n), SIMULATIONS, n)
    (before, _), (after, _) = _before("difference", sample, None), _after("difference", sample, None)
    return float((after[1] - after[0]).mean() / (before[1] - before[0]).mean())


def _lines_for(kind: str) -> int:
    too_few, enough = 40, 120
    while enough - too_few > 1:
        n = (too_few + enough) // 2
        sample = np.clip(np.random.default_rng(0).normal(0.1, 0.3, (SIMULATIONS, n)), -1, 1)
        significant = (_after(kind, sample, None)[1] < stats.ALPHA).mean()
        too_few, enough = (too_few, n) if significant >= stats.POWER else (n, enough)
    return enough


def _holm() -> float:
    rng = np.random.default_rng(0)
    shared = rng.standard_normal((SIMULATIONS, 30, 1))
    scores = math.sqrt(0.5) * (shared + rng.standard_normal((SIMULATIONS, 30, 3)))
    metrics = np.moveaxis(scores, 2, 0)
    p = np.stack([stats.t_test(metric.mean(axis=-1), *stats.standard_error(metric)) for metric in metrics])
    adjusted = (stats.holm(list(comparison)) for comparison in p.T)
    return float(np.mean([min(value or 1 for value in p_holm) < stats.ALPHA for p_holm in adjusted]))


if __name__ == "__main__":
    sys.exit(main())
