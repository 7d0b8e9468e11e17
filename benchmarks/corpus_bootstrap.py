"""Whether the bootstrap of metrics of a whole run covers, with few conversations, unequal ones, and few that differ.

    python benchmarks/corpus_bootstrap.py

Prints two sections of docs/statistics.md. 20,000 simulations of each cell take an hour; an argument makes fewer.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import special, stats

from phi3flow.stats import CORPUS_METRICS, compare_corpora, estimate_corpora

Floats = NDArray[np.float64]
Metric = Callable[[Floats], Floats]

SIMULATIONS = 20_000
DRAWS = 4_000
NAMES = ("corpus_perplexity", "corpus_bleu")

ABOUT = """## Corpus metrics

Two equal runs, 95 % intervals by the paired bootstrap over conversations. A conversation's lines share half of their
variance. "No verdict": fewer than six conversations, or than six that differ; they count as covered, and as no false
positive.

| metric | conversations | lines in each | that differ | no verdict | coverage, one run | difference | false positives |
|---|---|---|---|---|---|---|---|"""


ABOUT_FEW = """### Some wrong answers among right ones

A share of the answers is all wrong, the others are right: of one run, whose conversations are alike or one of which has
a part of all lines, and of a candidate whose baseline has every answer half right. Exact, over all numbers of wrong
ones. One-sided: the error of the bound that a gate is held to, at the share where it is greatest.

