"""answer_quality under `pf run create` gives the metrics that `phi3flow score` gives, by the same judge."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from phi3flow.storage.jsonl import read_rows, write_rows
from tests.support.folders.pf_workspace import PF
from tests.support.paths import ROOT
from tests.support.servers.fault_endpoint import Request, Scripted
from tests.support.servers.scripted_judge import FLOW, KEY, JudgedRun, judge

ROWS: list[dict[str, Any]] = [
    {"question": f"Question {number}?", "ground_truth": "It is so.", "context": f"Fact {number}."}
    for number in range(6)
] + [{"question": "No context?", "ground_truth": "", "context": ""}]
ANSWERS = ["Yes.", "No.", "Perhaps.", "", "I refuse", "It's so.", "Fine."]


def _verdict(metric: str, part: str, request: Request) -> Scripted:
    """A verdict that depends on the line and the metric only; one line's fluency is refused."""
    if metric == "fluency" and "I refuse" in part:
        return "I cannot rate this."
    return str(1 + hashlib.sha256(f"{metric} {part}".encode()).digest()[0] % 5)


@pytest.mark.slow
def test_a_pf_run_of_the_flow_equals_our_score(tmp_path: Path, own_home: Path) -> None:
    flow = tmp_path / "alone" / "answer_quality"
    shutil.copytree(FLOW, flow, ignore=shutil.ignore_patterns("__pycache__", ".promptflow"))
    data = tmp_path / "answered.jsonl"
    write_rows(data, [{**row, "answer": answer} for row, answer in zip(ROWS, ANSWERS, strict=True)])
    with judge(_verdict) as endpoint:
        environment = {**os.environ, "JUDGE_BASE_URL": f"{endpoint.base_url}/v1", "JUDGE_KEY": KEY}

        def pf(*arguments: str) -> None:
            done = subprocess.run([PF, *arguments], env=environment, capture_output=True, text=True, cwd=tmp_path)
            assert done.returncode == 0, done.stdout + done.stderr
            assert KEY not in done.stdout + done.stderr

        pf("connection", "create", "--file", str(ROOT / "connections" / "judge_local.yml"))
        mapping = [f"{name}=${{data.{name}}}" for name in ("answer", "question", "context", "ground_truth")]
        chosen = ["--connections", "judge_line.connection=judge_local", "judge_line.model=phi3"]
        create = ["run", "create", "--name", "theirs", "--flow", str(flow), "--data", str(data)]
        pf(*create, "--column-mapping", *mapping, *chosen)
        by_pf = len(endpoint.requests)
        ours = JudgedRun(tmp_path, endpoint, ROWS, ANSWERS)
        assert ours.score().returncode == 1
        assert len(endpoint.requests) == 2 * by_pf
    record = own_home / ".promptflow" / ".runs" / "theirs"
    theirs = json.loads((record / "metrics.json").read_text(encoding="utf-8"))
    assert {name: one.mean for name, one in ours.metrics.metrics.items()} == pytest.approx(theirs, abs=1e-9)
    assert theirs["failed_verdicts"] == 1.0
    outputs = {row["line_number"]: row for _, row in read_rows(record / "flow_outputs" / "output.jsonl")}
    for line in ours.lines:
        assert (line.status == "Completed") == (line.line_number in outputs)
        if line.status == "Completed":
            assert line.scores == {name: outputs[line.line_number][name] for name in line.scores}
            assert line.failures == outputs[line.line_number]["failures"]
    assert 3 not in outputs
    assert list(ours.lines[4].failures) == ["fluency"]
    assert ours.lines[6].scores["relevance"] is None
