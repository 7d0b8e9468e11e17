"""Data in any form, as commands take them: the answers, scores and files of the same rows in JSON Lines."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from phi3flow.errors import DatasetError
from phi3flow.runs.folder import RunFolder
from phi3flow.runs.promptflow_runs import open_run
from tests.support.command_line import Done, phi3flow
from tests.support.data_forms import FORMS, write_csv, write_form
from tests.support.flows.answer_match import FLOW as ANSWER_MATCH
from tests.support.flows.foreign_flows import ECHO, write_flow, write_lines

ROWS: list[dict[str, Any]] = [
    {"id": "007", "question": 'Who said "hi",\nand why?', "answer": "Ana", "ground_truth": "Ana", "kind": None},
    {"id": "NA", "question": "어디? 🙂; x", "answer": "서울", "ground_truth": "부산", "kind": "1,5"},
    {"id": "1e5", "question": "null", "answer": "NaN", "ground_truth": "NaN", "kind": "TRUE"},
]
PF = str(Path(sys.executable).with_name("pf"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_flow(tmp_path / "flow", ECHO)
    write_lines(tmp_path / "rows.jsonl", ROWS)
    return tmp_path


def batch_run(folder: Path, data: str, *flags: object) -> Done:
    return phi3flow("batch-run", "flow", "--data", data, "--concurrency", 2, *flags, cwd=folder)


def answers(folder: Path, name: str) -> list[Any]:
    results = RunFolder(folder / ".runs" / name).results()
    return [(result.line_number, result.line_id, result.inputs, result.outputs) for result in results]


@pytest.mark.slow
def test_a_flow_answers_every_form_alike(folder: Path) -> None:
    assert batch_run(folder, "rows.jsonl", "--name", "lines").returncode == 0
    expected = answers(folder, "lines")
    assert [output["answer"] for *_, output in expected] == [row["question"].upper() for row in ROWS]
    assert RunFolder(folder / ".runs" / "lines").data_rows() == ROWS
    for number, form in enumerate(FORMS):
        (folder / f"d{number}").mkdir()
        data = write_form(folder / f"d{number}" / form, ROWS)
        done = batch_run(folder, str(data), "--name", f"run{number}")
        assert done.returncode == 0, (form, done.stderr)
        assert answers(folder, f"run{number}") == expected, form
        assert RunFolder(folder / ".runs" / f"run{number}").data_rows() == ROWS, form


def test_a_folder_is_one_run_over_its_files(folder: Path) -> None:
    for name, rows in {"a.jsonl": ROWS[:1], "b.CSV": ROWS[1:2], "c/d.parquet": ROWS[2:]}.items():
        (folder / "data" / name).parent.mkdir(parents=True, exist_ok=True)
        write_form(folder / "data" / name, rows)
    assert batch_run(folder, "rows.jsonl", "--name", "lines").returncode == 0
    assert batch_run(folder, "data", "--name", "folder").returncode == 0
    assert answers(folder, "folder") == answers(folder, "lines")
    scored = phi3flow("score", "folder", "--flow", ANSWER_MATCH, "--json", cwd=folder)
    assert scored.returncode == 0, scored.stderr
    assert json.loads(scored.stdout)["metrics"]["answer_match.exact_match"]["n"] == 3


@pytest.mark.parametrize("data", ["a.csv", "a.json.gz", "a.parquet", "folder"])
def test_a_run_goes_on_with_the_same_data_and_is_refused_with_others(folder: Path, data: str) -> None:
    (folder / "folder").mkdir()
    written = folder / "folder" / "a.tsv" if data == "folder" else folder / data
    write_form(written, ROWS)
    assert batch_run(folder, data, "--name", "run", "--limit", 2).returncode == 0
    first = answers(folder, "run")
    assert [number for number, *_ in first] == [0, 1]
    again = batch_run(folder, data, "--name", "run", "--limit", 2, "--json")
    assert (again.returncode, json.loads(again.stdout)["counts"]["completed"]) == (0, 2)
    write_form(written, [*ROWS[:2], {**ROWS[2], "question": "another"}])
    changed = batch_run(folder, data, "--name", "run", "--limit", 2)
    assert changed.returncode == 2
    assert "data" in changed.stderr
    assert answers(folder, "run") == first
    scored = phi3flow("score", "run", "--flow", ANSWER_MATCH, cwd=folder)
    assert (scored.returncode, "has changed since run run was made" in scored.stderr) == (2, True)


def test_repeated_rows_and_repeats_are_named_as_in_json_lines(folder: Path) -> None:
    rows = [ROWS[0], ROWS[0], {**ROWS[1], "line_id": "7"}, {**ROWS[1], "line_id": "7"}]
    rows = [{**row, "line_id": row.get("line_id")} for row in rows]
    write_lines(folder / "twice.jsonl", rows)
    write_csv(folder / "twice.csv", rows, delimiter=";")
    for name in ("twice.jsonl", "twice.csv"):
        assert batch_run(folder, name, "--name", name, "--repeats", 2).returncode == 0
    assert answers(folder, "twice.csv") == answers(folder, "twice.jsonl")
    assert len({line_id for _, line_id, *_ in answers(folder, "twice.csv")}) == 8


def test_a_run_yml_names_a_table(folder: Path) -> None:
    write_csv(folder / "table.csv", [{"prompt": "hi"}], delimiter=";")
    (folder / "run.yml").write_text("data: table.csv\ncolumn_mapping:\n  question: ${data.prompt}\n")
    done = phi3flow("batch-run", "flow", "--run", "run.yml", "--name", "run", cwd=folder)
    assert done.returncode == 0, done.stderr
    assert [outputs for *_, outputs in answers(folder, "run")] == [{"answer": "HI"}]


TYPED = """
from promptflow.core import tool

