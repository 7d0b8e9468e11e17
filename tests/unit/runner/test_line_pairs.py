"""What a line counts as on both sides of a test, by either reading of failed lines."""

from __future__ import annotations

import pytest

from phi3flow.records.comparisons import Sides
from phi3flow.records.scores import LineScore
from phi3flow.runner.line_pairs import LinePair, MetricPairing

F1 = MetricPairing("f1", (0.0, 1.0), lower_is_better=False)
SEVERITY = MetricPairing("severity", (0.0, 7.0), lower_is_better=True)
NOTHING = LinePair()


def _scored(value: float | None, metric: str = "f1") -> LineScore:
    return LineScore(line_number=0, line_id="a", status="Completed", scores={metric: value})


def _failed(counted_as: dict[str, float | None] | None = None) -> LineScore:
    return LineScore(line_number=0, line_id="a", status="Failed", answered=False, counted_as=counted_as or {})


def _unscored() -> LineScore:
    return LineScore(line_number=0, line_id="a", status="Failed", failures={"f1": "the judge said nothing"})


BOTH, NEITHER = Sides(), Sides(baseline=1, candidate=1)
OURS, THEIRS = Sides(candidate=1), Sides(baseline=1)


@pytest.mark.parametrize(
    ("baseline", "candidate", "pair"),
    [
        pytest.param(_scored(0.5), _scored(0.75), LinePair((0.5, 0.75), (0.5, 0.75), BOTH), id="both answered"),
        pytest.param(_scored(0.5), _failed(), LinePair((0.5, 0.0), None, OURS), id="a failed line is the worst"),
        pytest.param(_scored(None), _failed(), NOTHING, id="the metric does not apply to the line"),
        pytest.param(_scored(None), _scored(0.5), NOTHING, id="nor does it where only the candidate has a score"),
        pytest.param(_scored(0.5), _unscored(), NOTHING, id="a scoring that failed is not charged"),
        pytest.param(_unscored(), _failed(), NOTHING, id="nor is the baseline's"),
        pytest.param(_failed({"f1": 0.0}), _scored(0.5), LinePair((0.0, 0.5), None, THEIRS), id="the baseline failed"),
        pytest.param(_failed({"f1": None}), _scored(0.5), LinePair((0.0, 0.5), None, THEIRS), id="the score says so"),
        pytest.param(_failed({"f1": None}), _failed(), NOTHING, id="nobody knows whether it applies"),
        pytest.param(_failed({"f1": 0.0}), _failed(), LinePair((0.0, 0.0), None, NEITHER), id="both failed: a tie"),
        pytest.param(_failed({}), _failed(), NOTHING, id="both failed where it does not apply"),
    ],
)
def test_a_line_counts_as_in_compare(baseline: LineScore, candidate: LineScore, pair: LinePair) -> None:
    assert F1.pair(baseline, candidate) == pair


def test_the_worst_of_what_counts_something_bad_is_the_top() -> None:
    failed = SEVERITY.pair(_scored(2.0, "severity"), _failed())
    assert failed.least == (2.0, 7.0)


def test_a_baseline_whose_repeats_failed_in_part_has_a_mean_by_either_reading() -> None:
    averaged = LineScore(
        line_number=0, line_id="a", status="Completed", answered=False, scores={"f1": 1.0}, counted_as={"f1": 0.5}
    )
    assert F1.pair(averaged, _scored(1.0)) == LinePair((0.5, 1.0), (1.0, 1.0), THEIRS)
