"""compare, runs list and score write tables for other programs."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
from pyarrow import parquet

from phi3flow.cli.main import main
from tests.support.folders.answered_runs import make_run
from tests.support.paths import FLOWS

ROWS = [{"question": f"q{n}", "ground_truth": "a", "kind": "=fact" if n < 6 else "chat"} for n in range(10)]


@pytest.fixture
def runs_dir(tmp_path: Path) -> Path:
    folder = tmp_path / ".runs"
    for name, good in (("base", 2), ("tuned", 8)):
        scores = {"answer_match": {"f1": [1.0] * good + [0.0] * (9 - good) + [None]}}
        make_run(folder, name, ROWS, ["a"] * 9 + [None], scores=scores)
    return folder


def test_compare_writes_a_row_for_each_metric_and_slice(runs_dir: Path, tmp_path: Path) -> None:
    file = tmp_path / "out" / "comparison.csv"
    arguments = ["base", "tuned", "--by", "kind", "--runs-dir", str(runs_dir), "--output", str(file), "--quiet"]
    assert main(["compare", *arguments]) == 0
    with file.open(encoding="utf-8-sig", newline="") as opened:
        whole, fact, chat = csv.DictReader(opened)
    assert (whole["metric"], whole["baseline_run"], whole["candidate_run"]) == ("answer_match.f1", "base", "tuned")
    assert (whole["slice_column"], whole["wins"], whole["n"]) == ("", "6", "9")
    assert float(whole["difference_low"]) < float(whole["difference_mean"]) < float(whole["difference_high"])
    assert (fact["slice_value"], fact["n"], chat["slice_value"], chat["n"]) == ("'=fact", "6", "chat", "3")


def test_runs_list_writes_a_row_for_each_run(runs_dir: Path, tmp_path: Path) -> None:
    file = tmp_path / "runs.parquet"
    assert main(["runs", "list", "--runs-dir", str(runs_dir), "--output", str(file), "--quiet"]) == 0
    base, tuned = parquet.read_table(file).to_pylist()
    assert (base["name"], tuned["name"], tuned["failed"], tuned["status"]) == ("base", "tuned", 1, "Completed")
    assert tuned["answer_match.f1.low"] < tuned["answer_match.f1"] < tuned["answer_match.f1.high"]


def test_score_writes_a_row_for_each_line(tmp_path: Path) -> None:
    """A line that failed has what it counts as, and says that it failed."""
    file, flow = tmp_path / "scores.parquet", str(FLOWS / "eval" / "answer_match")
    make_run(tmp_path / ".runs", "tuned", ROWS, ["a"] * 9 + [None])
    arguments = ["tuned", "--flow", flow, "--runs-dir", str(tmp_path / ".runs"), "--output", str(file), "--quiet"]
    assert main(["score", *arguments]) == 1
    rows = parquet.read_table(file).to_pylist()
    assert [row["exact_match"] for row in rows] == [1.0] * 9 + [0.0]
    assert (rows[0]["evaluation"], rows[9]["status"], rows[9]["error"]) == (
        *("answer_match", "Failed"),
        "the endpoint answered 503",
    )


def test_a_format_that_is_none_is_refused_before_anything_is_done(
    runs_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["runs", "list", "--runs-dir", str(runs_dir), "--output", "runs.xlsx"]) == 2
    assert "runs.xlsx: a table is written as .csv or .parquet" in capsys.readouterr().err
