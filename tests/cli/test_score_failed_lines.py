"""phi3flow score of runs in which lines failed: what they count as, by which reading, and which scores are whose."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from phi3flow.cli.main import main
from phi3flow.records.runs import RunParameters
from phi3flow.runs.folder import RunFolder
from phi3flow.storage.jsonl import read_rows
from tests.support.flows.answer_match import FLOW
from tests.support.folders.answered_runs import make_run
from tests.support.folders.run_folders import line, write_run
from tests.support.folders.version_1_run import version_1_run
from tests.support.paths import FLOWS, ROOT

ROWS = [{"question": f"q{number}", "ground_truth": "right"} for number in range(6)]
GRADE = """from promptflow.core import tool


@tool
def grade(answer: str, topic: str = "") -> dict:
    return {"stars": 5 if answer == "right" else 2, "on_topic": None if not topic else float(topic in answer)}
"""
TOTAL = """from promptflow.core import log_metric, tool


@tool
def total(grades: list) -> None:
    log_metric("seen", len(grades))
"""
DAG = """tags: {score_ranges: stars 1..5}
inputs:
  answer: {type: string}
  topic: {type: string, default: ""}
outputs:
  stars: {type: string, reference: "${grade.output.stars}"}
  on_topic: {type: string, reference: "${grade.output.on_topic}"}
nodes:
- name: grade
  type: python
  source: {type: code, path: grade.py}
  inputs: {answer: "${inputs.answer}", topic: "${inputs.topic}"}
- name: total
  type: python
  source: {type: code, path: total.py}
  inputs: {grades: "${grade.output}"}
  aggregation: true
