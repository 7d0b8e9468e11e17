"""Whether stopping early keeps its level, and what it saves.

    python benchmarks/early_stopping.py

Prints the section "Stopping early" of docs/statistics.md. 20,000 simulations a row (a share of 5 % is then known to
0.15 points), 2,000 for the openings before, 1,000 for the power. Takes some minutes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import special

from phi3flow import stats

Floats = NDArray[np.float64]

SIMULATIONS = 20_000
BEFORE_SIMULATIONS = 2_000
POWER_SIMULATIONS = 1_000
LINES = 1_000
OPENINGS = tuple(range(50, LINES + 1, 50))
CANDIDATES = (1, 2, 3, 5)
_CHUNK = 250
_OLD_STAKES = np.geomspace(0.02, 0.95, 16)

ABOUT = """## Stopping early

`batch-run --stop-when-decided` tests after every conversation. What is tested is that the mean difference over lines is
0, conversations being independent draws that may be of any length, and whose length may have to do with the difference
(ADR 19). The level is at most 5 % whatever the differences, since the gamblers' capital is a martingale; these figures
are a check of it. A verdict needs both readings of failed lines.
"""


def main() -> None:
    """Print the section."""
    print(ABOUT)
    _print_table(
        "False verdicts of two equal runs, over all openings of the same run with `--limit` 50, 100, … 1,000:",
        ("differences", "a test an opening, as before", "one test"),
        _openings(),
    )
    print(f"Where three in ten of each opening's lines fail, and the next opening answers them: {_retried():.3f}.\n")
    _print_table(
        "False verdicts of one run, where conversations are unequal:",
        ("conversations", "differences", "false verdicts"),
        _unequal(),
    )
    _print_table(
        "At least one false verdict among candidates that are tested against one baseline, 300 lines:",
        ("candidates", "each at 5 %", "sharing 5 %"),
        _candidates(),
    )
    _print_table(
        "Two equal runs, one of which fails where it would be wrong: decided by answered lines, and by both readings:",
        ("lines", "failed", "answered lines alone", "both readings"),
        _failures(),
    )
    _print_table(
        "What is decided, of 0/1 scores that differ on three lines in ten, and of differences with a standard\n"
        "deviation of 0.3; where `shared` is said, lines of a conversation share half of their variance:",
        ("lines", "scores", "conversations", "true difference", "decided before", "decided", "median share of lines"),
        _power(),
    )


def _print_table(title: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    print(f"{title}\n\n| {' | '.join(columns)} |\n|{'---|' * len(columns)}")
    for row in rows:
        cells = (f"{cell:.3f}" if isinstance(cell, float) else str(cell) for cell in row)
        print(f"| {' | '.join(cells)} |")
    print()


def _openings() -> Iterator[tuple[str, float, float]]:
    for name, draw in (("0/1, three lines in ten differ", _binary), ("one in twenty loses 0.95", _rare_losses)):
        rng, before, after = np.random.default_rng(0), 0, 0
        for done in range(0, SIMULATIONS, _CHUNK):
            differences = draw(rng, (_CHUNK, LINES))
            after += int(_ever(differences, capacity=LINES).sum())
            is_wrong = np.zeros(_CHUNK, bool)
            for limit in OPENINGS if done < BEFORE_SIMULATIONS else ():
                is_wrong |= _ever_before(rng.permuted(differences[:, :limit], axis=1))
            before += int(is_wrong.sum())
        yield name, before / min(BEFORE_SIMULATIONS, SIMULATIONS), after / SIMULATIONS


def _retried() -> float:
    """Return how often two equal runs are decided in any opening, where lines fail at first that will be wrong."""
    rng, wrong = np.random.default_rng(0), 0
    for _ in range(BEFORE_SIMULATIONS // _CHUNK):
        before, after = (rng.random((2, _CHUNK, LINES)) < 0.5).astype(float)
        fails = (after == 0) & (rng.random((_CHUNK, LINES)) < 0.6)
        is_wrong = np.zeros(_CHUNK, bool)
        for limit in OPENINGS:
            answered = ~fails[:, :limit] | (np.arange(limit) < limit - OPENINGS[0])
            readings = ((after[:, :limit] - before[:, :limit]) * answered, after[:, :limit] - before[:, :limit])
            decided = [stats.anytime_p(units, capacity=LINES) <= stats.ALPHA for units in readings]
            is_wrong |= (decided[0] & decided[1]).any(axis=-1)
        wrong += int(is_wrong.sum())
    return wrong / BEFORE_SIMULATIONS


def _unequal() -> Iterator[tuple[str, str, float]]:
    sizes: dict[str, Callable[[np.random.Generator], NDArray[np.intp]]] = {
        "1 to 8": lambda rng: rng.integers(1, 9, 220),
        "1 to 40": lambda rng: rng.integers(1, 41, 49),
        "one of half of all lines": lambda rng: np.append(np.ones(150, np.intp), 150),
        "2 or 18": lambda rng: rng.choice(np.array([2, 18]), 100),
    }
    for of_sizes, draw in sizes.items():
        population = np.concatenate([draw(np.random.default_rng(seed)) for seed in range(200)])
        for name, shares in (("shared by all of its lines", _shared), ("long ones win, short ones lose", _by_length)):
            rng = np.random.default_rng(0)
            wrong = 0
            for _ in range(SIMULATIONS):
                drawn = draw(rng)
                units = rng.permutation(shares(rng, drawn, population) * drawn / drawn.max())
                wrong += bool(_ever(units[None], capacity=drawn.sum() / drawn.max())[0])
            yield of_sizes, name, wrong / SIMULATIONS


def _candidates() -> Iterator[tuple[int, float, float]]:
    for count in CANDIDATES:
        rng, alone, shared = np.random.default_rng(0), 0, 0
        for _ in range(SIMULATIONS // _CHUNK):
            baseline = rng.random((_CHUNK, 300)) < 0.5
            least = np.ones(_CHUNK)
            for _ in range(count):
                difference = (rng.random((_CHUNK, 300)) < 0.5).astype(float) - baseline
                least = np.minimum(least, stats.anytime_p(difference, capacity=300).min(axis=-1))
            alone += int((least <= stats.ALPHA).sum())
            shared += int((least <= stats.ALPHA / count).sum())
        yield count, alone / SIMULATIONS, shared / SIMULATIONS


def _failures() -> Iterator[tuple[int, str, float, float]]:
    for lines in (100, 300):
        for failed in (0.04, 0.12, 0.24):
            rng, alone, both = np.random.default_rng(0), 0, 0
            for _ in range(SIMULATIONS // _CHUNK):
                before, after = (rng.random((2, _CHUNK, lines)) < 0.6).astype(float)
                fails = (after == 0) & (rng.random((_CHUNK, lines)) < failed / 0.4)
                p_answered = stats.anytime_p(np.where(fails, 0.0, after - before), capacity=lines)
                p_least = stats.anytime_p(np.where(fails, 0.0, after) - before, capacity=lines)
                alone += int((p_answered <= stats.ALPHA).any(axis=-1).sum())
                both += int(((p_answered <= stats.ALPHA) & (p_least <= stats.ALPHA)).any(axis=-1).sum())
            yield lines, f"{failed:.0%}", alone / SIMULATIONS, both / SIMULATIONS


def _power() -> Iterator[list[str]]:
    for lines, longest, shared in (
        *((300, 1, False), (1_000, 1, False), (1_000, 8, False), (1_000, 8, True)),
        *((993, 40, False), (993, 40, True)),
    ):
        for name, draw in (("0/1", _binary_units), ("sd 0.3", _bounded_units)):
            for effect in (0.05, 0.1, 0.2):
                rng = np.random.default_rng(0)
                ends = [_ends(rng, lines, longest, draw, effect, shared) for _ in range(POWER_SIMULATIONS)]
                before, now, used = np.array(ends).T
                size = "none" if longest == 1 else f"1 to {longest}{', shared' if shared else ''}"
                figures = [f"{before.mean():.3f}", f"{now.mean():.3f}", f"{np.median(used):.2f}"]
                yield [f"{lines:,}", name, size, f"{effect:g}", *figures]


_Draw = Callable[[np.random.Generator, NDArray[np.intp], float, bool], Floats]


def _ends(
    rng: np.random.Generator, lines: int, longest: int, draw: _Draw, effect: float, shared: bool
) -> tuple[bool, bool, float]:
    """Return whether a run was decided before, whether it is now, and which share of its lines it needs."""
    sizes = _sizes(rng, lines, longest)
    units = draw(rng, sizes, effect, shared) / sizes.max()
    decided = stats.anytime_p(units, capacity=lines / sizes.max()) <= stats.ALPHA
    used = sizes[: decided.argmax() + 1].sum() / lines if decided.any() else 1.0
    return bool(_ever_before(units[None])[0]), bool(decided.any()), float(used)


def _sizes(rng: np.random.Generator, lines: int, longest: int) -> NDArray[np.intp]:
    ends = np.minimum(np.cumsum(rng.integers(1, longest + 1, lines)), lines)
    return np.diff(ends[: int((ends < lines).sum()) + 1], prepend=0)


def _line_scores(rng: np.random.Generator, sizes: NDArray[np.intp], shared: bool) -> Floats:
    """Return a standard normal number a line."""
    own = rng.standard_normal(sizes.sum())
    if not shared:
        return own
    return np.sqrt(0.5) * (own + np.repeat(rng.standard_normal(len(sizes)), sizes))


def _binary_units(rng: np.random.Generator, sizes: NDArray[np.intp], effect: float, shared: bool) -> Floats:
    drawn = special.ndtr(_line_scores(rng, sizes, shared))
    differences = (drawn > 1 - (0.3 + effect) / 2).astype(float) - (drawn < (0.3 - effect) / 2)
    return np.add.reduceat(differences, np.cumsum(sizes) - sizes)


def _bounded_units(rng: np.random.Generator, sizes: NDArray[np.intp], effect: float, shared: bool) -> Floats:
    differences = np.clip(effect + 0.3 * _line_scores(rng, sizes, shared), -1, 1)
    return np.add.reduceat(differences, np.cumsum(sizes) - sizes)


def _shared(rng: np.random.Generator, sizes: NDArray[np.intp], _: NDArray[np.intp]) -> Floats:
    return rng.choice(np.array([-1.0, 0.0, 1.0]), len(sizes), p=[0.15, 0.7, 0.15])


def _by_length(rng: np.random.Generator, sizes: NDArray[np.intp], population: NDArray[np.intp]) -> Floats:
    """Return means that are above 0 in long conversations and below in short ones, such that lines tie on average."""
    limit = population.mean()
    won, lost = population[population > limit].sum(), population[population <= limit].sum()
    most = 0.7 / max(won, lost)
    means = np.where(sizes > limit, most * lost, -most * won)
    return means + rng.uniform(-0.3, 0.3, len(sizes))


def _binary(rng: np.random.Generator, shape: tuple[int, int]) -> Floats:
    drawn = rng.random(shape)
    return (drawn < 0.15).astype(float) - ((drawn >= 0.15) & (drawn < 0.3))


def _rare_losses(rng: np.random.Generator, shape: tuple[int, int]) -> Floats:
    return np.where(rng.random(shape) < 0.05, -0.95, 0.05)


def _ever(units: Floats, *, capacity: float) -> NDArray[np.bool_]:
    return np.asarray((stats.anytime_p(units, capacity=capacity) <= stats.ALPHA).any(axis=-1))


def _ever_before(units: Floats) -> NDArray[np.bool_]:
    """Return whether the first build's stakes would have decided, of units that its longest conversation scales."""
    bets = np.concatenate([_OLD_STAKES, -_OLD_STAKES])
    capital = np.cumsum(np.log1p(units[..., None, :] * bets[:, None]), axis=-1)
    log_mean = np.logaddexp.reduce(capital, axis=-2) - np.log(len(bets))
    return np.asarray((np.exp(-log_mean) <= stats.ALPHA).any(axis=-1))


if __name__ == "__main__":
    main()
