"""phi3flow score: a sample default of an evaluation flow is scored against nobody's answer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from phi3flow.cli.main import main
from phi3flow.runs.folder import RunFolder
from tests.support.command_line import Done, phi3flow
from tests.support.flows.foreign_flows import write_lines
from tests.support.folders.answered_runs import make_run

GRADE = """
from promptflow.core import tool

@tool
def grade(prediction: str, groundtruth: str, weight: float, **more):
    return {"match": weight * (prediction == groundtruth)}
"""
FLEX = """
SAMPLE = "APP"
WEIGHT = 1.0

class Grade:
    def __call__(self, prediction: str = SAMPLE, groundtruth: str = "APP", weight: float = WEIGHT):
        return {"match": weight * (prediction == groundtruth)}
"""
ROWS = [{"question": f"q{n}", "groundtruth": f"a{n}"} for n in range(3)]


def _dag(folder: Path, groundtruth: str = '{type: string, default: "APP"}') -> Path:
    folder.mkdir()
    (folder / "grade.py").write_text(GRADE, encoding="utf-8")
    (folder / "flow.dag.yaml").write_text(
        f"""
inputs:
  prediction: {{type: string, default: "APP"}}
  groundtruth: {groundtruth}
  weight: {{type: double, default: 1.0}}
outputs:
  match: {{type: double, reference: "${{grade.output.match}}"}}
nodes:
- name: grade
  type: python
  source: {{type: code, path: grade.py}}
  inputs: {{prediction: "${{inputs.prediction}}", groundtruth: "${{inputs.groundtruth}}", weight: "${{inputs.weight}}"}}
""",
        encoding="utf-8",
    )
    return folder


def _flex(folder: Path) -> Path:
    folder.mkdir()
    (folder / "grade.py").write_text(FLEX, encoding="utf-8")
    (folder / "flow.flex.yaml").write_text("entry: grade:Grade\n", encoding="utf-8")
    return folder


@pytest.fixture(params=[_dag, _flex], ids=["dag", "flex"])
def flow(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return request.param(tmp_path / "grade")  # type: ignore[no-any-return]


def _score(run: RunFolder, flow: Path, *mapping: str) -> int:
    return main(["score", str(run.path), "--flow", str(flow), *(["--column-mapping", *mapping] if mapping else [])])


def _rows(column: str) -> list[dict[str, Any]]:
    return [{"question": row["question"], column: row["groundtruth"]} for row in ROWS]


@pytest.mark.parametrize(
    ("column", "output", "flag"),
    [
        ("groundtruth", "answer", "prediction='${run.outputs.answer}'"),
        ("groundtruth", "category", "prediction='${run.outputs.category}'"),
        ("ground_truth", "prediction", "groundtruth='${data.ground_truth}'"),
        ("expected", "prediction", "groundtruth='${data.expected}'"),
        ("kind", "prediction", "groundtruth='${data.kind}'"),
        ("expected", "answer", "prediction='${run.outputs.answer}' groundtruth='${data.expected}'"),
    ],
)
def test_no_answer_is_scored_against_a_sample(tmp_path, capsys, flow, column, output, flag) -> None:
    run = make_run(tmp_path / ".runs", "r", _rows(column), ["APP", "a1", "a2"], output=output)
    assert _score(run, flow) == 2
    assert f"--column-mapping {flag}" in capsys.readouterr().err
    assert run.evaluations() == []


def test_the_columns_that_there_are_and_a_value_in_their_place_are_scored(tmp_path, capsys, flow) -> None:
    run = make_run(tmp_path / ".runs", "r", ROWS, ["APP", "a1", "a2"], output="prediction")
    assert _score(run, flow) == 0
    assert run.metrics("grade").metrics["match"].mean == pytest.approx(2 / 3)
    assert _score(run, flow, "groundtruth=APP") == 0
    assert run.metrics("grade").metrics["match"].mean == pytest.approx(1 / 3)
    assert "default" not in capsys.readouterr().err


@pytest.mark.parametrize("row", [{"question": "q1"}, {"question": "q1", "groundtruth": None}])
def test_a_line_without_a_truth_is_a_failed_score_not_one_against_the_sample(tmp_path, flow, row) -> None:
    run = make_run(tmp_path / ".runs", "r", [ROWS[0], row], ["a0", "APP"], output="prediction")
    assert _score(run, flow) == 1
    scores = run.scores("grade")
    assert scores[0].scores == {"match": 1.0}
    assert scores[1].error is not None
    assert "${data.groundtruth}" in scores[1].error.message


def test_a_null_answer_is_a_failed_score_too(tmp_path, flow) -> None:
    run = make_run(tmp_path / ".runs", "r", ROWS[:2], ["a0", "a1"], output="prediction")
    results = run.path / "results.jsonl"
    results.write_text(results.read_text("utf-8").replace('"prediction":"a1"', '"prediction":null'), encoding="utf-8")
    assert _score(run, flow) == 1
    error = run.scores("grade")[1].error
    assert error is not None
    assert error.message == "prediction is null in this line (${run.outputs.prediction})"


def test_a_truth_that_may_be_empty_still_is_where_a_line_has_none(tmp_path) -> None:
    flow = _dag(tmp_path / "grade", '{type: string, default: ""}')
    rows = [ROWS[0], {"question": "q1"}, {"question": "q2", "groundtruth": None}]
    run = make_run(tmp_path / ".runs", "r", rows, ["a0", "", ""], output="prediction")
    assert _score(run, flow) == 0
    assert run.metrics("grade").metrics["match"].mean == 1.0


def _score_data(folder: Path, flow: Path, row: dict[str, Any]) -> Done:
    write_lines(folder / "theirs.jsonl", [row])
    return phi3flow("score", "--data", "theirs.jsonl", "--flow", flow, cwd=folder)


def test_answers_of_a_file_are_not_scored_against_a_sample(tmp_path, flow) -> None:
    done = _score_data(tmp_path, flow, {"prediction": "APP", "expected": "a"})
    assert done.returncode == 2
    assert "--column-mapping groundtruth='${data.expected}'" in done.stderr
    assert _score_data(tmp_path, flow, {"prediction": "APP", "groundtruth": None}).returncode == 1


def test_our_own_evaluation_has_no_default_to_speak_of(tmp_path, capsys) -> None:
    rows = [{"prompt": row["question"], "ground_truth": row["groundtruth"]} for row in ROWS]
    run = make_run(tmp_path / ".runs", "r", rows, ["a0", "a1", "a2"])
    assert main(["score", str(run.path)]) == 0
    assert "default" not in capsys.readouterr().err
