"""The rules of a gate: their grammar, and what each says.

    rule   = METRIC (">=" | ">" | "<=" | "<") NUMBER
           | METRIC "no worse than baseline by" NUMBER
           | METRIC "better than baseline" ["by" NUMBER]
           | "lines" (">=" | ">") WHOLE NUMBER
           | "failed" ("<=" | "<") NUMBER
    NUMBER = 0.6 | 60% | -1.5 | 2e-3          (60% is 0.6)

A margin is in the metric's own unit, not relative: "by 5%" is 0.05. A metric that is called lines or failed is named in
full.
"""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal, NoReturn, cast

from phi3flow.errors import ConfigError
from phi3flow.text import shorten

Comparator = Literal[">=", ">", "<=", "<"]

COMPARATORS: Mapping[str, Callable[[float, float], bool]] = {
    ">=": operator.ge,
    ">": operator.gt,
    "<=": operator.le,
    "<": operator.lt,
}

_METRIC = r"[^\s<>=!]+"
_NUMBER = r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?\s*%?"
_A_NUMBER = "a number such as 0.6 or 60%"


@dataclass(frozen=True)
class Threshold:
    """A metric's whole interval lies on the right side of a number: its lower bound for >=, its upper for <=."""

    text: str
    metric: str
    comparator: Comparator
    threshold: float


@dataclass(frozen=True)
class NoWorse:
    """The run is worse than the baseline by no more than ``margin`` (non-inferiority)."""

    text: str
    metric: str
    margin: float


@dataclass(frozen=True)
class Better:
    """The run is better than the baseline by more than ``margin``, which may be 0 (superiority)."""

    text: str
    metric: str
    margin: float


@dataclass(frozen=True)
class LineCount:
    """Every metric that the other rules name rests on so many scored lines."""

    text: str
    comparator: Comparator
    threshold: float


@dataclass(frozen=True)
class FailedShare:
    """The share of lines without a score, as it is: a count of this run, not an estimate, so without an interval."""

    text: str
    comparator: Comparator
    threshold: float


MetricRule = Threshold | NoWorse | Better
Rule = MetricRule | LineCount | FailedShare


def parse_rule(text: str) -> Rule:
    """Return what the rule ``text`` says. Raises ConfigError with the position and what was expected there."""
    return _Parser(text).parse()


class _Parser:
    """Reads one rule from left to right."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0

    def parse(self) -> Rule:
        rule = self._rule()
        if self._remainder():
            self._refuse("the end of the rule")
        return rule

    def _rule(self) -> Rule:
        metric = self._expect(_METRIC, "a metric, lines or failed")
        if metric == "lines":
            return LineCount(self._text, self._comparator(">=", ">"), self._whole_number())
        if metric == "failed":
            return FailedShare(self._text, self._comparator("<=", "<"), self._number())
        if self._take("no"):
            self._keywords("worse", "than", "baseline", "by")
            return NoWorse(self._text, metric, self._margin())
        if self._take("better"):
            self._keywords("than", "baseline")
            return Better(self._text, metric, self._margin() if self._take("by") else 0.0)
        comparator = self._comparator(">=", ">", "<=", "<", otherwise=("no worse than", "better than"))
        return Threshold(self._text, metric, comparator, self._number())

    def _comparator(self, *allowed: Comparator, otherwise: tuple[str, ...] = ()) -> Comparator:
        expected = ", ".join([*allowed, *otherwise][:-1]) + f" or {[*allowed, *otherwise][-1]}"
        return cast(Comparator, self._expect("|".join(allowed), expected))

    def _keywords(self, *words: str) -> None:
        for index, word in enumerate(words):
            self._expect(rf"{word}(?!\S)", repr(" ".join(words[index:])))

    def _whole_number(self) -> int:
        return int(self._expect(r"\d+(?![\d.%eE])", "a whole number"))

    def _margin(self) -> float:
        start = self._at
        margin = self._number()
        if margin <= 0:
            self._at = start
            self._refuse("a margin above 0")
        return margin

    def _number(self) -> float:
        start = self._at
        text = self._expect(_NUMBER, _A_NUMBER)
        value = float(text.rstrip("% \t")) / (100 if text.endswith("%") else 1)
        if not math.isfinite(value):
            self._at = start
            self._refuse(_A_NUMBER)
        return value

    def _expect(self, pattern: str, expected: str) -> str:
        taken = self._take(pattern, whole_word=False)
        return self._refuse(expected) if taken is None else taken

    def _take(self, pattern: str, *, whole_word: bool = True) -> str | None:
        self._remainder()
        match = re.compile(pattern + (r"(?!\S)" if whole_word else "")).match(self._text, self._at)
        if match is None:
            return None
        self._at = match.end()
        return match.group().rstrip()

    def _remainder(self) -> str:
        """Return what is still to be read, from the next word on."""
        remainder = self._text[self._at :].lstrip()
        self._at = len(self._text) - len(remainder)
        return remainder

    def _refuse(self, expected: str) -> NoReturn:
        remainder = self._remainder()
        next_words = repr(shorten(remainder)) if remainder else "its end"
        raise ConfigError(
            f"--rule {shorten(self._text)!r}, position {self._at + 1}: expected {expected}, found {next_words}"
        )
