"""What a comparison concludes: better, worse, equivalent within a margin, or undecided, with the reason."""

from __future__ import annotations

from pathlib import Path

import pytest

from phi3flow.comparison.compare import compare_runs, compare_with_baseline
from phi3flow.comparison.conclusions import describe_verdict
from phi3flow.comparison.margins import Margins, parse_margins
from phi3flow.errors import ConfigError
from phi3flow.stats import holm
from tests.unit.comparison.scored import rescored, scored

F1 = "answer_match.f1"
LOW, HIGH = [0.2, 0.3, 0.1, 0.4] * 10, [0.8, 0.7, 0.9, 0.6] * 10


@pytest.mark.parametrize(
    ("before", "after", "verdict", "sentence"),
    [
        (LOW, HIGH, "better", "tuned is better than base: +0.500 (95 % interval +0."),
        (HIGH, LOW, "worse", "tuned is worse than base: -0.500 (95 % interval -0."),
        ([0.8, 0.1, 0.5], [0.2, 0.9, 0.6], "undecided", "undecided: +0.100 (95 % interval -"),
        ([0.8, 0.1, 0.5], [0.8, 0.1, 0.5], "undecided", "Few lines: 3 of them"),
        ([0.8], [0.1], "undecided", "undecided: -0.700 ("),
        ([None, 0.5], [0.5, None], "undecided", "undecided. No line has a score in both runs."),
    ],
)
def test_a_verdict_is_said_with_its_evidence(
    tmp_path: Path, before: list[float | None], after: list[float | None], verdict: str, sentence: str
) -> None:
    base, tuned = scored(tmp_path, "base", {"f1": before}), scored(tmp_path, "tuned", {"f1": after})
    comparison = compare_runs(base, tuned, metrics=["f1"])
    assert comparison.metrics[F1].verdict == verdict
    text = describe_verdict(F1, comparison)
    assert sentence in text
    assert "no difference" not in text
    assert "same" not in text


def test_where_lower_is_better_it_is_said_and_a_fall_is_better(tmp_path: Path) -> None:
    runs = [scored(tmp_path, name, {"f1": scores}) for name, scores in (("base", HIGH), ("tuned", LOW))]
    comparison = compare_runs(*(rescored(run, lower_is_better=["f1"]) for run in runs))
    metric = comparison.metrics[F1]
    assert (metric.verdict, metric.wins, metric.losses, metric.difference.mean) == (
        *("better", 40, 0),
        pytest.approx(-0.5),
    )
    assert "lower is better" in describe_verdict(F1, comparison)


def test_equivalent_is_said_with_its_margin_and_of_confirmatory_metrics_only(tmp_path: Path) -> None:
    before = [0.5, 0.6, 0.4, 0.7] * 100
    after = [0.51, 0.59, 0.4, 0.7] * 100
    base = scored(tmp_path, "base", {"f1": before, "bleu": before})
    tuned = scored(tmp_path, "tuned", {"f1": after, "bleu": after})
    comparison = compare_runs(base, tuned, metrics=["f1"], margins=Margins(0.05))
    assert (comparison.metrics[F1].verdict, comparison.metrics[F1].margin) == ("equivalent", 0.05)
    assert comparison.metrics["answer_match.bleu"].margin is None
    assert "tuned is equivalent to base within 0.05: +0.000" in describe_verdict(F1, comparison)
    assert compare_runs(base, tuned, metrics=["f1"]).metrics[F1].verdict == "undecided"
    tight = compare_runs(base, tuned, metrics=["f1"], margins=Margins(0.0001)).metrics[F1]
    assert (tight.verdict, (tight.reason or "").endswith("the interval is not within 0.0001")) == ("undecided", True)


def test_margins_are_for_all_confirmatory_metrics_or_a_metrics_own(tmp_path: Path) -> None:
    runs = [scored(tmp_path, name, {"f1": LOW, "bleu": LOW}) for name in ("base", "tuned")]
    metrics = compare_runs(*runs, metrics=["f1", "bleu"], margins=parse_margins(["0.1", "f1=0.2"])).metrics
    assert (metrics[F1].margin, metrics["answer_match.bleu"].margin) == (0.2, 0.1)
    with pytest.raises(ConfigError, match=r"--margin bleu=0.1: metric 'bleu' is unknown: there are answer_match.f1"):
        compare_runs(*runs, metrics=["f1"], margins=parse_margins(["bleu=0.1"]))


