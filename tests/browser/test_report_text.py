"""How the report's script reads answers: required values as the evaluation flow does, differing words in order."""

from __future__ import annotations

import random
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.browser.conftest import OpenedReport
from tests.support.flows.stated_values import NOT_STATED, STATED
from tests.support.folders.run_folders import line, write_run
from tests.support.paths import FLOWS

pytestmark = pytest.mark.browser

FLOW = FLOWS / "eval" / "answer_match"

VALUES = [*STATED, *NOT_STATED]


@pytest.fixture
def page(open_report: Callable[..., OpenedReport], tmp_path: Path) -> Any:
    """A page whose script can be called."""
    return open_report(write_run(tmp_path / "run", [line(0, "a")])).page


@pytest.fixture
def holds_value() -> Iterator[Callable[[str, str], bool]]:
    """The evaluation flow's own rule."""
    sys.path.insert(0, str(FLOW))
    try:
        from answer_match_text import holds_value

        yield holds_value
    finally:
        sys.path.remove(str(FLOW))
        sys.modules.pop("answer_match_text", None)


def test_values_are_found_where_the_evaluation_finds_them(page: Any, holds_value: Callable[[str, str], bool]) -> None:
    found = page.evaluate("(pairs) => pairs.map(([answer, value]) => findValue(answer, value).length > 0)", VALUES)
    expected = [holds_value(answer, value) for answer, value in VALUES]
    assert dict(zip(VALUES, found, strict=True)) == dict(zip(VALUES, expected, strict=True))


def test_a_value_is_marked_where_it_stands(page: Any) -> None:
    texts = page.evaluate(
        """() => [["Cafe\u0301 Nord has 24 hours", "24 hours"], ["ﬁne 5 and 5", "5"], ["a  b", "a b"]]
            .map(([text, value]) => findValue(text, value).map(([from, to]) => text.slice(from, to)))"""
    )
    assert texts == [["24 hours"], ["5", "5"], ["a  b"]]


def test_differing_words_leave_the_same_words_on_both_sides(page: Any) -> None:
    rng = random.Random(7)
    words = ["the", "hub", "runs", "for", "90", "hours", ",", "東京", "café", "-"]
    pairs = [
        [" ".join(rng.choices(words, k=rng.randrange(12))), " ".join(rng.choices(words, k=rng.randrange(12)))]
        for _ in range(300)
    ]
    rests = page.evaluate(
        """(pairs) => pairs.map(([a, b]) => {
            const own = differingWords(a, b);
            return [a, b].map((text, side) => {
                let rest = "", at = 0;
                for (const [from, to] of own[side]) { rest += text.slice(at, from); at = to; }
                return (rest + text.slice(at)).replace(/\\s+/g, "");
            });
        })""",
        pairs,
    )
    for (left, right), (a, b) in zip(rests, pairs, strict=True):
        assert left == right, (a, b)
    assert page.evaluate("differingWords('a b c', 'a x c')") == [[[2, 3]], [[2, 3]]]
    assert page.evaluate("differingWords('same words', 'same words')") == [[], []]


def test_answers_too_long_to_compare_say_so(open_report: Callable[..., OpenedReport], tmp_path: Path) -> None:
    long = [" ".join(f"{name}{n}" for n in range(2500)) for name in ("a", "b")]
    runs = [write_run(tmp_path / name, [line(0, answer)]) for name, answer in zip("xy", long, strict=True)]
    report = open_report(*runs)
    report.page.keyboard.press("j")
    assert report.page.locator(".open mark.own").count() == 0
    assert "too long" in report.texts(".line.open")[0]


def test_cut_texts_say_how_much_is_missing(open_report: Callable[..., OpenedReport], tmp_path: Path) -> None:
    report = open_report(write_run(tmp_path / "run", [line(0, "x" * 21_500)]))
    report.page.keyboard.press("j")
    assert "… 1,500 more characters in results.jsonl" in report.texts(".line.open")[0]
