"""What a failed line counts as: the worst end of the range of each metric that applies to its row."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phi3flow.records.lines import LineError
from phi3flow.records.scores import LineScore
from phi3flow.scoring.failed_lines import Evidence, count_failed

FAILURE = LineError(type="EndpointError", message="503")


def _answered(number: int, score: float | None, **fields: Any) -> LineScore:
    return LineScore(line_number=number, line_id=f"id{number}", status="Completed", scores={"m": score}, **fields)


def _failed(number: int, *, answered: bool = False) -> LineScore:
    return LineScore(line_number=number, line_id=f"id{number}", status="Failed", answered=answered, error=FAILURE)


def _counted(
    scores: list[LineScore],
    *,
    inputs: Mapping[int, Mapping[str, Any]] | None = None,
    empty: Mapping[int, float | None] | None = None,
    bounds: tuple[float, float] | None = (0.0, 1.0),
    lower: bool = False,
) -> dict[str, float | None]:
    """Return what the last line counts as."""
    executed = {number: _answered(number, score) for number, score in (empty or {}).items()}
    evidence = Evidence(executed, inputs or {})
    counted = count_failed(scores, evidence, ranges={"m": bounds}, lower_is_better=["m"] if lower else [])
    return counted[-1].counted_as


@pytest.mark.parametrize(
    ("bounds", "lower", "worst"),
    [((0.0, 1.0), False, 0.0), ((1.0, 5.0), False, 1.0), ((0.0, 7.0), True, 7.0), ((-1.0, 1.0), True, 1.0)],
)
def test_a_failed_line_counts_as_the_worst_end_of_the_range(bounds, lower, worst) -> None:
    assert _counted([_answered(0, 0.5), _failed(1)], bounds=bounds, lower=lower) == {"m": worst}


def test_without_a_range_nobody_can_say_what_it_counts_as() -> None:
    assert _counted([_answered(0, 0.5), _failed(1)], bounds=None) == {"m": None}


def test_an_empty_answer_says_whether_the_metric_applies_to_the_row() -> None:
    scores = [_answered(0, 1.0), _answered(1, None), _failed(2)]
    assert _counted(scores, empty={0: 0.0, 1: None, 2: 0.0}) == {"m": 0.0}
    assert _counted(scores, empty={0: 0.0, 1: None, 2: None}) == {}


def test_an_empty_answer_that_says_otherwise_of_answered_lines_says_nothing() -> None:
    nulls_what_is_empty = {0: None, 1: None, 2: None}
    assert _counted([_answered(0, 1.0), _answered(1, 0.5), _failed(2)], empty=nulls_what_is_empty) == {"m": 0.0}
    zero_for_what_is_empty = {0: 0.0, 1: 0.0, 2: 0.0}
    scores = [_answered(0, 1.0), _answered(1, None), _failed(2)]
    assert _counted(scores, empty=zero_for_what_is_empty) == {"m": None}


@pytest.mark.parametrize(("value", "counted_as"), [("a text", {"m": 0.0}), ("", {}), ([], {}), (None, {}), (" ", {})])
def test_the_input_whose_emptiness_is_the_metrics_absence_decides(value, counted_as) -> None:
    scores = [_answered(0, 1.0), _answered(1, None), _failed(2)]
    inputs = {0: {"context": "c", "id": "0"}, 1: {"context": "", "id": "1"}, 2: {"context": value, "id": "2"}}
    assert _counted(scores, inputs=inputs) == counted_as


def test_where_no_input_decides_nobody_can_say_whether_it_applies() -> None:
    scores = [_answered(0, 1.0), _answered(1, None), _failed(2)]
    assert _counted(scores, inputs={number: {"question": "q"} for number in range(3)}) == {"m": None}
    disagreeing = {0: {"a": "x", "b": "x"}, 1: {}, 2: {"a": "x", "b": ""}}
    assert _counted(scores, inputs=disagreeing) == {"m": None}


def test_a_failure_to_score_shows_that_the_metric_applies_to_a_line() -> None:
    assert _counted([_answered(0, 1.0), _answered(1, None, failures={"m": "no verdict"}), _failed(2)]) == {"m": 0.0}


def test_a_metric_that_no_line_has_applies_to_none() -> None:
    assert _counted([_answered(0, None), _failed(1)], inputs={0: {"q": "x"}, 1: {"q": "x"}}) == {}


def test_a_line_whose_scoring_failed_is_not_charged_and_says_where_the_metric_applies() -> None:
    scores = [_answered(0, 1.0), _answered(1, None), _failed(2, answered=True), _failed(3, answered=True)]
    inputs = {0: {"values": ["v"]}, 1: {"values": []}, 2: {"values": ["v"]}, 3: {"values": []}}
    counted = count_failed(scores, Evidence(inputs=inputs), ranges={"m": (0.0, 1.0)}, lower_is_better=[])
    assert [line.counted_as for line in counted] == [{}] * 4
    assert [line.failures for line in counted[2:]] == [{"m": "its scoring failed: EndpointError"}, {}]


@given(st.lists(st.tuples(st.booleans(), st.booleans(), st.booleans()), min_size=1, max_size=20), st.booleans())
def test_the_row_decides_whatever_fails(lines: list[tuple[bool, bool, bool]], is_executed: bool) -> None:
    """Each line: whether its row has values, whether it was answered, and whether it was scored."""
    scores, inputs, empty = [], {}, {}
    for number, (has_values, is_answered, is_scored) in enumerate(lines):
        inputs[number] = {"values": ["v"] if has_values else []}
        empty[number] = _answered(number, 0.0 if has_values else None)
        if is_answered and is_scored:
            scores.append(_answered(number, 1.0 if has_values else None))
        else:
            scores.append(_failed(number, answered=is_answered))
    evidence = Evidence(empty if is_executed else {}, inputs)
    for line in count_failed(scores, evidence, ranges={"m": (0.0, 1.0)}, lower_is_better=[]):
        has_values = lines[line.line_number][0]
        if line.answered:
            assert line.counted_as == {}
        elif is_executed:
            assert line.counted_as == ({"m": 0.0} if has_values else {})
        else:
            on_all = {lines[score.line_number][0] for score in scores if score.status == "Completed"}
            assert line.counted_as in ({"m": None}, {"m": 0.0} if has_values or on_all == {True} else {})
