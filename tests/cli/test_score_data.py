"""phi3flow score --data: answers that are in a file already become a run, which compare and gate take."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from phi3flow.runs.folder import RunFolder
from phi3flow.storage.jsonl import with_line_ids
from tests.cli.test_score import _foreign_flow
from tests.support.command_line import Done, phi3flow
from tests.support.flows.answer_match import FLOW
from tests.support.flows.foreign_flows import write_lines

ROWS = [
    {"question": "Capital of France?", "ground_truth": "Paris", "values": ["Paris"]},
    {"question": "Capital of Italy?", "ground_truth": "Rome", "values": []},
    {"question": "Capital of Spain?", "ground_truth": "Madrid", "values": ["Madrid"]},
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, answers in {"ours": ["Paris", "Rome", "Madrid"], "theirs": ["Paris", "Roma", None]}.items():
        rows = [{**row, "answer": answer} for row, answer in zip(ROWS, answers, strict=True)]
        write_lines(tmp_path / f"{name}.jsonl", rows)
    return tmp_path


def _score(folder: Path, data: str, *flags: object, flow: Path = FLOW) -> Done:
    return phi3flow("score", "--data", data, "--flow", flow, *flags, cwd=folder)


def _run(folder: Path, name: str) -> RunFolder:
    return RunFolder(folder / ".runs" / name)


def test_answers_of_a_file_become_a_run_named_after_it(folder):
    done = _score(folder, "theirs.jsonl", "--json")
    assert done.returncode == 1
    assert json.loads(done.stdout)["run"] == "theirs"
    run = _run(folder, "theirs")
    assert [result.status for result in run.results()] == ["Completed", "Completed", "Failed"]
    assert run.results()[0].outputs == {"answer": "Paris"}
    assert run.results()[0].inputs == ROWS[0]
    error = run.results()[2].error
    assert error is not None
    assert (error.type, error.message) == ("NoAnswer", "theirs.jsonl:3: answer is null")
    manifest = run.manifest
    assert (manifest.parameters.made_by, manifest.status, manifest.counts.failed) == ("score --data", "Completed", 1)
    scores = run.scores("answer_match")
    assert [score.scores.get("exact_match") for score in scores] == [1.0, 0.0, None]
    assert [score.line_id for score in scores] == [line_id for line_id, _ in with_line_ids(ROWS)]


def test_two_files_of_answers_pair_by_their_rows_and_are_gated(folder):
    _score(folder, "theirs.jsonl")
    _score(folder, "ours.jsonl")
    compared = phi3flow("compare", "theirs", "ours", "--json", cwd=folder)
    assert compared.returncode in (0, 1)
    assert json.loads(compared.stdout)["unmatched"] == {"baseline": 0, "candidate": 0}
    gated = phi3flow("gate", "ours", "--baseline", "theirs", "--rule", "f1 no worse than baseline by 0.9", cwd=folder)
    assert gated.returncode in (0, 1), gated.stderr
    assert phi3flow("report", "ours", "theirs", "--output", "report.html", cwd=folder).returncode == 0
    assert phi3flow("runs", "show", "ours", cwd=folder).returncode == 0


def test_the_same_command_finds_the_same_run_and_another_file_another(folder):
    _score(folder, "ours.jsonl")
    started = _run(folder, "ours").manifest.started_at
    again = _score(folder, "ours.jsonl")
    assert "3 of 3 lines were scored before and are kept" in again.stderr
    assert _run(folder, "ours").manifest.started_at == started
    write_lines(folder / "ours.jsonl", [{**row, "answer": "no"} for row in ROWS])
    name = json.loads(_score(folder, "ours.jsonl", "--json").stdout)["run"]
    assert name.startswith("ours-")
    assert _run(folder, name).metrics("answer_match").metrics["exact_match"].mean == 0.0
    assert _run(folder, "ours").results()[0].outputs == {"answer": "Paris"}


def test_a_column_of_another_name_is_named_by_the_mapping(folder):
    rows = [{**row, "a": "Paris", "b": row["ground_truth"]} for row in ROWS]
    write_lines(folder / "both.jsonl", rows)
    for column, mean in {"a": 1 / 3, "b": 1.0}.items():
        done = _score(folder, "both.jsonl", "--column-mapping", f"answer=${{data.{column}}}", "--json")
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["run"] == f"both-{column}"
        metrics = _run(folder, f"both-{column}").metrics("answer_match").metrics
        assert metrics["exact_match"].mean == pytest.approx(mean)


def test_a_flow_that_is_not_ours_reads_the_columns_of_its_inputs_names(folder):
    tool = "def grade(answer: str) -> dict:\n    return {'size': len(answer)}\n"
    flow = _foreign_flow(folder / "grades", tool, ["size"])
    definition = (flow / "flow.dag.yaml").read_text(encoding="utf-8")
    definition = definition.replace(
        "  answer: {type: string}", "  prediction: {type: string}\n  groundtruth: {type: string}"
    )
    (flow / "flow.dag.yaml").write_text(definition.replace("${inputs.answer}", "${inputs.prediction}"))
    write_lines(
        folder / "given.jsonl", [{"prediction": "ab", "groundtruth": "a"}, {"prediction": None, "groundtruth": "b"}]
    )
    assert _score(folder, "given.jsonl", flow=flow).returncode == 1
    run = _run(folder, "given-prediction")
    assert [(result.status, result.inputs) for result in run.results()] == [
        ("Completed", {"groundtruth": "a"}),
        ("Failed", {"groundtruth": "b"}),
    ]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "lines.jsonl: has no line"),
        (b'{"answer": "a", "ground_truth": "b"}\n\n{"answer": \n', "lines.jsonl:3: not JSON"),
        (b'{"reply": "a", "ground_truth": "b"}\n', "its columns are reply, ground_truth. Add --column-mapping answer="),
    ],
)
def test_a_file_without_answers_is_refused_where_it_breaks(folder, content, message):
    (folder / "lines.jsonl").write_bytes(content)
    done = _score(folder, "lines.jsonl")
    assert done.returncode == 2
    assert message in done.stderr
    assert not (folder / ".runs").exists()


def test_a_byte_order_mark_crlf_and_blank_lines_are_accepted(folder):
    (folder / "w.jsonl").write_bytes(
        b'\xef\xbb\xbf{"answer": "a", "ground_truth": "a"}\r\n\r\n{"ground_truth": "b"}\r\n'
    )
    assert _score(folder, "w.jsonl").returncode == 1
    assert [result.error and result.error.message for result in _run(folder, "w").results()] == [
        None,
        "w.jsonl:3: answer is null",
    ]


@pytest.mark.parametrize("arguments", [[], ["ours", "--data", "ours.jsonl"]])
def test_a_run_or_a_file_is_scored_not_both(folder, arguments):
    done = phi3flow("score", *arguments, cwd=folder)
    assert done.returncode == 2
    assert "give a RUN, or --data FILE" in done.stderr


@pytest.mark.slow
def test_pf_shows_the_run(folder):
    _score(folder, "theirs.jsonl")

    def pf(*arguments: str) -> str:
        command = [str(Path(sys.executable).parent / "pf"), "run", *arguments]
        return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True).stdout

    pf("create", "--source", ".runs/theirs")
    details = pf("show-details", "--name", "theirs")
    assert "Paris" in details
    assert "(Failed)" in details
    assert json.loads(pf("show-metrics", "--name", "theirs"))["answer_match.exact_match"] == pytest.approx(1 / 3, abs=1)


def test_answers_that_are_all_null_are_lines_that_failed(folder):
    rows = [{"question": f"q{k}", "ground_truth": "Paris", "values": ["Paris"], "answer": "Paris"} for k in range(12)]
    write_lines(folder / "right.jsonl", rows)
    write_lines(folder / "empty.jsonl", [{**row, "answer": None} for row in rows])
    done = _score(folder, "empty.jsonl", "--json")
    assert done.returncode == 1, done.stderr
    f1 = _run(folder, "empty").metrics("answer_match").metrics["f1"]
    assert (f1.mean, f1.n, f1.n_failed) == (0.0, 12, 12)
    assert (f1.low, f1.high) == (0.0, pytest.approx(0.2534, abs=1e-4))
    assert _score(folder, "right.jsonl").returncode == 0
    compared = phi3flow("compare", "right", "empty", "--metric", "f1", "--json", cwd=folder)
    assert json.loads(compared.stdout)["failed"] == {"baseline": 0, "candidate": 12}
    gated = phi3flow("gate", "empty", "--baseline", "right", "--rule", "f1 no worse than baseline by 0.1", cwd=folder)
    assert gated.returncode == 1, gated.stderr