| metric | of | conversations | the longest has | one-sided, low | high |
|---|---|---|---|---|---|"""

SHAPES = (*((count, 1) for count in (30, 100, 200, 500)), *((50, longest) for longest in (6, 21, 49)), (100, 25))


@dataclass(frozen=True)
class Cell:
    """So many conversations, of 1 to ``longest`` lines, a share ``differing`` of which the candidate answers anew."""

    conversations: int
    longest: int
    differing: float = 1.0


CELLS = (
    *(Cell(count, longest) for count in (4, 6, 10, 30) for longest in (1, 40)),
    *(Cell(count, 1, share) for count, share in ((50, 0.05), (200, 0.02), (200, 0.05), (400, 0.05))),
)


def corpus_bootstrap_section(simulations: int = SIMULATIONS) -> str:
    """Return the section, in Markdown."""
    return "\n".join([ABOUT, *(row for cell in CELLS for row in _rows(cell, simulations)), "", few_wrong_section(), ""])


def few_wrong_section() -> str:
    """Return the section of right answers with some wrong ones, in Markdown."""
    rows = []
    for name, (right, wrong) in _ANSWERS.items():
        for of, baseline in (("one run", None), ("difference", (right + wrong) / 2)):
            for count, longest in SHAPES:
                low, high = one_sided_errors(CORPUS_METRICS[name], right, wrong, baseline, count, longest)
                share = f"{100 * longest / (count - 1 + longest):.0f} %"
                rows.append(f"| {name} | {of} | {count} | {share} | {low:.3f} | {high:.3f} |")
    return "\n".join([ABOUT_FEW, *rows])


def one_sided_errors(
    metric: Metric, right: Floats, wrong: Floats, baseline: Floats | None, count: int, longest: int
) -> tuple[float, float]:
    """Return the greatest chances, over shares of wrong answers, that the truth is below and above the interval.

    Of so many conversations of one line, but for the first, which is as long as ``longest`` of them.
    """
    lengths = np.array([longest, *[1] * (count - 1)])
    labels = np.repeat(np.arange(count), lengths)
    bounds = []
    for first_wrong in (False, True):
        for others in range(count):
            is_wrong = np.concatenate([[first_wrong], np.arange(count - 1) < others])[labels]
            bounds.append(_bounds(metric, np.where(is_wrong[:, None], wrong, right), baseline, labels))
    low, high = np.array(bounds).T
    near_none = np.linspace(0.1, 6, 60) / count
    shares = np.concatenate([near_none, np.linspace(0.02, 0.98, 49), 1 - near_none])
    others = stats.binom.pmf(np.arange(count), count - 1, shares[:, None])
    chances = np.concatenate([(1 - shares[:, None]) * others, shares[:, None] * others], axis=1)
    truths = np.array([float(metric(1e6 * ((1 - share) * right + share * wrong))) for share in shares])[:, None]
    truths = truths - (0.0 if baseline is None else metric(baseline))
    errors = [(chances * beyond).sum(axis=1).max() for beyond in (low > truths, high < truths)]
    return float(errors[0]), float(errors[1])


def _bounds(metric: Metric, counts: Floats, baseline: Floats | None, labels: NDArray[np.intp]) -> tuple[float, float]:
    rng, draws = np.random.default_rng(0), DRAWS // 4
    if baseline is None:
        [inferred] = estimate_corpora([(counts, metric)], rng=rng, clusters=labels, draws=draws)
    else:
        before = np.tile(baseline, (len(counts), 1))
        [inferred] = compare_corpora([(before, counts, metric)], rng=rng, clusters=labels, draws=draws)
    if inferred.low is None or inferred.high is None:
        return -np.inf, np.inf
    return inferred.low, inferred.high


def _rows(cell: Cell, simulations: int) -> Iterator[str]:
    truth = [float(CORPUS_METRICS[name](_truth(cell, column).sum(axis=0))) for column, name in enumerate(NAMES)]
    tally = np.zeros((len(NAMES), 4))
    for seed in range(simulations):
        rng = np.random.default_rng(seed)
        before, after, labels = _runs(rng, cell)
        corpora = [(*sides, CORPUS_METRICS[name]) for *sides, name in zip(before, after, NAMES, strict=True)]
        compared = compare_corpora(corpora, rng=rng, clusters=labels, draws=DRAWS)
        alone = estimate_corpora([(left, metric) for left, _, metric in corpora], rng=rng, clusters=labels, draws=DRAWS)
        for row, (estimate, difference) in enumerate(zip(alone, compared, strict=True)):
            low, high = (-np.inf if estimate.low is None else estimate.low), (estimate.high or np.inf)
            bounded = difference.low is not None and difference.high is not None
            excludes = bounded and not difference.low <= 0 <= difference.high
            significant = excludes and difference.p is not None and difference.p < 0.05
            tally[row] += [not bounded, low <= truth[row] <= high, not excludes, significant]
    for name, shares in zip(NAMES, tally / simulations, strict=True):
        lines = "1" if cell.longest == 1 else f"1 to {cell.longest}"
        figures = " | ".join(f"{share:.3f}" for share in shares)
        yield f"| {name} | {cell.conversations} | {lines} | {100 * cell.differing:g} % | {figures} |"


def _truth(cell: Cell, column: int) -> Floats:
    return _runs(np.random.default_rng(2**32), Cell(100_000, cell.longest))[0][column]


def _runs(rng: np.random.Generator, cell: Cell) -> tuple[list[Floats], list[Floats], NDArray[np.intp]]:
    """Return each side's counts, by metric, and the lines' conversations."""
    labels = np.repeat(np.arange(cell.conversations), rng.integers(1, cell.longest + 1, cell.conversations))
    references = rng.integers(5, 40, len(labels)).astype(float)
    shared = rng.normal(0, 0.5, cell.conversations)[labels]
    before, after = _counts(rng, shared, references), _counts(rng, shared, references)
    anew = (rng.random(cell.conversations) < cell.differing)[labels][:, None]
    return before, [np.where(anew, new, old) for old, new in zip(before, after, strict=True)], labels


def _counts(rng: np.random.Generator, shared: Floats, references: Floats) -> list[Floats]:
    quality = special.ndtr(0.4 + shared + rng.normal(0, 0.5, len(shared)))
    likelihood = -references * (0.3 + 2 * (1 - quality)) * rng.gamma(5, 0.2, len(shared))
    answers = np.maximum(4, np.rint(references * rng.uniform(0.7, 1.3, len(shared))))
    totals = np.stack([answers - order for order in range(4)], axis=1)
    matches = [rng.binomial(answers.astype(int), 0.8 * quality)]
    for order in range(1, 4):
        matches.append(np.minimum(rng.binomial(matches[-1], 0.6), totals[:, order].astype(int)))
    bleu = np.concatenate([np.stack([answers, references, *matches], axis=1), totals], axis=1)
    return [np.stack([likelihood, references], axis=1), bleu]


def _chrf(lengths: Sequence[tuple[int, int, int]]) -> Floats:
    return np.array(lengths, dtype=float).ravel()


_ANSWERS = {
    "corpus_bleu": (
        np.array([10, 10, 10, 9, 8, 7, 10, 9, 8, 7], dtype=float),
        np.array([7, 10, 0, 0, 0, 0, 7, 6, 5, 4], dtype=float),
    ),
    "corpus_chrf": (
        _chrf([(47 - k, 47 - k, 47 - k) for k in range(6)]),
        _chrf([(31 - k, 47 - k, max(0, 23 - 16 * k)) for k in range(6)]),
    ),
}

if __name__ == "__main__":
    print(corpus_bootstrap_section(int(sys.argv[1]) if len(sys.argv) > 1 else SIMULATIONS))
