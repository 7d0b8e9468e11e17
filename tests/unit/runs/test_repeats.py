"""Lines that ran several times: averaged within the line, with the executions that failed and without."""

from __future__ import annotations

import itertools
from statistics import fmean

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phi3flow.records.lines import LineError
from phi3flow.records.scores import LineScore
from phi3flow.runs.repeats import average_repeats, repeat_variances

LINES = 4
FAILURE = LineError(type="EndpointError", message="503")
Execution = float | str | None
"""A score, None where the metric does not apply, or how the execution failed: in the run ("failed", or "unknown" where
nobody can say what it counts as), or in scoring ("unscored")."""

executions = st.one_of(st.floats(0, 1), st.none(), st.sampled_from(["failed", "unknown", "unscored"]))


def _score(number: int, execution: Execution) -> LineScore:
    repeat, line = divmod(number, LINES)
    identity = {"line_number": number, "line_id": f"id{line}" + (f"~{repeat + 1}" if repeat else "")}
    if execution == "unscored":
        return LineScore(**identity, status="Failed", failures={"f1": "no verdict"}, error=FAILURE)
    if isinstance(execution, str):
        counted_as = {"f1": 0.0 if execution == "failed" else None}
        counts = {"bleu": [0.0, 1.0]}
        return LineScore(
            **identity, status="Failed", answered=False, counted_as=counted_as, counts=counts, error=FAILURE
        )
    return LineScore(**identity, status="Completed", scores={"f1": execution}, counts={"bleu": [1.0, 1.0]})


def _scores(*repeats: list[Execution]) -> list[LineScore]:
    return [_score(number, execution) for number, execution in enumerate(itertools.chain(*repeats))]


def test_scores_are_of_answered_executions_and_counted_as_is_with_the_failed_ones() -> None:
    first, second, third, fourth = average_repeats(
        _scores([1.0, 1.0, "failed", 0.5], [0.5, "failed", "failed", "unscored"]), LINES
    )
    assert (first.scores, first.counted_as, first.answered) == ({"f1": 0.75}, {}, True)
    assert (second.scores, second.counted_as, second.answered) == ({"f1": 1.0}, {"f1": 0.5}, False)
    assert (second.status, second.value("f1"), second.value("f1", "left out")) == ("Completed", 0.5, 1.0)
    assert (third.status, third.scores, third.value("f1")) == ("Failed", {}, 0.0)
    assert (fourth.answered, fourth.value("f1"), fourth.failures) == (True, 0.5, {"f1": "no verdict"})


def test_counts_are_with_empty_answers_or_without_by_the_reading() -> None:
    scores = _scores([1.0, "failed", 1.0, 1.0], ["failed", "failed", 1.0, 1.0])
    with_them, without = average_repeats(scores, LINES), average_repeats(scores, LINES, "left out")
    assert [line.counts["bleu"] for line in with_them[:2]] == [[0.5, 1.0], [0.0, 1.0]]
    assert [line.counts.get("bleu") for line in without[:2]] == [[1.0, 1.0], None]


@given(st.lists(st.lists(executions, min_size=LINES, max_size=LINES), min_size=2, max_size=5), st.randoms())
def test_a_lines_average_is_over_its_executions_in_any_order(repeats: list[list[Execution]], random) -> None:
    scores = _scores(*repeats)
    random.shuffle(scores)
    averaged = average_repeats(scores, LINES)
    assert [line.line_id for line in averaged] == [f"id{number}" for number in range(LINES)]
    for line, column in zip(averaged, zip(*repeats, strict=True), strict=True):
        numbers = [execution for execution in column if isinstance(execution, float)]
        failed = [execution for execution in column if execution in ("failed", "unknown")]
        assert line.answered == (not failed)
        assert line.scores.get("f1") == (pytest.approx(fmean(numbers)) if numbers else None)
        if "unknown" in failed:
            assert line.counted_as == {"f1": None}
        elif failed:
            assert line.counted_as["f1"] == pytest.approx(fmean([*numbers, *[0.0] * len(failed)]))
        else:
            assert line.counted_as == {}


@given(st.lists(executions, min_size=1, max_size=LINES))
def test_what_ran_once_stays_as_it_is(line: list[Execution]) -> None:
    scores = _scores(line)
    assert average_repeats(scores[::-1], LINES) == scores


def test_variances_are_of_answered_executions() -> None:
    variances = repeat_variances(_scores([1.0, 0.0, 1.0, 1.0], ["failed", 0.0, 1.0, 0.0]), LINES, "f1")
    assert variances is not None
    assert (variances.count, variances.within) == (2, pytest.approx((0 + 0 + 0.5) / 3))
