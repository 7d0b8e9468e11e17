"""Early stopping is a property of the command: its order, its mapping, its failed lines and its level."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from phi3flow.cli.main import main
from phi3flow.runs.folder import RunFolder
from tests.support.data_forms import write_form
from tests.support.flows.foreign_flows import write_lines
from tests.support.paths import FLOWS

LINES = 240
CODE = """
import random
from promptflow.core import tool

@tool
def ask(question: str, right: int, fails: int) -> dict:
    number = int(question[1:])
    drawn = random.Random(number).random() * 100
    is_right = drawn < right
    if not is_right and random.Random(-number).random() * 100 < fails:
        raise ValueError("no answer")
    answer = f"a{number}" if is_right else "I do not know."
    return {"answer": answer, "raw": answer if number % 2 else "a" + answer}
"""
VARIANTS = {"base": (33, 0), "equal": (33, 0), "good": (75, 0), "better": (90, 0), "failing": (33, 60)}
EVALUATION = "flows/eval/answer_match"
STOP = ("--baseline", "base", "--stop-when-decided", "answer_match.exact_match")


@pytest.fixture
def flow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A flow of several variants in the working directory, with 240 lines, three to a conversation."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(FLOWS / "eval" / "answer_match", tmp_path / EVALUATION)
    rows = [{"question": f"q{n}", "ground_truth": f"a{n}", "conversation_id": str(n // 3)} for n in range(LINES)]
    write_lines(tmp_path / "lines.jsonl", rows)
    return _write_flow(tmp_path / "flow", {"answer": "${ask.output.answer}", "raw": "${ask.output.raw}"})


def _write_flow(folder: Path, outputs: dict[str, str]) -> Path:
    source = {"type": "python", "source": {"type": "code", "path": "ask.py"}}
    variants = {
        name: {"node": {**source, "inputs": {"question": "${inputs.question}", "right": right, "fails": fails}}}
        for name, (right, fails) in VARIANTS.items()
    }
    dag = {
        "inputs": {"question": {"type": "string"}},
        "outputs": {name: {"type": "string", "reference": reference} for name, reference in outputs.items()},
        "nodes": [{"name": "ask", "use_variants": True}],
        "node_variants": {"ask": {"default_variant_id": "base", "variants": variants}},
    }
    folder.mkdir()
    (folder / "flow.dag.yaml").write_text(yaml.safe_dump(dag, sort_keys=False), encoding="utf-8")
    (folder / "ask.py").write_text(CODE, encoding="utf-8")
    return folder


def _batch_run(flow: Path, capsys: pytest.CaptureFixture[str], variants: Sequence[str], *flags: str) -> dict[str, Any]:
    chosen = [flag for variant in variants for flag in ("--variant", f"${{ask.{variant}}}")]
    main(["batch-run", str(flow), "--data", "lines.jsonl", "--concurrency", "4", "--json", *chosen, *flags])
    return json.loads(capsys.readouterr().out)  # type: ignore[no-any-return]


def _baseline(flow: Path, capsys: pytest.CaptureFixture[str], *mapping: str) -> None:
    _batch_run(flow, capsys, ["base"], "--name", "base")
    assert main(["score", "base", "--flow", EVALUATION, "--quiet", *mapping]) == 0
    capsys.readouterr()


def test_equal_answers_tie_whatever_output_the_baseline_was_scored_by(
    flow: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _baseline(flow, capsys, "--column-mapping", "answer=${run.outputs.raw}")
    early = _batch_run(flow, capsys, ["equal"], "--name", "run", *STOP)["stopped_early"]
    assert (early["verdict"], early["difference"]["mean"], early["ties"]) == ("undecided", 0.0, LINES)
    assert 0 < early["baseline_mean"] == early["candidate_mean"] < 0.25, "half of the right answers"


@pytest.mark.slow
def test_a_table_of_the_same_lines_is_stopped_alike(
    flow: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    _baseline(flow, capsys)
    by_lines = _batch_run(flow, capsys, ["good"], "--name", "lines", *STOP)["stopped_early"]
    rows = [json.loads(line) for line in (tmp_path / "lines.jsonl").read_text(encoding="utf-8").splitlines()]
    write_form(tmp_path / "lines.csv.gz", rows)
    by_table = _batch_run(flow, capsys, ["good"], "--name", "table", "--data", "lines.csv.gz", *STOP)["stopped_early"]
    assert by_table == by_lines
    assert by_table["verdict"] == "better"
    assert by_table["n"] < LINES


def test_a_flow_without_the_output_that_the_baseline_was_scored_by_is_refused(
    flow: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    _baseline(flow, capsys, "--column-mapping", "answer=${run.outputs.raw}")
    other = _write_flow(tmp_path / "other", {"answer": "${ask.output.answer}"})
    assert main(["batch-run", str(other), "--data", "lines.jsonl", "--name", "run", *STOP]) == 2
    message = capsys.readouterr().err
    assert "--baseline base was scored with answer=${run.outputs.raw}, and this flow gives no such output" in message
    assert not (tmp_path / ".runs" / "run").exists()


def test_a_candidate_that_fails_where_it_is_wrong_is_undecided_and_says_so(
    flow: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _baseline(flow, capsys)
    summary = _batch_run(flow, capsys, ["failing"], "--name", "run", *STOP)
    early, failed = summary["stopped_early"], summary["counts"]["failed"]
    assert failed > 60
    assert (early["verdict"], early["n"], early["failed"]) == ("undecided", LINES, {"baseline": 0, "candidate": failed})
    assert early["difference"]["mean"] == 0.0, "a failed line is as wrong as a wrong one"
    assert early["answered_only"]["n"] == LINES - failed


@pytest.mark.slow
def test_a_larger_limit_goes_on_with_the_same_test(
    flow: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    _baseline(flow, capsys)
    first = _batch_run(flow, capsys, ["equal"], "--name", "run", "--limit", "50", *STOP)
    assert first["counts"] == {"total": 50, "completed": 50, "failed": 0, "retries": 0}
    assert (first["stopped_early"]["verdict"], first["stopped_early"]["n"]) == ("undecided", 48), "whole conversations"
    run = RunFolder(tmp_path / ".runs" / "run")
    before = {result.line_number for result in run.results()}
    assert max(before) > 150, "the order is that of all the data"
    kept = (run.path / "early_stop.jsonl").read_text(encoding="utf-8")

    second = _batch_run(flow, capsys, ["equal"], "--name", "run", "--limit", "100", *STOP)["stopped_early"]
    assert second["n"] == 99
    assert before < {result.line_number for result in run.results()}
    assert (run.path / "early_stop.jsonl").read_text(encoding="utf-8").startswith(kept), "scored once"
    at_once = _batch_run(flow, capsys, ["equal"], "--name", "other", "--limit", "100", *STOP)["stopped_early"]
    assert second == at_once

    without = _batch_run(flow, capsys, ["equal"], "--name", "run")
    assert without["counts"]["completed"] == LINES
    assert without["stopped_early"] == second, "a test without a verdict cannot be left"
    refused = ["--variant", "${ask.equal}", "--name", "run", "--baseline", "base", "--stop-when-decided", "f1"]
    assert main(["batch-run", str(flow), "--data", "lines.jsonl", *refused]) == 2
    assert "the run was tested by answer_match.exact_match against base" in capsys.readouterr().err
    assert _batch_run(flow, capsys, ["equal"], "--name", "run", *STOP)["stopped_early"]["n"] == LINES


def test_several_candidates_share_the_level_and_are_compared_with_the_baseline(
    flow: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _baseline(flow, capsys)
    found = _batch_run(flow, capsys, ["good", "better"], *STOP)
    early = [run["stopped_early"] for run in found["runs"]]
    assert [test["verdict"] for test in early] == ["better", "better"]
    assert [test["level"] for test in early] == [0.025, 0.025]
    assert all(test["p"] <= 0.025 for test in early)
    assert [comparison["baseline"] for comparison in found["comparisons"]] == ["base", "base"]
    holm = [comparison["metrics"]["answer_match.exact_match"]["p_holm"] for comparison in found["comparisons"]]
    assert max(holm) <= 0.05


def test_a_run_is_not_tested_against_itself(flow: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _baseline(flow, capsys)
    assert main(["batch-run", str(flow), "--data", "lines.jsonl", "--name", "base", *STOP]) == 2
    assert "--baseline base: is the run itself: give the run another --name" in capsys.readouterr().err
