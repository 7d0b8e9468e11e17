"""Comparing two runs: how lines are paired, which metrics are confirmatory, and what a verdict says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from phi3flow.comparison.compare import compare_runs
from phi3flow.comparison.conclusions import describe_verdict
from phi3flow.errors import ConfigError
from phi3flow.runs.folder import RunFolder
from phi3flow.stats import compare_pairs, holm
from phi3flow.storage.jsonl import write_rows
from tests.support.folders.answered_runs import make_run
from tests.support.folders.run_folders import ruler


@pytest.fixture
def runs_dir(tmp_path: Path) -> Path:
    return tmp_path / ".runs"


def _rows(n: int, **columns: Sequence[Any]) -> list[dict[str, Any]]:
    return [{"question": f"q{i}", **{name: values[i] for name, values in columns.items()}} for i in range(n)]


def _scored(
    runs_dir: Path,
    name: str,
    scores: Mapping[str, Sequence[float | None]],
    *,
    rows: list[dict[str, Any]] | None = None,
    failed: Sequence[int] = (),
    evaluation: str = "answer_match",
) -> RunFolder:
    """A run whose lines have the given scores; by default both runs of a test answered the same rows."""
    n = len(next(iter(scores.values())))
    answers = [None if number in failed else "an answer" for number in range(n)]
    return make_run(runs_dir, name, rows or _rows(n), answers, scores={evaluation: scores})


def test_each_metric_is_compared_over_the_lines_that_it_applies_to_in_both_runs(runs_dir):
    old, new = [0.1, 0.4, 0.5, 0.6, None], [0.3, 0.5, 0.9, None, 0.2]
    a = _scored(runs_dir, "a", {"f1": old})
    b = _scored(runs_dir, "b", {"f1": new})
    comparison = compare_runs(a, b)
    f1 = comparison.metrics["answer_match.f1"]
    expected = compare_pairs([0.1, 0.4, 0.5], [0.3, 0.5, 0.9], rng=np.random.default_rng(0))
    assert (comparison.baseline, comparison.candidate, comparison.n_paired) == ("a", "b", 5)
    assert (f1.n, f1.baseline, f1.candidate) == (3, pytest.approx(1 / 3), pytest.approx(1.7 / 3))
    assert (f1.difference.mean, f1.difference.low) == (pytest.approx(expected.mean), pytest.approx(expected.low))
    assert (f1.p, f1.p_permutation, f1.wins) == (pytest.approx(expected.p), expected.p_permutation, 3)


def test_lines_are_paired_by_line_id_whatever_their_order(runs_dir):
    rows = _rows(6)
    scores = [0.0, 0.2, 0.4, 0.6, 0.8, 0.9]
    a = _scored(runs_dir, "a", {"f1": scores[:5]}, rows=rows[:5])
    b = _scored(runs_dir, "b", {"f1": scores[:0:-1]}, rows=rows[:0:-1])
    comparison = compare_runs(a, b)
    assert (comparison.n_paired, comparison.unmatched.baseline, comparison.unmatched.candidate) == (4, 1, 1)
    assert comparison.metrics["answer_match.f1"].ties == 4


def test_lines_are_paired_by_a_column_where_the_rows_differ_otherwise(runs_dir):
    a = _scored(runs_dir, "a", {"f1": [0.1, 0.2, 0.3]}, rows=_rows(3, version=[1, 1, 1]))
    b = _scored(runs_dir, "b", {"f1": [0.3, 0.2, 0.1]}, rows=_rows(3, version=[2, 2, 2])[::-1])
    with pytest.raises(ConfigError, match="no line in common: pair them by a column"):
        compare_runs(a, b)
    assert compare_runs(a, b, pair_by="question").metrics["answer_match.f1"].ties == 3


@pytest.mark.parametrize(
    ("column", "message"),
    [
        ("kind", r"lines 0 and 2 of run a both have \"x\""),
        ("colour", "line 0 of run a has no such column; it has question, kind"),
    ],
)
def test_a_column_that_cannot_pair_is_refused(runs_dir, column, message):
    rows = _rows(3, kind=["x", "y", "x"])
    a, b = (_scored(runs_dir, name, {"f1": [0.1, 0.2, 0.3]}, rows=rows) for name in "ab")
    with pytest.raises(ConfigError, match=message):
        compare_runs(a, b, pair_by=column)


def test_lines_that_share_a_conversation_are_compared_by_conversation(runs_dir):
    rows = _rows(6, conversation_id=["c1", "c1", "c1", "c2", "c2", None])
    a = _scored(runs_dir, "a", {"value_accuracy": [0, 0, 1, 0, 0, 0]}, rows=rows)
    b = _scored(runs_dir, "b", {"value_accuracy": [1, 1, 1, 1, 0, 0]}, rows=rows)
    assert compare_runs(a, b).metrics["answer_match.value_accuracy"].method == "clustered paired t"


def test_conversations_are_read_from_the_candidates_data_where_the_baselines_is_gone(runs_dir):
    rows = _rows(4, conversation_id=["c1", "c1", "c2", "c3"])
    a = _scored(runs_dir, "a", {"f1": [0.1, 0.2, 0.5, 0.3]}, rows=rows)
    b = _scored(runs_dir, "b", {"f1": [0.4, 0.3, 0.9, 0.2]}, rows=rows)
    expected = compare_runs(a, b)
    Path(a.manifest.data).unlink()
    assert compare_runs(a, b) == expected
    assert expected.metrics["answer_match.f1"].method == "clustered paired t"


def test_value_accuracy_is_confirmatory_by_default_where_half_of_the_lines_have_values_else_f1(runs_dir):
    a = _scored(runs_dir, "a", {"f1": [0.1, 0.2, 0.9], "value_accuracy": [1, None, 0], "bleu": [1, 2, 9]})
    b = _scored(runs_dir, "b", {"f1": [0.3, 0.8, 0.7], "value_accuracy": [1, None, 1], "bleu": [7, 5, 5]})
    metrics = compare_runs(a, b).metrics
    assert [name for name, metric in metrics.items() if metric.p_holm is not None] == ["answer_match.value_accuracy"]
    c = _scored(runs_dir, "c", {"f1": [0.3, 0.8, 0.7], "value_accuracy": [None, 1, None], "bleu": [7, 5, 5]})
    metrics = compare_runs(a, c).metrics
    assert [name for name, metric in metrics.items() if metric.p_holm is not None] == ["answer_match.f1"]
    assert metrics["answer_match.value_accuracy"].n == 0


def test_values_on_2_of_200_lines_are_not_what_a_comparison_is_made_for(runs_dir):
    values = [1.0, 0.0] + [None] * 198
    a = _scored(runs_dir, "a", {"value_accuracy": values, "f1": [0.8] * 200})
    b = _scored(runs_dir, "b", {"value_accuracy": values, "f1": [0.4, 0.5] * 100})
    metrics = compare_runs(a, b).metrics
    assert [name for name, metric in metrics.items() if metric.confirmatory] == ["answer_match.f1"]
    assert metrics["answer_match.f1"].verdict == "worse"


def test_the_first_metric_that_lines_have_is_confirmatory_where_there_is_neither(runs_dir):
    a, b = (_scored(runs_dir, name, {"stars": [0.1, 0.2, 0.4], "tone": [0.1, 0.3, 0.2]}) for name in "ab")
    assert [name for name, metric in compare_runs(a, b).metrics.items() if metric.confirmatory] == [
        "answer_match.stars"
    ]


def test_holm_is_over_the_named_metrics_only(runs_dir):
    rng = np.random.default_rng(3)
    a, b = (
        _scored(runs_dir, name, {metric: list(rng.random(30) + shift) for metric in ("f1", "bleu", "chrf")})
        for name, shift in (("a", 0.0), ("b", 0.15))
    )
    metrics = compare_runs(a, b, metrics=["bleu", "answer_match.f1"]).metrics
    assert list(metrics) == ["answer_match.bleu", "answer_match.f1", "answer_match.chrf"]
    bleu, f1, chrf = metrics.values()
    assert [bleu.p_holm, f1.p_holm] == pytest.approx(holm([bleu.p, f1.p]))
    assert chrf.p_holm is None


def test_an_unknown_or_ambiguous_metric_is_refused_with_the_full_names(runs_dir):
    runs = [_scored(runs_dir, name, {"f1": [0.1, 0.2]}) for name in "ab"]
    for run in runs:
        metrics = run.metrics("answer_match").model_copy(update={"evaluation": ruler("judge", "f" * 64)})
        run.write_scores("judge", run.scores("answer_match"), metrics)
    with pytest.raises(ConfigError, match=r"'f2' is unknown: there are answer_match.f1, judge.f1"):
        compare_runs(*runs, metrics=["f2"])
    with pytest.raises(ConfigError, match=r"'f1' is ambiguous: answer_match.f1, judge.f1"):
        compare_runs(*runs, metrics=["f1"])


def test_a_run_without_scores_is_refused_with_the_command_to_type(runs_dir):
    a = _scored(runs_dir, "a", {"f1": [0.1, 0.2]}, evaluation="answer_quality")
    b = make_run(runs_dir, "b", _rows(2), ["x", "y"])
    with pytest.raises(ConfigError, match="b is not scored by answer_quality: phi3flow score b --flow flows/eval/ans"):
        compare_runs(a, b)
    with pytest.raises(ConfigError, match="b is not scored: phi3flow score b --flow flows/eval/answer_match"):
        compare_runs(b, b)


def test_several_confirmatory_metrics_are_judged_at_the_level_that_they_share(runs_dir):
    before, after = [0.1, 0.2, 0.3, 0.4, 0.5] * 4, [0.2, 0.4, 0.3, 0.4, 0.5] * 4
    a = _scored(runs_dir, "a", {"f1": before, "bleu": before, "chrf": before})
    b = _scored(runs_dir, "b", {"f1": after, "bleu": before[::-1], "chrf": before[::-1]})
    alone = compare_runs(a, b, metrics=["f1"])
    shared = compare_runs(a, b, metrics=["f1", "bleu", "chrf"])
    f1 = shared.metrics["answer_match.f1"]
    assert alone.metrics["answer_match.f1"].simultaneous is None
    assert f1.simultaneous.low < f1.difference.low < f1.difference.high < f1.simultaneous.high
    assert f1.p_holm > f1.p == alone.metrics["answer_match.f1"].p
    assert "at the level that all tests share" in describe_verdict("answer_match.f1", shared)
    assert "p_holm" in describe_verdict("answer_match.f1", shared)


def test_the_same_runs_compare_to_the_same_figures_again(runs_dir):
    rng = np.random.default_rng(4)
    a, b = (_scored(runs_dir, name, {"f1": list(rng.random(40))}) for name in "ab")
    assert compare_runs(a, b) == compare_runs(a, b)
    write_rows(Path(b.manifest.data), _rows(40)[::-1])  # the baseline's data alone is enough to pair and cluster
    assert compare_runs(a, b).n_paired == 40


@pytest.mark.parametrize(
    ("lengths", "reason"),
    [
        ([1] * 40, "few lines: 40 of them show"),
        ([5] * 8, "few conversations: 40 lines in 8 of them show"),
        ([20, *[2] * 10], "one conversation has 20 of 40 lines: together they show"),
    ],
)
def test_what_there_is_too_little_of_is_said(runs_dir, lengths, reason):
    talks = [f"talk {number}" for number, length in enumerate(lengths) for _ in range(length)]
    rows = _rows(40, conversation_id=talks)
    draw = np.random.default_rng(5)
    runs = [_scored(runs_dir, name, {"f1": draw.random(40).tolist()}, rows=rows) for name in ("a", "b")]
    metric = compare_runs(*runs).metrics["answer_match.f1"]
    assert metric.verdict == "undecided"
    assert (metric.reason or "").startswith(reason)
    assert metric.conversations == (None if len(lengths) == 40 else len(lengths))
