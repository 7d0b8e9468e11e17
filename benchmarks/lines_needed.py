"""How many lines a decision takes: by the normal formula, which is what was said before, and as it is computed.

    python benchmarks/lines_needed.py

Prints a section of docs/statistics.md; a few seconds.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import count

from scipy import special

from phi3flow.stats import POWER, Discordance, Share, Spread

DISCORDANT = (0.05, 0.1, 0.2)

ABOUT = """## Lines needed

At 5 % two-sided and 80 % power. "Before" is ((z_0.975 + z_0.8) s / effect)^2; "after" the decision itself, by counting
all outcomes of 0/1 scores, and by the noncentral t distribution with the pseudo scores of the interval.
"""

ABOUT_EQUAL_RUNS = """
Two equal runs of 0/1 scores, no worse by the margin. Power goes up and down from one n to the next: "after" is the
first with 80 % in steps of a fortieth, "never below" the least from which on it stays there.
"""


def lines_needed_section() -> str:
    """Return the section, in Markdown."""
    return "\n".join(_section())


def _section() -> Iterator[str]:
    yield ABOUT
    yield "| what is to be shown | before | after |"
    yield "|---|---|---|"
    for text, scatter, mean, deviation in _differences():
        yield f"| {text} | {_formula(deviation, mean):,} | {scatter.lines_needed(mean):,} |"
    yield ABOUT_EQUAL_RUNS
    yield "| margin | lines that differ | before | power there | after | power there | never below |"
    yield "|---|---|---|---|---|---|---|"
    for margin in (0.05, 0.1):
        for discordant in DISCORDANT:
            yield _equal_runs(margin, discordant)
    yield "\nMinimum detectable effect, the least true difference that so many lines show with 80 % power:\n"
    yield "| lines | sd 0.3, before | sd 0.3 | sd 0.1 | 0/1, none differs | 0/1, 5 % differ | 0/1, 20 % differ |"
    yield "|---|---|---|---|---|---|---|"
    for n in (10, 20, 50, 100, 300, 1000):
        yield f"| {n:,} | {' | '.join(_effects(n))} |"
    yield "\nA share against a limit, by Wilson's bound:\n"
    yield "| share | limit | lines | power there |"
    yield "|---|---|---|---|"
    for share, limit in ((0.7, 0.6), (0.95, 0.9), (0.99, 0.97), (0.02, 0.05), (0.0, 0.01)):
        lines = Share().lines_needed(share, limit=limit) or 0
        yield f"| {share:g} | {limit:g} | {lines:,} | {Share().power(lines, share, limit=limit):.3f} |"


def _differences() -> Iterator[tuple[str, Discordance | Spread, float, float]]:
    """Yield what is to be shown, how it scatters, its size, and the standard deviation of the formula."""
    for mean, deviation in ((0.1, 0.3), (0.02, 0.3), (0.1, 0.1), (0.02, 0.1)):
        yield f"a difference of {mean:g}, sd {deviation:g}", Spread(deviation), mean, deviation
        yield "the same, scores of 0 to 1", Spread.of_differences(deviation, 1.0), mean, deviation
    yield "a difference of 0.1, sd 0.3, conversations of ten lines", Spread.of_differences(0.3, 1.0, unit=10), 0.1, 0.3
    unequal = Spread.of_differences(0.3, 1.0, unit=27, length=20.5)
    yield "the same, conversations of 1 to 40 lines", unequal, 0.1, 0.3
    for wins, losses in ((0.1, 0.0), (0.12, 0.02), (0.2, 0.1)):
        mean, discordant = wins - losses, wins + losses
        text = f"0/1: {100 * wins:g} % won, {100 * losses:g} % lost"
        yield text, Discordance(discordant), mean, math.sqrt(discordant - mean**2)


def _equal_runs(margin: float, discordant: float) -> str:
    scatter, before = Discordance(discordant), _formula(math.sqrt(discordant), margin)
    after = scatter.lines_needed(0.0, limit=-margin) or 0
    powers = [scatter.power(n, 0.0, limit=-margin) for n in (before, after)]
    stays = next(n for n in count(2 * after, -1) if scatter.power(n, 0.0, limit=-margin) < POWER) + 1
    cells = (
        f"{margin:g}",
        f"{100 * discordant:g} %",
        f"{before:,}",
        f"{powers[0]:.3f}",
        f"{after:,}",
        f"{powers[1]:.3f}",
    )
    return f"| {' | '.join(cells)} | {stays:,} |"


def _effects(n: int) -> Iterator[str]:
    quantiles = [float(special.stdtrit(n - 1, chance)) for chance in (0.975, POWER)]
    yield f"{sum(quantiles) * 0.3 / math.sqrt(n):.3f}"
    for scatter in (
        Spread.of_differences(0.3, 1.0),
        Spread.of_differences(0.1, 1.0),
        *map(Discordance, (0.0, 0.05, 0.2)),
    ):
        effect = scatter.minimum_detectable_effect(n)
        yield "none" if effect is None else f"{effect:.3f}"


def _formula(deviation: float, effect: float) -> int:
    return math.ceil(((float(special.ndtri(0.975)) + float(special.ndtri(POWER))) * deviation / effect) ** 2)


if __name__ == "__main__":
    print(lines_needed_section())
