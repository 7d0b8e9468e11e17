"""phi3flow score: which columns an evaluation flow reads, what is written, and what becomes of lines that fail."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from phi3flow.cli.main import main
from phi3flow.runs.folder import RunFolder
from phi3flow.storage.jsonl import write_rows
from tests.support.flows.answer_match import FLOW
from tests.support.folders.answered_runs import make_run

ROWS: list[dict[str, Any]] = [
    {"question": "Capital of France?", "ground_truth": "Paris", "values": ["Paris"]},
    {"question": "Capital of Italy?", "ground_truth": ["Rome", "Roma"]},
    {"question": "Capital of Spain?", "ground_truth": "Madrid", "values": ["Madrid"]},
]


@pytest.fixture
def runs_dir(tmp_path: Path) -> Path:
    return tmp_path / ".runs"


def _score(run: RunFolder, *flags: object, flow: Path = FLOW) -> int:
    return main(["score", str(run.path), "--flow", str(flow), *map(str, flags)])


def _foreign_flow(folder: Path, tool: str, outputs: list[str], *, aggregation: str = "") -> Path:
    """An evaluation flow that is not ours: one tool with the input ``answer``, and its outputs by name."""
    folder.mkdir()
    (folder / "grade.py").write_text("from promptflow.core import tool\n\n\n@tool\n" + tool, encoding="utf-8")
    lines = ["inputs:", "  answer: {type: string}", "outputs:"]
    lines += [f"  {name}: {{type: string, reference: '${{grade.output.{name}}}'}}" for name in outputs]
    lines += ["nodes:", "- name: grade", "  type: python", "  source: {type: code, path: grade.py}"]
    lines += ["  inputs: {answer: '${inputs.answer}'}"]
    if aggregation:
        source = "from promptflow.core import log_metric, tool\n\n\n@tool\n" + aggregation
        (folder / "total.py").write_text(source, encoding="utf-8")
        lines += ["- name: total", "  type: python", "  source: {type: code, path: total.py}"]
        lines += ["  inputs: {grades: '${grade.output}'}", "  aggregation: true"]
    (folder / "flow.dag.yaml").write_text("\n".join(lines), encoding="utf-8")
    return folder


def test_score_writes_each_lines_scores_and_each_metrics_estimate(runs_dir, capsys):
    run = make_run(runs_dir, "first", ROWS, ["Paris!", "It is Rome.", None])
    assert _score(run, "--json") == 1
    printed = json.loads(capsys.readouterr().out)
    scores, metrics = run.scores("answer_match"), run.metrics("answer_match").metrics
    assert [score.status for score in scores] == ["Completed", "Completed", "Failed"]
    assert [score.line_id for score in scores] == [result.line_id for result in run.results()]
    assert scores[1].scores["value_accuracy"] is None
    assert scores[1].scores["f1"] == pytest.approx(0.5)
    assert scores[2].error is not None
    assert (scores[2].scores, scores[2].error.status_code) == ({}, 503)
    assert (metrics["f1"].mean, metrics["f1"].n, metrics["f1"].n_failed) == (pytest.approx(0.5), 3, 1)
    assert (metrics["value_accuracy"].mean, metrics["value_accuracy"].n) == (0.5, 2), "the failed line names a value"
    assert metrics["value_accuracy"].method == "wilson"
    chrf = metrics["corpus_chrf"]
    assert chrf.method == "bootstrap, 10,000 draws"
    assert (chrf.low, chrf.note) == (None, "3 lines: at least 6 are needed for a verdict")
    assert printed["run"] == "first"
    assert printed["metrics"]["answer_match.f1"] == metrics["f1"].model_dump()


def test_score_shows_full_metric_names_and_intervals_and_what_failed(runs_dir, capsys):
    run = make_run(runs_dir, "first", ROWS, ["Paris!", "It is Rome.", None])
    _score(run)
    output = capsys.readouterr()
    assert "answer_match.value_accuracy" in output.out
    assert "[0.0101, 0.8964]" in output.out
    assert "1 of 3 lines failed in the run and count as the worst score; the first: line 2: Endpoint" in output.err


def test_a_run_where_every_line_is_scored_exits_0(runs_dir, capsys):
    run = make_run(runs_dir, "whole", ROWS, ["Paris", "Rome", "Madrid"])
    assert main(["score", "@latest", "--runs-dir", str(runs_dir), "--flow", str(FLOW)]) == 0
    assert run.metrics("answer_match").metrics["exact_match"].mean == 1.0


def test_scoring_again_replaces_the_scores(runs_dir):
    run = make_run(runs_dir, "whole", ROWS, ["Paris", "Rome", "Madrid"])
    _score(run)
    _score(run, "--column-mapping", "ground_truth=Rome")
    assert run.metrics("answer_match").metrics["exact_match"].mean == pytest.approx(1 / 3)


def test_lines_of_one_conversation_are_one_cluster(runs_dir):
    rows = [{**row, "conversation_id": "c1" if i < 2 else "c2"} for i, row in enumerate(ROWS)]
    run = make_run(runs_dir, "chat", rows, ["Paris", "in Rome", "Lisbon"])
    _score(run)
    metrics = run.metrics("answer_match").metrics
    assert metrics["f1"].method == "clustered t"
    assert metrics["exact_match"].method == "clustered wilson"


def test_a_mapping_names_other_columns(runs_dir):
    rows = [{"question": row["question"], "expected": row["ground_truth"]} for row in ROWS]
    run = make_run(runs_dir, "other", rows, ["Paris", "Rome", "Madrid"], output="output")
    mapping = ["answer=${run.outputs.output}", "ground_truth=${data.expected}"]
    assert _score(run, "--column-mapping", *mapping) == 0
    assert run.metrics("answer_match").metrics["f1"].mean == 1.0


def test_an_input_without_a_column_is_refused_with_the_flag_to_add(runs_dir, capsys):
    run = make_run(runs_dir, "other", ROWS, ["Paris", "Rome", "Madrid"], output="output")
    assert _score(run) == 2
    message = capsys.readouterr().err
    assert "${run.outputs.output}" in message
    assert "--column-mapping answer=" in message
    assert run.evaluations() == []


def test_the_datas_own_answers_are_not_scored_in_place_of_the_runs(runs_dir, capsys):
    rows = [{**row, "answer": "Paris"} for row in ROWS]
    run = make_run(runs_dir, "other", rows, ["Paris", "Rome", "Madrid"], output="output")
    assert _score(run) == 2
    assert "no input takes an output of the run" in capsys.readouterr().err


def test_a_null_ground_truth_is_a_failed_score_not_the_text_none(runs_dir):
    rows = [ROWS[0], {**ROWS[1], "ground_truth": None}]
    run = make_run(runs_dir, "null", rows, ["Paris", "None"])
    assert _score(run) == 1
    error = run.scores("answer_match")[1].error
    assert error is not None
    assert "ground_truth is null" in error.message


def test_an_empty_list_of_ground_truths_is_a_failed_score(runs_dir):
    run = make_run(runs_dir, "empty", [ROWS[0], {**ROWS[1], "ground_truth": []}], ["Paris", "Rome"])
    assert _score(run) == 1
    error = run.scores("answer_match")[1].error
    assert error is not None
    assert (error.type, "at least one" in error.message) == ("ValueError", True)


def test_failed_lines_count_as_the_least_score_where_the_metric_applies_to_their_row(runs_dir, capsys):
    run = make_run(runs_dir, "first", ROWS, ["Paris", "Rome", None])
    assert _score(run) == 1
    scored = run.metrics("answer_match")
    assert scored.failed_lines == "least"
    f1, values, corpus = (scored.metrics[name] for name in ("f1", "value_accuracy", "corpus_bleu"))
    assert (f1.mean, f1.n, f1.n_failed) == (pytest.approx(2 / 3), 3, 1)
    assert (values.mean, values.n, values.n_failed) == (0.5, 2, 1), "line 1 names no value, the failed one does"
    assert (corpus.n, corpus.n_failed) == (3, 1)
    assert scored.answered_only["value_accuracy"].mean == 1.0
    failed = run.scores("answer_match")[2]
    assert (failed.status, failed.answered, failed.scores) == ("Failed", False, {})
    assert (failed.counted_as["f1"], failed.counted_as["value_accuracy"]) == (0.0, 0.0)

    other = make_run(runs_dir, "second", ROWS, ["Paris", "Rome", "Madrid"])
    assert _score(other, "--failed-lines", "left-out") == 0
    compare = ["compare", "first", "second", "--runs-dir", str(runs_dir), "--metric", "f1", "--json"]
    assert main(compare) == 2
    assert "--failed-lines" in capsys.readouterr().err
    assert _score(other) == 0
    capsys.readouterr()
    assert main(compare) == 0
    metric = json.loads(capsys.readouterr().out)["metrics"]["answer_match.f1"]
    assert (metric["n"], metric["difference"]["mean"]) == (3, pytest.approx(1 / 3))


def test_a_failed_line_counts_as_the_end_of_the_range_and_never_as_good(runs_dir, tmp_path):
    tool = "def grade(answer: str) -> dict:\n    return {'stars': 4, 'harm': 2, 'failures': {}}\n"
    flow = _foreign_flow(tmp_path / "stars", tool, ["stars", "harm"])
    with (flow / "flow.dag.yaml").open("a", encoding="utf-8") as file:
        file.write("\ntags: {score_ranges: 'stars 1..5', lower_is_better: harm}\n")
    run = make_run(runs_dir, "first", ROWS, ["", "", None])
    assert _score(run, "--failed-lines", "least", flow=flow) == 1
    metrics = run.metrics("stars").metrics
    assert (metrics["stars"].mean, metrics["stars"].n) == (3.0, 3)
    assert (metrics["harm"].mean, metrics["harm"].n) == (2.0, 2)
    assert "no range of it is declared" in (metrics["harm"].note or "")
    assert run.scores("stars")[2].counted_as == {"stars": 1.0, "harm": None}


def test_a_run_whose_lines_all_failed_has_the_worst_scores(runs_dir, capsys):
    run = make_run(runs_dir, "dead", ROWS, [None, None, None])
    assert _score(run) == 1
    scored = run.metrics("answer_match")
    means = {name: (estimate.mean, estimate.n) for name, estimate in scored.metrics.items()}
    assert means["f1"] == means["corpus_bleu"] == (0.0, 3)
    assert means["value_accuracy"] == (0.0, 2), "one row names no value"
    assert (scored.answered_only["f1"].mean, scored.answered_only["f1"].n) == (None, 0)
    assert scored.evaluation is not None
    assert scored.evaluation.column_mapping["answer"] == "${run.outputs.answer}"
    assert "3 of 3 lines failed in the run" in capsys.readouterr().err


def test_changed_data_is_refused(runs_dir, capsys):
    run = make_run(runs_dir, "old", ROWS, ["Paris", "Rome", "Madrid"])
    write_rows(runs_dir / "old.data.jsonl", ROWS[::-1])
    assert _score(run) == 2
    assert "has changed since run old was made" in capsys.readouterr().err


def test_a_foreign_flows_numbers_truth_values_and_nulls_are_scores_and_its_texts_are_not(runs_dir, tmp_path):
    tool = (
        "def grade(answer: str) -> dict:\n"
        "    if answer == 'boom':\n"
        "        raise KeyError('no verdict')\n"
        "    stars = float('nan') if answer == 'nan' else len(answer)\n"
        "    return {'stars': stars, 'right': answer == 'ab', 'bonus': None, 'reason': 'because'}\n"
    )
    total = "def total(grades: list) -> None:\n    log_metric('best', max(one['stars'] for one in grades))\n"
    flow = _foreign_flow(tmp_path / "grades", tool, ["stars", "right", "bonus", "reason"], aggregation=total)
    run = make_run(runs_dir, "foreign", [*ROWS, {"question": "?"}], ["ab", "abc", "boom", "nan"])
    assert _score(run, flow=flow) == 1
    lines, metrics = run.scores("grades"), run.metrics("grades").metrics
    assert [line.scores for line in lines] == [
        {"stars": 2.0, "right": 1.0, "bonus": None},
        {"stars": 3.0, "right": 0.0, "bonus": None},
        {},
        {},
    ]
    assert [line.error.message for line in lines if line.error] == [
        "'no verdict'",
        "the evaluation flow's output stars is nan",
    ]
    stars, bonus = metrics["stars"], metrics["bonus"]
    assert (stars.n, stars.n_failed, stars.n_unscored) == (2, 2, 2), "the candidate is not charged with them"
    assert (bonus.mean, bonus.n, bonus.n_failed) == (None, 0, 0), "it applies to no line"
    assert (metrics["best"].mean, metrics["best"].n, metrics["best"].method) == (3.0, 2, "aggregation")


def test_a_range_of_scores_is_kept_and_what_is_outside_of_it_is_no_score(runs_dir, tmp_path):
    tool = "def grade(answer: str) -> dict:\n    return {'severity': len(answer), 'share': 1.0}\n"
    flow = _foreign_flow(tmp_path / "severity", tool, ["severity", "share"])
    with (flow / "flow.dag.yaml").open("a", encoding="utf-8") as file:
        file.write("\ntags: {score_ranges: severity 0..7}\n")
    run = make_run(runs_dir, "first", ROWS, ["", "", "far too long"])
    assert _score(run, flow=flow) == 1
    metrics = run.metrics("severity")
    assert metrics.score_ranges == {"severity": (0.0, 7.0)}
    assert (metrics.metrics["severity"].method, metrics.metrics["share"].method) == ("wilson, 0 to 7", "wilson")
    error = run.scores("severity")[2].error
    assert error is not None
    assert error.message == "the evaluation flow's output severity is 12, outside of 0..7"


@pytest.mark.parametrize("tag", ["severity", "severity 7..0", "severity 0 to 7", "severity 0..7; share 0..1"])
def test_a_range_that_cannot_be_read_is_refused(runs_dir, tmp_path, capsys, tag):
    flow = _foreign_flow(tmp_path / "severity", "def grade(answer: str) -> dict:\n    return {}\n", ["severity"])
    with (flow / "flow.dag.yaml").open("a", encoding="utf-8") as file:
        file.write(f"\ntags: {{score_ranges: '{tag}'}}\n")
    assert _score(make_run(runs_dir, "first", ROWS, ["", "", ""]), flow=flow) == 2
    assert f"the tag score_ranges has {tag!r}, not NAME LOW..HIGH" in capsys.readouterr().err


def test_several_flows_share_one_mapping(runs_dir, tmp_path, capsys):
    flow = _foreign_flow(tmp_path / "grades", "def grade(answer: str) -> dict:\n    return {'one': 1}\n", ["one"])
    run = make_run(runs_dir, "both", ROWS, ["Paris", "Rome", "Madrid"])
    assert _score(run, "--flow", flow, "--column-mapping", "ground_truth=Rome", "--json") == 0
    assert {"answer_match.f1", "grades.one"} < set(json.loads(capsys.readouterr().out)["metrics"])
    assert _score(run, "--flow", flow, "--column-mapping", "truth=Rome") == 2
    assert "column_mapping.truth names no input" in capsys.readouterr().err


def test_lines_whose_conversation_begins_as_one_in_train_are_reported(runs_dir, capsys):
    chat = [{"role": "user", "content": "The capital of Peru?"}, {"role": "assistant", "content": "Paris"}]
    later = {"question": "And its river?", "chat_history": [{"inputs": ROWS[0], "outputs": {"answer": "Paris"}}]}
    run = make_run(runs_dir, "leaky", [*ROWS, {**later, "ground_truth": "Seine"}], ["Paris", "Rome", "Madrid", "Seine"])
    write_rows(runs_dir / "train.jsonl", [{"messages": "no chat"}, {"messages": chat}])
    assert _score(run, "--json") == 0
    assert json.loads(capsys.readouterr().out)["leaked_lines"] == []
    chat[0]["content"] = "The capital  of FRANCE"
    write_rows(runs_dir / "validation.jsonl", [{"messages": chat}])
    assert _score(run, "--json") == 0
    output = capsys.readouterr()
    assert json.loads(output.out)["leaked_lines"] == [0, 3]
    assert "warning: 2 lines ask what train.jsonl or validation.jsonl" in output.err
