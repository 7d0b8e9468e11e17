"""Comparing two runs: how lines are paired, which metrics are confirmatory, and what a verdict says."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from phi3flow.comparison.compare import compare_runs
from phi3flow.comparison.conclusions import describe_verdict
from phi3flow.errors import ConfigError
from phi3flow.gating import gate_run, parse_rule
from phi3flow.gating.documents import describe_lines
from phi3flow.report.notes import run_notes
from phi3flow.report.run_view import view_run
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


def _retried(run: RunFolder, rows: list[dict[str, Any]], answers: list[str | None]) -> RunFolder:
    """Run the same lines again, without scoring them again."""
    kept = run.path.parent / "kept"
    shutil.copytree(run.path / "scores", kept)
    shutil.rmtree(run.path)
    again = make_run(run.path.parent, run.name, rows, answers)
    shutil.copytree(kept, again.path / "scores", dirs_exist_ok=True)
    shutil.rmtree(kept)
    return again


@pytest.mark.parametrize("outdated", ["a", "b"])
def test_scores_of_lines_that_were_run_again_since_decide_nothing(runs_dir, outdated):
    rows = _rows(40)
    runs = {name: _scored(runs_dir, name, {"f1": [0.9] * 40}, rows=rows, failed=range(15)) for name in "ab"}
    _retried(runs[outdated], rows, ["an answer"] * 40)
    command = f"15 lines of run {outdated} were run after answer_match scored it: phi3flow score {outdated} --flow "
    with pytest.raises(ConfigError, match=command):
        compare_runs(RunFolder(runs_dir / "a"), RunFolder(runs_dir / "b"))
    for rule in ("f1 no worse than baseline by 0.1", "failed <= 1%" if outdated == "b" else "f1 better than baseline"):
        with pytest.raises(ConfigError, match=command):
            gate_run(
                RunFolder(runs_dir / "b"),
                rules=[parse_rule(rule), parse_rule("f1 better than baseline")],
                baseline=RunFolder(runs_dir / "a"),
            )
    assert command in " ".join(run_notes(view_run(RunFolder(runs_dir / outdated))))


def test_a_run_that_was_extended_since_it_was_scored_is_refused(runs_dir):
    rows = _rows(40)
    base = _scored(runs_dir, "a", {"f1": [0.9] * 20}, rows=rows[:20])
    _retried(base, rows, ["an answer"] * 40)
    b = _scored(runs_dir, "b", {"f1": [0.9] * 40}, rows=rows)
    with pytest.raises(ConfigError, match="20 lines of run a were run after answer_match scored it"):
        compare_runs(RunFolder(runs_dir / "a"), b)


def test_lines_whose_answers_were_scored_by_other_data_are_left_out_and_counted(runs_dir):
    before = [{"line_id": k, "question": f"q{k}", "ground_truth": "x", "note": "n"} for k in range(40)]
    after = [{**row, "ground_truth": "y" if row["line_id"] < 14 else "x", "note": "m"} for row in before]
    scores = [0.0] * 14 + [0.5] * 26
    a = _scored(runs_dir, "a", {"f1": [0.5] * 40}, rows=before)
    b = _scored(runs_dir, "b", {"f1": scores}, rows=after)
    for left, right in ((a, b), (b, a)):
        comparison = compare_runs(left, right)
        assert (comparison.n_paired, comparison.measured_otherwise) == (26, 14)
        assert comparison.metrics["answer_match.f1"].difference.mean == 0.0
        assert "differ there in ground_truth, by which answers are scored" in " ".join(comparison.notes)
    result = gate_run(b, rules=[parse_rule("f1 better than baseline")], baseline=a)
    assert (result.outcome, result.measured_otherwise) == ("undecided", 14)
    assert "14" in " ".join(describe_lines(result))
    other = _scored(runs_dir, "c", {"f1": scores}, rows=[{**row, "ground_truth": "z"} for row in before])
    with pytest.raises(ConfigError, match="no line whose answers were scored by the same ground_truth"):
        compare_runs(a, other)


def test_conversations_are_those_that_either_runs_data_names(runs_dir):
    plain = [{"line_id": k, "question": f"q{k}"} for k in range(40)]
    named = [{**row, "conversation_id": f"talk {row['line_id'] // 5}"} for row in plain]
    draw = np.random.default_rng(1)
    a = _scored(runs_dir, "a", {"f1": draw.random(40).tolist()}, rows=plain)
    b = _scored(runs_dir, "b", {"f1": draw.random(40).tolist()}, rows=named)
    metrics = [compare_runs(*runs).metrics["answer_match.f1"] for runs in ((a, b), (b, a))]
    assert [metric.conversations for metric in metrics] == [8, 8]
    assert metrics[0].p == pytest.approx(metrics[1].p)
