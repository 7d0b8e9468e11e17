"""answer_match under `pf run create` gives the metrics that `phi3flow score` gives."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from phi3flow.flows import load_flow
from phi3flow.scoring import score_run
from phi3flow.storage.jsonl import read_rows, write_rows
from tests.support.flows.answer_match import FLOW
from tests.support.folders.answered_runs import make_run

ROWS: list[dict[str, Any]] = [
    {"question": "1", "ground_truth": "The warranty lasts 24 months.", "values": ["24 months"]},
    {"question": "2", "ground_truth": ["Rome", "Roma, 'the eternal city'"], "values": []},
    {"question": "3", "ground_truth": "1.10", "values": ["1.10"]},
    {"question": "4", "ground_truth": "北京是中国的首都。", "values": ["北京"]},
    {"question": "5", "ground_truth": [], "values": []},
    {"question": "6", "ground_truth": "x", "values": ["x"]},
    {"question": "7", "ground_truth": '["red", "green"]', "values": []},
    {"question": "8", "ground_truth": "[1, 2]", "values": [1, 2.5]},
]
ANSWERS = [
    *("It lasts 24 months", "roma the eternal city!", "1.1", "中国的首都是北京", "nothing", ""),
    *('["red", "green"]', "[1, 2]; 2,5"),
]


def _no_connection(name: str) -> dict[str, Any]:
    raise AssertionError(f"answer_match needs no connection, but asked for {name}")


@pytest.mark.slow
def test_a_pf_run_of_the_flow_equals_our_score(tmp_path: Path, own_home: Path) -> None:
    data = tmp_path / "answered.jsonl"
    write_rows(data, [{**row, "answer": answer} for row, answer in zip(ROWS, ANSWERS, strict=True)])
    mapping = [f"{name}=${{data.{name}}}" for name in ("answer", "ground_truth", "values")]
    command = [str(Path(sys.executable).parent / "pf"), "run", "create", "--name", "theirs", "--flow", str(FLOW)]
    command += ["--data", str(data), "--column-mapping", *mapping]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    record = own_home / ".promptflow" / ".runs" / "theirs"
    theirs = json.loads((record / "metrics.json").read_text(encoding="utf-8"))
    outputs = {row.pop("line_number"): row for _, row in read_rows(record / "flow_outputs" / "output.jsonl")}

    run = make_run(tmp_path / ".runs", "ours", ROWS, ANSWERS)
    ours = score_run(run, flow=load_flow(FLOW), connections=_no_connection).metrics
    assert {name: one.mean for name, one in ours.items()} == pytest.approx(theirs, abs=1e-9)
    for score in run.scores("answer_match"):
        assert (score.status == "Completed") == (score.line_number in outputs)
        assert score.scores == pytest.approx(outputs.get(score.line_number, {}), abs=1e-9)
    assert outputs[1]["value_accuracy"] is None
    assert outputs[6]["exact_match"] == 1.0
    assert outputs[7]["value_accuracy"] == 1.0
    assert 4 not in outputs