@pytest.mark.parametrize("text", ["0", "-0.1", "nan", "inf", "much", "", "f1=", "f1=0", "=0.1", "f1=0.1=x", "5%"])
def test_a_margin_that_is_no_number_above_0_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="is not NUMBER or METRIC=NUMBER, with a number above 0 such as 0.05"):
        parse_margins([text])


@pytest.mark.parametrize("texts", [["0.1", "0.2"], ["f1=0.1", "f1=0.1"]])
def test_a_margin_that_is_there_twice_is_refused(texts: list[str]) -> None:
    with pytest.raises(ConfigError, match="already has a margin"):
        parse_margins(texts)


def test_all_slices_share_one_level(tmp_path: Path) -> None:
    """Two columns, two values each, and two metrics are eight tests."""
    rows = [{"question": f"q{n}", "kind": "ab"[n % 2], "turn": "xy"[n // 2 % 2]} for n in range(80)]
    before = [0.1, 0.2, 0.3, 0.4, 0.5] * 16
    base = scored(tmp_path, "base", {"f1": before, "bleu": before}, rows=rows)
    tuned = scored(tmp_path, "tuned", {"f1": before[1:] + before[:1], "bleu": before[::-1]}, rows=rows, failed=[0])
    slices = compare_runs(base, tuned, metrics=["f1", "bleu"], by=["kind", "turn"]).slices
    metrics = [metric for piece in slices for metric in piece.metrics.values()]
    assert [metric.p_holm for metric in metrics] == pytest.approx(holm([metric.p for metric in metrics]))
    assert len(metrics) == 8
    assert all(metric.simultaneous and metric.simultaneous.low < metric.difference.low for metric in metrics)
    assert [piece.metrics[F1].failed.candidate for piece in slices] == [1, 0, 1, 0]


def test_candidates_share_one_level_in_their_slices_too(tmp_path: Path) -> None:
    rows = [{"question": f"q{n}", "kind": "ab"[n % 2]} for n in range(40)]
    base, first, second = (
        scored(tmp_path, name, {"f1": scores}, rows=rows)
        for name, scores in (("a", LOW), ("b", HIGH), ("c", LOW[1:] + LOW[:1]))
    )
    compared = compare_with_baseline(base, [first, second], by=["kind"])
    metrics = [piece.metrics[F1] for comparison in compared for piece in comparison.slices]
    assert [metric.p_holm for metric in metrics] == pytest.approx(holm([metric.p for metric in metrics]))


def test_exploratory_metrics_are_marked_and_decided_by_their_own_p(tmp_path: Path) -> None:
    base = scored(tmp_path, "base", {"f1": LOW, "bleu": LOW})
    tuned = scored(tmp_path, "tuned", {"f1": LOW, "bleu": HIGH})
    comparison = compare_runs(base, tuned, metrics=["f1"])
    bleu = comparison.metrics["answer_match.bleu"]
    assert (bleu.verdict, bleu.confirmatory, bleu.p_holm, bleu.simultaneous) == ("better", False, None, None)
    sentence = describe_verdict("answer_match.bleu", comparison)
    assert sentence.startswith("answer_match.bleu (exploratory): tuned is better than base: +0.500 (")
    assert "p_holm" not in sentence


def test_a_difference_that_is_shown_alone_and_not_at_the_shared_level_says_so(tmp_path: Path) -> None:
    before, after = [0.0] * 8 + [1.0] + [0.0] * 31, [1.0] * 8 + [0.0] + [0.0] * 31
    metrics = ("f1", "bleu", "chrf")
    base = scored(tmp_path, "base", dict.fromkeys(metrics, before))
    tuned = scored(tmp_path, "tuned", {"f1": after, "bleu": before, "chrf": before})
    assert compare_runs(base, tuned, metrics=["f1"]).metrics[F1].verdict == "better"
    metric = compare_runs(base, tuned, metrics=metrics).metrics[F1]
    assert metric.verdict == "undecided"
    assert "it is not shown at the level that 3 tests share" in (metric.reason or "")


def test_four_wins_and_no_loss_of_300_lines_are_undecided(tmp_path: Path) -> None:
    base = scored(tmp_path, "base", {"f1": [0.0] * 300})
    tuned = scored(tmp_path, "tuned", {"f1": [1.0] * 4 + [0.0] * 296})
    metric = compare_runs(base, tuned).metrics[F1]
    assert (metric.verdict, metric.p) == ("undecided", 0.0625)