"""


@pytest.fixture
def runs_dir(tmp_path: Path) -> Path:
    return tmp_path / ".runs"


def _score(run: RunFolder, *flags: object, flow: Path = FLOW) -> int:
    return main(["score", str(run.path), "--flow", str(flow), *map(str, flags)])


def _grades(folder: Path, grade: str = GRADE) -> Path:
    folder.mkdir(parents=True)
    for name, text in {"grade.py": grade, "total.py": TOTAL, "flow.dag.yaml": DAG}.items():
        (folder / name).write_text(text)
    return folder


def test_a_candidate_does_not_gain_by_failing_on_lines_that_it_would_get_wrong(runs_dir: Path) -> None:
    rows = [row for _, row in read_rows(ROOT / "data" / "test_lines.jsonl")]
    right = [" ".join(row["values"]) if number % 2 else "I do not know" for number, row in enumerate(rows)]
    honest = make_run(runs_dir, "honest", rows, right)
    failing = make_run(runs_dir, "failing", rows, [answer if "know" not in answer else None for answer in right])
    assert (_score(honest), _score(failing)) == (0, 1)
    baseline, candidate = (run.metrics("answer_match") for run in (honest, failing))
    with_values = sum(bool(row["values"]) for row in rows)
    failed_with_values = sum(bool(row["values"]) for row in rows[::2])
    value_accuracy = candidate.metrics["value_accuracy"]
    assert value_accuracy.mean == baseline.metrics["value_accuracy"].mean
    assert (value_accuracy.n, value_accuracy.n_failed) == (with_values, failed_with_values)
    assert candidate.answered_only["value_accuracy"].mean == 1.0


def test_the_ways_to_read_failed_lines_stand_side_by_side(runs_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = make_run(runs_dir, "run", ROWS, ["right", "right", "wrong", None, None, None])
    assert _score(run, "--json") == 1
    printed = json.loads(capsys.readouterr().out)
    assert printed["failed_lines"] == "least"
    assert printed["metrics"]["answer_match.f1"]["mean"] == pytest.approx(2 / 6)
    assert printed["answered_only"]["answer_match.f1"]["mean"] == pytest.approx(2 / 3)
    assert json.loads((run.path / "metrics.json").read_bytes())["answer_match.f1"] == pytest.approx(2 / 6)
    assert _score(run, "--quiet") == 1
    table = " ".join(capsys.readouterr().out.split())
    assert "answered only lines failed method" in table
    assert "0.3333 [0.0477, 0.7655] 0.6667 6 3" in table


def test_failed_lines_are_left_out_where_the_user_says_so(runs_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = make_run(runs_dir, "run", ROWS, ["right", "right", "wrong", None, None, None])
    assert _score(run, "--failed-lines", "left-out") == 1
    assert "3 of 6 lines failed in the run and are left out" in capsys.readouterr().err
    metrics = run.metrics("answer_match")
    f1, corpus = metrics.metrics["f1"], metrics.metrics["corpus_chrf"]
    assert (metrics.failed_lines, metrics.answered_only) == ("left out", {})
    assert (f1.mean, f1.n, f1.n_failed, corpus.n) == (pytest.approx(2 / 3), 3, 3, 3)
    assert json.loads((run.path / "metrics.json").read_bytes())["answer_match.f1"] == pytest.approx(2 / 3)
    assert run.scores("answer_match")[3].counted_as["f1"] == 0.0


@pytest.mark.parametrize("flags", [("--failed-as-zero",), ("--failed-as-zero", "--json")])
def test_what_took_the_place_of_failed_as_zero_is_said(
    runs_dir: Path, capsys: pytest.CaptureFixture[str], flags: tuple[str, ...]
) -> None:
    assert _score(make_run(runs_dir, "run", ROWS[:1], ["right"]), *flags) == 2
    message = capsys.readouterr().err
    assert "--failed-as-zero is gone: failed lines count as the worst score now" in message
    assert "--failed-lines left-out leaves them out" in message


def test_an_aggregation_sees_answered_lines_only_and_says_so(runs_dir: Path, tmp_path: Path) -> None:
    rows = [{**row, "topic": "right" if number % 2 else ""} for number, row in enumerate(ROWS)]
    run = make_run(runs_dir, "run", rows, ["right", "right", "wrong", None, None, None])
    assert _score(run, flow=_grades(tmp_path / "grades")) == 1
    metrics = run.metrics("grades").metrics
    assert (metrics["seen"].mean, metrics["seen"].n, metrics["seen"].n_failed) == (3.0, 3, 3)
    assert metrics["seen"].note == "of answered lines only: 3 lines failed in the run"
    assert (metrics["stars"].mean, metrics["stars"].n) == ((5 + 5 + 2 + 1 + 1 + 1) / 6, 6)
    assert (metrics["on_topic"].n, metrics["on_topic"].n_failed) == (3, 2), "lines 1, 3 and 5 have a topic"
    counted_as = [score.counted_as for score in run.scores("grades")[3:]]
    assert counted_as == [{"stars": 1.0, "on_topic": 0.0}, {"stars": 1.0}, {"stars": 1.0, "on_topic": 0.0}]


def test_a_flow_that_cannot_grade_an_empty_answer_leaves_it_to_the_rows(runs_dir: Path, tmp_path: Path) -> None:
    rows = [{**row, "topic": "right" if number % 2 else ""} for number, row in enumerate(ROWS)]
    run = make_run(runs_dir, "run", rows, ["right", "right", "wrong", None, None, None])
    flow = _grades(tmp_path / "grades", GRADE.replace("    return", "    first = answer[0]\n    return"))
    assert _score(run, flow=flow) == 1
    counted_as = [score.counted_as for score in run.scores("grades")[3:]]
    assert counted_as == [{"stars": 1.0, "on_topic": 0.0}, {"stars": 1.0}, {"stars": 1.0, "on_topic": 0.0}]


def test_a_line_of_repeats_failed_where_any_of_its_executions_did(runs_dir: Path) -> None:
    answers = ["right", "right", None, "right", "wrong", None, None, "right"]  # 4 lines, twice
    results = [
        line(number, answer, line_id=f"id{number % 4}" + "~2" * (number > 3)) for number, answer in enumerate(answers)
    ]
    parameters = RunParameters(repeats=2, lines=4)
    run = write_run(runs_dir / "run", results, rows=ROWS[:4], parameters=parameters)
    assert _score(run) == 1
    metrics = run.metrics("answer_match")
    least, answered = metrics.metrics["exact_match"], metrics.answered_only["exact_match"]
    assert (least.mean, least.n, least.n_failed) == ((0.5 + 0.5 + 0 + 1) / 4, 4, 2)
    assert (answered.mean, answered.n, answered.n_failed) == (pytest.approx((0.5 + 1 + 1) / 3), 3, 2)
    assert least.repeats is not None
    assert least.repeats.within == pytest.approx(0.25)


def test_a_corpus_metric_counts_an_empty_answer(runs_dir: Path) -> None:
    run = make_run(runs_dir, "run", ROWS[:2], ["right", None])
    empty = make_run(runs_dir, "empty", ROWS[:2], ["right", ""])
    assert (_score(run), _score(empty)) == (1, 0)
    for name in ("corpus_bleu", "corpus_chrf"):
        metric = run.metrics("answer_match").metrics[name]
        assert metric.mean == pytest.approx(empty.metrics("answer_match").metrics[name].mean)
        assert (metric.n, metric.n_failed) == (2, 1)


def test_of_a_run_without_an_answer_a_judge_is_asked_nothing_and_the_metrics_say_why_they_have_no_mean(
    runs_dir: Path,
) -> None:
    run = make_run(runs_dir, "dead", ROWS[:2], [None, None])
    assert _score(run, flow=FLOWS / "eval" / "content_safety") == 1  # there is no service: a request would fail
    violence = run.metrics("content_safety").metrics["violence"]
    assert (violence.mean, violence.n, violence.n_failed, violence.n_unscored) == (None, 0, 2, 0)
    assert violence.note == ("2 lines that failed in the run are left out: nobody can say whether it applies to them")
    assert [score.counted_as["defect_rate"] for score in run.scores("content_safety")] == [None, None]


def test_a_score_beyond_its_range_by_rounding_is_the_ranges_end(runs_dir: Path) -> None:
    run = make_run(runs_dir, "run", [{"question": "q", "ground_truth": "a right answer"}] * 2, ["a right answer"] * 2)
    assert _score(run) == 0
    scores = [score.scores for score in run.scores("answer_match")]
    assert all(score["bleu"] == 100.0 and max(score["f1"], score["chrf"] / 100) <= 1 for score in scores if score)
    assert run.metrics("answer_match").metrics["bleu"].method == "wilson, 0 to 100"


def test_scores_say_what_measured_them(runs_dir: Path, tmp_path: Path) -> None:
    run = make_run(runs_dir, "run", ROWS, ["right"] * 6)
    flow = _grades(tmp_path / "grades")
    assert _score(run, "--column-mapping", "topic=right", flow=flow) == 0
    ruler: Any = run.metrics("grades").evaluation
    assert (ruler.flow, ruler.run_outputs, ruler.judge) == (str(flow), ["answer"], None)
    assert ruler.column_mapping == {"answer": "${run.outputs.answer}", "topic": "right"}
    assert run.metrics("grades").schema_version == 2


def test_two_flows_of_one_folder_name_have_metrics_of_their_own(
    runs_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = make_run(runs_dir, "run", ROWS, ["right"] * 6)
    strict = _grades(tmp_path / "strict" / "grades")
    kind = _grades(tmp_path / "kind" / "grades", GRADE.replace("else 2", "else 4"))
    assert main(["score", str(run.path), "--flow", str(strict), "--flow", str(kind), "--json"]) == 0
    first, second = run.evaluations()
    assert first == "grades"
    assert second.startswith("grades-")
    assert {f"{first}.stars", f"{second}.stars"} < set(json.loads(capsys.readouterr().out)["metrics"])
    assert {f"{first}.stars", f"{second}.stars"} < set(json.loads((run.path / "metrics.json").read_bytes()))


def test_a_run_of_version_1_is_scored_anew(runs_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = version_1_run(runs_dir)
    assert _score(run) == 1
    metrics = run.metrics("answer_match")
    assert (metrics.schema_version, metrics.metrics["value_accuracy"].n) == (2, 2)
    assert metrics.evaluation is not None
    assert run.manifest.schema_version == 1, "what the run was stays as it was written"
    capsys.readouterr()
    assert main(["runs", "show", "old", "--runs-dir", str(runs_dir), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["schema_version"] == 1
