"""What holds of every comparison, whatever the scores and whichever lines fail."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from phi3flow.comparison.compare import compare_runs
from phi3flow.comparison.margins import Margins
from phi3flow.records.comparisons import Difference, MetricComparison, Sides
from tests.support.folders.compared_runs import rescored, scored

ORDER = {"worse": -1, "undecided": 0, "equivalent": 0, "better": 1}
MIRRORED = {"better": "worse", "worse": "better"}

score = st.sampled_from([0.0, 1.0]) | st.integers(0, 20).map(lambda twentieths: twentieths / 20)
line = st.tuples(score, score, st.booleans(), st.booleans())
"""Two scores of a line, and whether it failed in either run."""
binary = st.tuples(st.sampled_from([0.0, 1.0]), st.sampled_from([0.0, 1.0]))


def _compare(
    before: Sequence[float],
    after: Sequence[float],
    *,
    failed: tuple[Sequence[int], Sequence[int]] = ((), ()),
    lower: bool = False,
    margin: float | None = None,
) -> tuple[MetricComparison, MetricComparison]:
    """Return the metric's comparison, and that of the runs the other way round."""
    with tempfile.TemporaryDirectory() as folder:
        runs = [
            scored(Path(folder), name, {"f1": list(scores)}, failed=lost)
            for name, scores, lost in (("base", before, failed[0]), ("tuned", after, failed[1]))
        ]
        if lower:
            runs = [rescored(run, lower_is_better=["f1"]) for run in runs]
        return tuple(  # type: ignore[return-value]
            compare_runs(*pair, metrics=["f1"], margins=Margins(margin)).metrics["answer_match.f1"]
            for pair in (runs, runs[::-1])
        )


def _negative(difference: Difference) -> list[float | None]:
    return [None if bound is None else -bound for bound in (difference.mean, difference.high, difference.low)]


@settings(max_examples=25)
@given(st.lists(line, min_size=2, max_size=40), st.booleans(), st.none() | st.just(0.3))
def test_swapping_the_runs_mirrors_everything(
    lines: list[tuple[float, float, bool, bool]], lower: bool, margin: float | None
) -> None:
    failed = [n for n, values in enumerate(lines) if values[2]], [n for n, values in enumerate(lines) if values[3]]
    forth, back = _compare(
        [values[0] for values in lines], [values[1] for values in lines], failed=failed, lower=lower, margin=margin
    )
    assert back.verdict == MIRRORED.get(forth.verdict, forth.verdict)
    assert back.verdict_answered_only == MIRRORED.get(forth.verdict_answered_only, forth.verdict_answered_only)
    assert (back.baseline, back.candidate, back.wins, back.losses) == (
        *(forth.candidate, forth.baseline),
        *(forth.losses, forth.wins),
    )
    assert [back.difference.mean, back.difference.low, back.difference.high] == pytest.approx(
        _negative(forth.difference), abs=1e-12
    )
    assert back.failed == Sides(baseline=forth.failed.candidate, candidate=forth.failed.baseline)
    assert (back.p, back.n, back.ties) == (pytest.approx(forth.p), forth.n, forth.ties)


@settings(max_examples=25)
@given(st.lists(line, min_size=2, max_size=40))
def test_better_and_worse_have_an_interval_and_a_p_and_both_readings(
    lines: list[tuple[float, float, bool, bool]],
) -> None:
    failed = [n for n, values in enumerate(lines) if values[2]], [n for n, values in enumerate(lines) if values[3]]
    metric, _ = _compare([values[0] for values in lines], [values[1] for values in lines], failed=failed)
    if metric.verdict in ("better", "worse"):
        low, high = metric.difference.low, metric.difference.high
        assert low is not None
        assert high is not None
        assert low > 0 if metric.verdict == "better" else high < 0
        assert (metric.p_holm or 0.0) < 0.05
        assert metric.verdict_answered_only == metric.verdict
    else:
        assert metric.reason


@settings(max_examples=25)
@given(st.lists(st.tuples(score, score), min_size=2, max_size=30), st.lists(score, min_size=1, max_size=20))
def test_lines_more_that_fail_in_the_candidate_never_make_it_better(
    lines: list[tuple[float, float]], more: list[float]
) -> None:
    before, after = [values[0] for values in lines], [values[1] for values in lines]
    metric, _ = _compare(before, after)
    failed = range(len(lines), len(lines) + len(more))
    with_failures, _ = _compare([*before, *more], [*after, *([0.5] * len(more))], failed=((), failed))
    if with_failures.verdict == "better":
        assert metric.verdict == "better"


@settings(max_examples=25)
@given(st.lists(binary, min_size=5, max_size=60), st.data())
def test_lines_of_0_and_1_that_fail_in_the_candidate_never_turn_a_verdict_towards_better(
    lines: list[tuple[float, float]], data: st.DataObject
) -> None:
    before, after = [values[0] for values in lines], [values[1] for values in lines]
    failed = data.draw(st.lists(st.integers(0, len(lines) - 1), unique=True))
    metric, _ = _compare(before, after)
    with_failures, _ = _compare(before, after, failed=((), failed))
    if with_failures.verdict == "better":
        assert ORDER[metric.verdict] == 1