@tool
def ask(question: str, count: int, share: float, known: bool, chat_history: list) -> str:
    return repr((question, count, share, known, chat_history))
"""
INPUTS: dict[str, dict[str, Any]] = {
    "question": {"type": "string"},
    "count": {"type": "int", "default": 3},
    "share": {"type": "double", "default": 0.5},
    "known": {"type": "bool", "default": False},
    "chat_history": {"type": "list", "default": []},
}


def test_a_cell_is_what_the_flows_input_says_and_an_empty_one_its_default(folder: Path) -> None:
    flow = write_flow(folder / "typed", TYPED)
    definition = yaml.safe_load((flow / "flow.dag.yaml").read_text())
    definition["inputs"] = INPUTS
    definition["nodes"][0]["inputs"] = {name: f"${{inputs.{name}}}" for name in INPUTS}
    (flow / "flow.dag.yaml").write_text(yaml.safe_dump(definition))
    cells = [["007", "7", "0.25", "true", '["a; b"]'], ["q", None, None, None, None], [None, "1", "1", "true", "[]"]]
    write_csv(folder / "typed.csv", [dict(zip(INPUTS, row, strict=True)) for row in cells], delimiter=";")
    done = phi3flow("batch-run", "typed", "--data", "typed.csv", "--name", "typed", cwd=folder)
    assert done.returncode == 1
    results = RunFolder(folder / ".runs" / "typed").results()
    assert [result.outputs and result.outputs["answer"] for result in results] == [
        "('007', 7, 0.25, True, ['a; b'])",
        "('q', 3, 0.5, False, [])",
        None,
    ]
    assert results[2].error is not None
    assert "question is null in this line" in results[2].error.message


@pytest.mark.parametrize("form", ["a.csv", "a.json", "a.parquet", "a.tsv.gz"])
def test_answers_in_any_form_are_scored_alike(folder: Path, form: str) -> None:
    write_form(folder / form, ROWS)
    means = []
    for data in ("rows.jsonl", form):
        done = phi3flow("score", "--data", data, "--flow", ANSWER_MATCH, "--json", cwd=folder)
        assert done.returncode == 0, done.stderr
        means.append(json.loads(done.stdout)["metrics"])
    assert means[0] == means[1]
    assert means[0]["answer_match.exact_match"]["mean"] == pytest.approx(2 / 3)


def test_a_missing_answer_is_a_failed_line_that_names_its_place(folder: Path) -> None:
    write_csv(folder / "a.csv", [*ROWS[:2], {**ROWS[2], "answer": None}], delimiter=";")
    assert phi3flow("score", "--data", "a.csv", "--flow", ANSWER_MATCH, cwd=folder).returncode == 1
    error = RunFolder(folder / ".runs" / "a").results()[2].error
    assert error is not None
    assert error.message == "a.csv:5: answer is null"


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("twice.csv", b"question,answer,question\n1,2,3\n", "twice.csv:1: two columns have the name 'question'"),
        ("few.csv", b'question;a\n"1\n2";3\nonly\n', "few.csv:4: 1 cell where the header has 2 columns: only"),
        ("latin.csv", b"question\ncaf\xe9\n", "latin.csv:2: not UTF-8 at byte 3: caf\\xe9"),
        ("excel.csv", "question;a\n1;2\n".encode("utf-16"), "excel.csv:1: UTF-16, not UTF-8"),
        ("texts.json", b'["a"]', 'texts.json:1: not a JSON object: "a"'),
        ("object.json", b'{"question": {"0": "a"}}', "object.json:1: one JSON object, not an array of them"),
        ("cut.jsonl.gz", b"\x1f\x8b\x08\x00", "cut.jsonl.gz cannot be unpacked, it is damaged or cut short"),
        ("no.parquet", b"PAR1", "no.parquet cannot be read as Parquet"),
        ("header.csv", b"question,answer\r\n", "header.csv: has no lines"),
        ("empty.csv", b"", "empty.csv: has no lines"),
        ("empty.json", b"[ ]\n", "empty.json: has no lines"),
        ("folder", None, "folder: the folder holds no data"),
    ],
)
def test_what_is_no_data_is_refused_before_anything_runs(
    folder: Path, name: str, content: bytes | None, said: str
) -> None:
    (folder / name).mkdir() if content is None else (folder / name).write_bytes(content)
    commands = [("batch-run", "flow", "--data", name), ("score", "--data", name, "--flow", ANSWER_MATCH)]
    for command in commands:
        done = phi3flow(*command, cwd=folder)
        assert done.returncode == 2
        assert said.replace("lines", "line") in done.stderr.replace("lines", "line")
    assert not (folder / ".runs").exists()


@pytest.mark.parametrize("form", FORMS)
def test_prepare_data_and_check_data_take_every_form(tmp_path: Path, form: str) -> None:
    rows = [{"question": f"Question {n}?", "answer": f"Line\n{n}", "topic": "x; y"} for n in range(20)]
    write_lines(tmp_path / "rows.jsonl", rows)
    (tmp_path / "d").mkdir()
    write_form(tmp_path / "d" / form, rows)
    for out, data in {"expected": "rows.jsonl", "file": f"d/{form}", "folder": "d"}.items():
        done = phi3flow("prepare-data", "--input", data, "--out", out, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        for name in ("train.jsonl", "test_lines.jsonl"):
            assert (tmp_path / out / name).read_bytes() == (tmp_path / "expected" / name).read_bytes()


@pytest.mark.parametrize("form", FORMS)
def test_check_data_counts_the_chats_of_every_form(tmp_path: Path, form: str) -> None:
    messages = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]
    is_table = form.lower().removesuffix(".gz").endswith(("csv", "tsv", "parquet"))
    (tmp_path / "d").mkdir()
    rows = [{"messages": json.dumps(messages) if is_table else messages, "n": str(n)} for n in range(3)]
    write_form(tmp_path / "d" / form, rows)
    for path in (f"d/{form}", "d"):
        done = phi3flow("check-data", path, "--tokenizer", "none", "--json", cwd=tmp_path)
        (checked,) = json.loads(done.stdout)["files"]
        assert (checked["file"], checked["examples"], checked["breaches"]) == (f"d/{form}", 3, [])


def test_check_data_names_the_file_of_a_folder(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "a.csv").write_text("question,answer\nq,a\n")
    (tmp_path / "d" / "b.json").write_text('[{"question": "q", "answer": "a"},\n{"question": "q"}]')
    done = phi3flow("check-data", "d", "--tokenizer", "none", cwd=tmp_path)
    assert done.returncode == 2
    assert "d/a.csv: 1 examples, 0 breaches" in done.stdout
    assert "d/b.json:2: the row has no shape that is known" in done.stdout


@pytest.mark.slow
def test_pf_answers_every_form_alike(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The real ``pf run create`` over the same files: a folder's too, and its runs are runs here."""
    monkeypatch.setenv("HOME", str(folder / "home"))
    monkeypatch.delenv("PF_HOME_DIRECTORY", raising=False)
    environment = {
        **os.environ,
        "PF_TRACING_SKIP_LOCAL_SETUP": "true",
        "PF_DISABLE_TRACING": "true",
        "APPLICATIONINSIGHTS_CONTROLPLANE_DISABLED": "true",
    }
    (folder / "home" / ".promptflow").mkdir(parents=True)
    (folder / "home" / ".promptflow" / "pf.yaml").write_text("telemetry:\n  enabled: false\n", encoding="utf-8")
    rows = [{key: value or "-" for key, value in row.items()} for row in ROWS]
    for form in ("a.csv", "b.tsv", "c.json", "d.parquet", "e.jsonl", "f"):
        data = folder / form
        if form == "f":
            data.mkdir()
        written = write_form(data / "a.csv" if form == "f" else data, rows)
        written.write_bytes(written.read_bytes().removeprefix(b"\xef\xbb\xbf"))  # which pandas refuses before JSON
        command = [PF, "run", "create", "--flow", "flow", "--data", form, "--name", f"pf-{data.stem}"]
        command += ["--column-mapping", "question=${data.question}"]
        done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        assert batch_run(folder, form, "--name", f"ours-{data.stem}").returncode == 0
        ours = RunFolder(folder / ".runs" / f"ours-{data.stem}").results()
        outputs = (folder / "home" / ".promptflow" / ".runs" / f"pf-{data.stem}" / "outputs.jsonl").read_text()
        assert [json.loads(line)["answer"] for line in outputs.splitlines()] == [
            result.outputs["answer"] for result in ours if result.outputs
        ], form
        if form == "f":
            with pytest.raises(DatasetError, match="is not a file"):  # in which order pf read it is not known
                open_run("pf-f", folder / ".runs")
        else:
            theirs = open_run(f"pf-{data.stem}", folder / ".runs").results()
            assert [(result.line_id, result.outputs) for result in theirs] == [
                (result.line_id, result.outputs) for result in ours
            ]
