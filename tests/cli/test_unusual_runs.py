"""Runs at the edge of what can be scored and compared: each has a clear outcome."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from phi3flow.cli.main import main
from phi3flow.runs.folder import RunFolder
from tests.support.folders.answered_runs import make_run
from tests.support.paths import FLOWS

FLOW = str(FLOWS / "eval" / "answer_match")


@pytest.fixture
def runs_dir(tmp_path: Path) -> Path:
    return tmp_path / ".runs"


def _score(run: RunFolder) -> int:
    return main(["score", str(run.path), "--flow", FLOW, "--quiet"])


def _compare(runs_dir: Path, capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    capsys.readouterr()
    assert main(["compare", "a", "b", "--runs-dir", str(runs_dir), "--json"]) == 0
    printed: dict[str, Any] = json.loads(capsys.readouterr().out)
    return printed


def test_a_run_without_ground_truth_is_refused_with_the_flag_to_add(
    runs_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = make_run(runs_dir, "a", [{"question": "q"}], ["x"])
    assert _score(run) == 2
    message = capsys.readouterr().err
    assert "the flow's input 'ground_truth' gets no value" in message
    assert "--column-mapping ground_truth='${data.COLUMN}'" in message
    assert run.evaluations() == []


def test_one_line_has_a_mean_and_an_interval_of_nearly_all_and_no_verdict(
    runs_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, answer in (("a", "the capital"), ("b", "Paris, the capital")):
        assert _score(make_run(runs_dir, name, [{"question": "q", "ground_truth": "Paris"}], [answer])) == 0
    metric = _compare(runs_dir, capsys)["metrics"]["answer_match.f1"]
    assert metric["difference"]["mean"] == pytest.approx(2 / 3)
    assert (metric["difference"]["low"], metric["p_permutation"], metric["n"]) == (-1.0, 1.0, 1)
    assert metric["p"] > 0.05
    assert main(["compare", "a", "b", "--runs-dir", str(runs_dir)]) == 0
    assert "answer_match.f1: undecided: +0.667 (95 % interval -1.000 to +1.000, p_holm = 0.469, 1 line)" in " ".join(
        capsys.readouterr().out.split()
    )


def test_scores_that_are_all_an_end_of_their_range_have_wilsons_interval(
    runs_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [{"question": f"q{n}", "ground_truth": "Paris"} for n in range(8)]
    for name in ("a", "b"):
        run = make_run(runs_dir, name, rows, ["Paris"] * 8)
        assert _score(run) == 0
    metrics = run.metrics("answer_match").metrics
    assert (metrics["f1"].method, metrics["f1"].high) == ("wilson", 1.0)
    assert (metrics["bleu"].method, metrics["bleu"].mean, metrics["bleu"].high) == ("wilson, 0 to 100", 100.0, 100.0)
    metric = _compare(runs_dir, capsys)["metrics"]["answer_match.corpus_chrf"]
    assert (metric["difference"], metric["p"]) == ({"mean": 0.0, "low": None, "high": None}, 1.0)


def test_an_empty_ground_truth_scores_zero_and_a_list_takes_the_best(runs_dir: Path) -> None:
    rows = [{"question": "q", "ground_truth": truth} for truth in ("", ["Rome", "Paris"], [])]
    run = make_run(runs_dir, "a", rows, ["Paris"] * 3)
    assert _score(run) == 1
    empty, listed, none = run.scores("answer_match")
    assert (empty.scores["f1"], empty.scores["exact_match"]) == (0.0, 0.0)
    assert listed.scores["exact_match"] == 1.0
    assert none.error is not None
    assert "ground_truth is an empty list" in none.error.message


@pytest.mark.slow
def test_an_answer_of_two_megabytes_is_scored(runs_dir: Path) -> None:
    """BLEU's and chrF's counts and a longest common subsequence of 400,000 words, beside an ordinary line."""
    rows = [{"question": "q", "ground_truth": "Paris is the capital of France"}] * 2
    run = make_run(runs_dir, "a", [{**row, "n": n} for n, row in enumerate(rows)], ["word " * 400_000, "Paris"])
    assert _score(run) == 0
    assert run.scores("answer_match")[0].scores["f1"] == 0.0
