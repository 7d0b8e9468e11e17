"""Gates: the grammar of rules, what an interval decides, and what cannot be decided."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from phi3flow.errors import ConfigError
from phi3flow.gating import GateResult, RuleResult, gate_run, parse_rule
from phi3flow.gating.decisions import combine, decide_by_bound
from phi3flow.gating.documents import summarise
from phi3flow.gating.rules import Better, FailedShare, LineCount, NoWorse, Threshold
from phi3flow.records.comparisons import Sides
from phi3flow.records.scores import Estimate
from phi3flow.runs.folder import RunFolder
from phi3flow.stats import UNIT, Spread, estimate_mean
from tests.support.folders.answered_runs import make_run

Columns = Mapping[str, Sequence[float | None]]


@pytest.fixture
def runs_dir(tmp_path: Path) -> Path:
    return tmp_path / ".runs"


def _run(
    runs_dir: Path, name: str, scores: Columns, *, failed: int = 0, evaluation: str = "answer_match", **rows: Any
) -> RunFolder:
    """A run whose lines have the given scores; the last ``failed`` lines failed."""
    n = len(next(iter(scores.values())))
    answers = ["an answer"] * (n - failed) + [None] * failed
    data = [{"question": f"q{i}", **{column: values[i] for column, values in rows.items()}} for i in range(n)]
    return make_run(runs_dir, name, data, answers, scores={evaluation: scores})


def _gate(run: RunFolder, *rules: str, **options: Any) -> GateResult:
    return gate_run(run, rules=[parse_rule(rule) for rule in rules], **options)


def _only(result: GateResult) -> RuleResult:
    [rule] = result.rules
    return rule


# the grammar


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("answer_match.f1 >= 0.6", Threshold("", "answer_match.f1", ">=", 0.6)),
        ("f1>=60%", Threshold("", "f1", ">=", 0.6)),
        ("  f1   >  .5 ", Threshold("", "f1", ">", 0.5)),
        ("content_safety.defect <= 1%", Threshold("", "content_safety.defect", "<=", 0.01)),
        ("my-flow.bleu < 2e1", Threshold("", "my-flow.bleu", "<", 20.0)),
        ("log_likelihood >= -1.5", Threshold("", "log_likelihood", ">=", -1.5)),
        ("answer_match.f1 no worse than baseline by 0.05", NoWorse("", "answer_match.f1", 0.05)),
        ("f1  no worse\tthan baseline by 5 %", NoWorse("", "f1", 0.05)),
        ("f1 better than baseline", Better("", "f1", 0.0)),
        ("f1 better than baseline by 0.02", Better("", "f1", 0.02)),
        ("lines >= 200", LineCount("", ">=", 200)),
        ("failed <= 2%", FailedShare("", "<=", 0.02)),
        ("my.failed >= 1", Threshold("", "my.failed", ">=", 1.0)),
    ],
)
def test_a_rule_says_what_it_reads_like(text, rule):
    found = parse_rule(text)
    assert found.text == text
    assert found == type(rule)(text, *list(vars(rule).values())[1:])


@pytest.mark.parametrize(
    ("text", "position", "expected", "found"),
    [
        ("", 1, "a metric, lines or failed", "its end"),
        (">= 0.6", 1, "a metric, lines or failed", "'>= 0.6'"),
        ("f1", 3, ">=, >, <=, <, no worse than or better than", "its end"),
        ("f1 == 0.6", 4, ">=, >, <=, <, no worse than or better than", "'== 0.6'"),
        ("f1 => 0.6", 4, ">=, >, <=, <, no worse than or better than", "'=> 0.6'"),
        ("f1 > = 0.6", 6, "a number such as 0.6 or 60%", "'= 0.6'"),
        ("f1 >= much", 7, "a number such as 0.6 or 60%", "'much'"),
        ("f1 >= nan", 7, "a number such as 0.6 or 60%", "'nan'"),
        ("f1 >= 1e999", 7, "a number such as 0.6 or 60%", "'1e999'"),
        ("f1 >= 0,6", 8, "the end of the rule", "',6'"),
        ("f1 >= 0.6 and bleu >= 3", 11, "the end of the rule", "'and bleu >= 3'"),
        ("f1 no worse than base by 0.1", 18, "'baseline by'", "'base by 0.1'"),
        ("f1 no worse than baseline", 26, "'by'", "its end"),
        ("f1 no worse than baseline by", 29, "a number such as 0.6 or 60%", "its end"),
        ("f1 no worse than baseline by 0", 30, "a margin above 0", "'0'"),
        ("f1 no worse than baseline by -0.05", 30, "a margin above 0", "'-0.05'"),
        ("f1 better then baseline", 11, "'than baseline'", "'then baseline'"),
        ("f1 better than baselines", 16, "'baseline'", "'baselines'"),
        ("f1 better than baseline 0.1", 25, "the end of the rule", "'0.1'"),
        ("lines <= 200", 7, ">= or >", "'<= 200'"),
        ("lines >= 0.5", 10, "a whole number", "'0.5'"),
        ("lines >= 50%", 10, "a whole number", "'50%'"),
        ("failed >= 2%", 8, "<= or <", "'>= 2%'"),
    ],
)
def test_a_rule_that_cannot_be_read_is_refused_with_the_position_and_what_was_expected(text, position, expected, found):
    with pytest.raises(ConfigError) as refused:
        parse_rule(text)
    assert str(refused.value) == f"--rule {text!r}, position {position}: expected {expected}, found {found}"


# outcomes


@pytest.mark.parametrize(
    ("low", "high", "comparator", "outcome"),
    [
        (0.6, 0.7, ">=", "passed"),
        (0.6, 0.7, ">", "undecided"),
        (0.59, 0.61, ">=", "undecided"),
        (0.5, 0.6, ">=", "undecided"),
        (0.5, 0.6, ">", "failed"),
        (0.5, 0.59, ">=", "failed"),
        (0.5, 0.6, "<=", "passed"),
        (0.5, 0.6, "<", "undecided"),
        (0.6, 0.7, "<=", "undecided"),
        (0.6, 0.7, "<", "failed"),
        (0.61, 0.7, "<=", "failed"),
        (None, None, ">=", "undecided"),
    ],
)
def test_a_bound_passes_the_opposite_bound_fails_and_between_them_it_is_undecided(low, high, comparator, outcome):
    assert decide_by_bound(low, high, comparator, 0.6) == outcome


def test_the_gate_is_what_its_worst_rule_is():
    assert combine(["passed", "undecided", "failed"]) == "failed"
    assert combine(["passed", "undecided", "passed"]) == "undecided"
    assert combine(["passed", "passed"]) == "passed"


def test_a_threshold_is_held_against_the_bound_and_not_the_value(runs_dir):
    scores = [0.5, 0.7] * 50
    run = _run(runs_dir, "a", {"f1": scores})
    estimate = estimate_mean(scores)
    result = _gate(run, "f1 >= 0.57", "f1 >= 0.59", "answer_match.f1 >= 0.63", "f1 <= 0.63", "f1 <= 0.57")
    assert [rule.outcome for rule in result.rules] == ["passed", "undecided", "failed", "passed", "failed"]
    assert result.outcome == "failed"
    first, undecided = result.rules[:2]
    assert (first.value, first.low, first.high, first.n) == (estimate.mean, estimate.low, estimate.high, 100)
    assert (first.metric, first.threshold, first.margin, first.lines_needed) == ("answer_match.f1", 0.57, None, None)
    assert undecided.lines_needed == Spread(estimate.se * 10, ends=UNIT).lines_needed(estimate.mean, limit=0.59)
    assert f"About {undecided.lines_needed:,} lines would decide with 80 % power" in undecided.sentence


def test_a_margin_is_held_against_the_bound_of_the_paired_difference(runs_dir):
    rng = np.random.default_rng(1)
    before = rng.uniform(0.2, 0.8, 200)
    a = _run(runs_dir, "a", {"f1": list(before)})
    b = _run(runs_dir, "b", {"f1": list(before - 0.1 + rng.normal(0, 0.05, 200))})
    rules = [f"f1 no worse than baseline by {margin}" for margin in (0.125, 0.1, 0.05)]
    result = _gate(b, *rules, "f1 better than baseline", baseline=a)
    assert [rule.outcome for rule in result.rules] == ["passed", "undecided", "failed", "failed"]
    assert (result.run, result.baseline, result.n_paired) == ("b", "a", 200)
    assert result.rules[0].high < 0
    assert (result.rules[0].margin, result.rules[0].threshold) == (0.125, None)
    assert [rule.outcome for rule in _gate(a, "f1 better than baseline by 8%", baseline=b).rules] == ["passed"]
    assert _only(_gate(a, "f1 better than baseline by 0.125", baseline=b)).outcome == "failed"


def test_where_lower_is_better_no_worse_and_better_are_mirrored(runs_dir):
    rng = np.random.default_rng(2)
    before = rng.uniform(1, 3, 100)
    runs = [
        _run(runs_dir, name, {"severity": list(before + shift + rng.normal(0, 0.1, 100))}, evaluation="safety")
        for name, shift in (("low", 0.0), ("high", 0.5))
    ]
    for run in runs:
        metrics = run.metrics("safety").model_copy(update={"lower_is_better": ["severity"]})
        run.write_scores("safety", run.scores("safety"), metrics)
    low, high = runs
    rules = ["severity no worse than baseline by 0.1", "severity better than baseline"]
    assert [rule.outcome for rule in _gate(low, *rules, baseline=high).rules] == ["passed", "passed"]
    worse = _gate(high, *rules, baseline=low)
    assert [rule.outcome for rule in worse.rules] == ["failed", "failed"]
    assert worse.rules[0].low > 0.4, "what is shown stays run minus baseline"
    assert "where lower is better" in worse.rules[0].sentence
    assert _only(_gate(low, "severity <= 2.5")).outcome == "passed", "a threshold says its direction itself"


def test_three_lines_that_answer_alike_are_undecided_and_many_are_no_worse(runs_dir):
    rules = ["f1 no worse than baseline by 0.05", "f1 better than baseline"]
    a, b = (_run(runs_dir, name, {"f1": [0.2, 0.6, 0.9]}) for name in "ab")
    assert [rule.outcome for rule in _gate(b, *rules, baseline=a).rules] == ["undecided", "undecided"]
    c, d = (_run(runs_dir, name, {"f1": [0.2, 0.6, 0.9] * 50}) for name in "cd")
    assert [rule.outcome for rule in _gate(d, *rules, baseline=c).rules] == ["passed", "undecided"]


def test_few_lines_that_answer_alike_decide_nothing(runs_dir):
    a, b = (_run(runs_dir, name, {"f1": [0.2, 0.6, 0.9]}) for name in "ab")
    rules = ["f1 better than baseline", "f1 no worse than baseline by 0.001", "f1 no worse than baseline by 0.1"]
    assert [rule.outcome for rule in _gate(b, *rules, baseline=a).rules] == ["undecided"] * 3


def test_what_has_no_interval_is_undecided(runs_dir):
    run = _run(runs_dir, "a", {"f1": [0.9]})
    metrics = run.metrics("answer_match")
    note = "of answered lines only: 1 line failed in the run"
    rate = Estimate(mean=0.9, n=1, n_failed=1, method="aggregation", note=note)
    logged = {"rate": rate, "none": estimate_mean([])}
    run.write_scores(
        "answer_match",
        run.scores("answer_match"),
        metrics.model_copy(update={"metrics": {**metrics.metrics, **logged}}),
    )
    found = _gate(run, "f1 >= 0.1", "rate >= 0.1", "none >= 0.1")
    assert [(rule.outcome, rule.lines_needed) for rule in found.rules] == [("undecided", None)] * 3
    assert "it has no interval (aggregation), and only a bound can pass" in found.rules[1].sentence
    assert "Of answered lines only: 1 line failed in the run" in found.rules[1].sentence
    assert "worst score" not in found.rules[1].sentence
    assert "no line has a score" in found.rules[2].sentence


def test_lines_are_those_of_the_metric_that_has_fewest(runs_dir):
    values = [1.0, 0.0] * 10 + [None] * 20
    run = _run(runs_dir, "a", {"f1": [0.5, 0.6] * 20, "value_accuracy": values}, failed=4)
    alone = _gate(run, "lines >= 36", "lines > 36")
    assert [rule.outcome for rule in alone.rules] == ["passed", "failed"]
    both = _gate(run, "f1 >= 0.5", "value_accuracy >= 10%", "lines >= 30")
    assert (both.rules[2].outcome, both.rules[2].value) == ("failed", 20)
    assert both.rules[2].sentence == "answer_match.value_accuracy rests on 20 lines: not >= 30."


def test_lines_of_a_comparison_are_those_that_both_runs_scored(runs_dir):
    a = _run(runs_dir, "a", {"f1": [None] * 5 + [0.5, 0.6] * 10})
    b = _run(runs_dir, "b", {"f1": [0.5, 0.6] * 10 + [None] * 5})
    result = _gate(b, "lines >= 16", "f1 no worse than baseline by 0.5", baseline=a)
    assert (result.rules[0].outcome, result.rules[0].value) == ("failed", 15)


def test_failed_lines_count_by_their_share_in_the_run_or_in_scoring(runs_dir):
    run = _run(runs_dir, "a", {"f1": [0.5, 0.6] * 50}, failed=2)
    at, below = _gate(run, "failed <= 2%", "failed < 2%").rules
    assert [(rule.outcome, rule.value, rule.low, rule.n) for rule in (at, below)] == [
        ("passed", 0.02, None, 100),
        ("failed", 0.02, None, 100),
    ]
    assert "2 of 100 lines failed in the run or in scoring: 2 % (the share itself, without an interval)" in at.sentence
    scores = run.scores("answer_match")
    scores[:3] = [score.model_copy(update={"scores": {}, "failures": {"f1": "no number"}}) for score in scores[:3]]
    run.write_scores("answer_match", scores, run.metrics("answer_match"))
    assert _gate(run, "failed <= 2%", "f1 >= 0.5").rules[0].value == 0.05


def test_failed_lines_need_no_scores(runs_dir):
    run = make_run(runs_dir, "a", [{"question": "q"}] * 2, ["x", None])
    assert _only(_gate(run, "failed <= 50%")).outcome == "passed"


def test_the_metrics_of_the_rules_are_the_confirmatory_ones_and_intervals_are_not_widened(runs_dir):
    rng = np.random.default_rng(5)
    a, b = (_run(runs_dir, name, {m: list(rng.random(50)) for m in ("f1", "bleu", "chrf")}) for name in "ab")
    alone = _only(_gate(b, "f1 no worse than baseline by 0.5", baseline=a))
    rules = [f"{name} no worse than baseline by 0.5" for name in ("f1", "bleu", "chrf")]
    assert _gate(b, *rules, baseline=a).rules[0] == alone


# what cannot be decided


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ("f2 >= 0.5", "--rule 'f2 >= 0.5': metric 'f2' is unknown: there are answer_match.f1, answer_match.bleu"),
        ("answer_match.f2 >= 0.5", "metric 'answer_match.f2' is unknown: there are answer_match.f1, answer_match.bleu"),
        (
            "judge.f1 >= 3",
            "run b is not scored by judge (it has: answer_match): phi3flow score b --flow flows/eval/judge",
        ),
        ("f1 no worse than baseline by 0.1", "'f1 no worse than baseline by 0.1' needs a baseline: --baseline RUN"),
    ],
)
def test_a_rule_about_what_the_run_has_not_is_refused_with_the_way_out(runs_dir, rule, message):
    run = _run(runs_dir, "b", {"f1": [0.5, 0.6], "bleu": [3.0, 4.0]})
    with pytest.raises(ConfigError) as refused:
        _gate(run, rule)
    assert message in str(refused.value)


def test_an_ambiguous_metric_is_refused_with_the_full_names(runs_dir):
    run = _run(runs_dir, "a", {"f1": [0.1, 0.2]})
    run.write_scores("judge", run.scores("answer_match"), run.metrics("answer_match"))
    with pytest.raises(ConfigError, match="metric 'f1' is ambiguous: answer_match.f1, judge.f1"):
        _gate(run, "f1 >= 0.1")
    assert _only(_gate(run, "judge.f1 >= 2")).metric == "judge.f1"


def test_a_baseline_without_the_scores_is_refused_with_the_command(runs_dir):
    rule = "f1 no worse than baseline by 0.1"
    run = _run(runs_dir, "new", {"f1": [0.5, 0.6]})
    unscored = make_run(runs_dir, "bare", [{"question": f"q{i}"} for i in range(2)], ["x", "y"])
    other = _run(runs_dir, "old", {"bleu": [0.5, 0.6]})
    with pytest.raises(
        ConfigError, match="run bare is not scored by answer_match .it has: no scores.: phi3flow score b"
    ):
        _gate(run, rule, baseline=unscored)
    with pytest.raises(
        ConfigError, match="run old has no answer_match.f1; score it again: phi3flow score old --flow fl"
    ):
        _gate(run, rule, baseline=other)


def test_a_baseline_that_says_nothing_is_refused(runs_dir):
    run, other = (_run(runs_dir, name, {"f1": [0.5, 0.6]}) for name in "ab")
    with pytest.raises(ConfigError, match="--baseline b: no rule compares with it"):
        _gate(run, "f1 >= 0.1", baseline=other)
    with pytest.raises(ConfigError, match="--baseline a: is the run itself, which is never worse"):
        _gate(run, "f1 no worse than baseline by 0.1", baseline=run)


def test_a_logged_figure_cannot_be_compared_line_by_line(runs_dir):
    runs = [_run(runs_dir, name, {"f1": [0.5, 0.6]}) for name in "ab"]
    for run in runs:
        metrics = run.metrics("answer_match")
        logged = {**metrics.metrics, "rate": Estimate(mean=0.5, n=2, method="aggregation")}
        run.write_scores("answer_match", run.scores("answer_match"), metrics.model_copy(update={"metrics": logged}))
    with pytest.raises(ConfigError, match="answer_match.rate is logged for the whole run"):
        _gate(runs[1], "rate no worse than baseline by 0.1", baseline=runs[0])


def test_a_run_that_is_not_finished_or_not_scored_to_its_end_is_refused(runs_dir):
    run = _run(runs_dir, "a", {"f1": [0.5, 0.6, 0.7]})
    run.write_scores("answer_match", run.scores("answer_match")[:2], run.metrics("answer_match"))
    with pytest.raises(
        ConfigError, match="1 line of run a was run after answer_match scored it: phi3flow score a --fl"
    ):
        _gate(run, "f1 >= 0.1")
    manifest = run.manifest
    counts = manifest.counts.model_copy(update={"total": 10})
    canceled = manifest.model_copy(update={"status": "Canceled", "counts": counts})
    (run.path / "manifest.json").write_text(canceled.model_dump_json())
    with pytest.raises(ConfigError, match="run a is Canceled: 7 of 10 lines were not run; give its batch-run command"):
        _gate(run, "failed <= 2%")


def test_a_run_whose_every_line_failed_is_refused_with_the_count(runs_dir):
    run = make_run(runs_dir, "a", [{"question": "q"}] * 3, [None] * 3)
    run.write_scores(
        "answer_match",
        [],
        _run(runs_dir, "b", {"f1": [0.1]}).metrics("answer_match").model_copy(update={"metrics": {}}),
    )
    with pytest.raises(ConfigError, match="no line of run a has a score: 3 of 3 lines failed; phi3flow runs show a"):
        _gate(run, "f1 >= 0.5")
    assert _only(_gate(run, "failed <= 2%")).outcome == "failed"


@pytest.mark.parametrize("rule", ["f1 no worse than baseline by 0.1", "f1 better than baseline by 0.3"])
def test_a_plan_of_few_conversations_has_enough_of_them(runs_dir, rule):
    draw = np.random.default_rng(3)
    before = draw.random(80)
    after = np.clip(before + draw.normal(0.05, 0.1, 80), 0, 1)
    talks = [f"talk {number // 20}" for number in range(80)]
    runs = [
        _run(runs_dir, name, {"f1": scores.tolist()}, conversation_id=talks)
        for name, scores in (("base", before), ("tuned", after))
    ]
    result = _only(_gate(runs[1], rule, baseline=runs[0]))
    assert result.outcome == "undecided"
    assert result.lines_needed is not None
    assert result.lines_needed >= 120
    assert "least difference that these lines show" not in result.sentence


def test_the_headline_says_which_failures_were_compared(runs_dir):
    base = _run(runs_dir, "base", {"f1": [0.5] * 40})
    scores = {"f1": [0.5] * 35 + [None] * 10}
    tuned = _run(runs_dir, "tuned", scores, failed=10)
    result = _gate(tuned, "f1 no worse than baseline by 0.5", baseline=base)
    assert (result.n_paired, result.failures.candidate) == (40, 10)
    assert result.failures_paired == Sides(baseline=0, candidate=5)
    headline = summarise(result, undecided_passes=False)
    assert headline.endswith("failed lines: 0 in base, 10 in tuned (of the lines paired 0 and 5)")
    alone = _gate(tuned, "f1 >= 0.01")
    assert alone.failures_paired is None
    assert summarise(alone, undecided_passes=False).endswith("; failed lines: 10 in tuned")
