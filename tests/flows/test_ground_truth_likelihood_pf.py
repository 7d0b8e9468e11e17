"""ground_truth_likelihood under `pf` itself gives the figures that `phi3flow score` gives."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from phi3flow.flows import load_flow
from phi3flow.scoring import score_run
from phi3flow.storage.jsonl import read_rows, write_rows
from tests.flows.test_ground_truth_likelihood import FLOW, ROWS
from tests.support.folders.answered_runs import make_run
from tests.support.folders.pf_workspace import PF
from tests.support.folders.tiny_phi3 import save_tiny_phi3
from tests.support.paths import ROOT
from tests.support.servers.serving import KEY, ServerProcess


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    folder = tmp_path_factory.mktemp("likelihood")
    with ServerProcess(save_tiny_phi3(folder / "tiny"), folder / "log") as running:
        yield running


@pytest.fixture
def pf(server: ServerProcess, tmp_path: Path, own_home: Path) -> Callable[..., str]:
    """Run pf in ``tmp_path``, whose store has the connection of the repository."""
    environment = os.environ | {"PHI3_ENDPOINT": f"{server.base_url}/score", "PHI3_KEY": KEY}

    def run(*arguments: str) -> str:
        done = subprocess.run([PF, *arguments], env=environment, capture_output=True, text=True, cwd=tmp_path)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    run("connection", "create", "--file", str(ROOT / "connections" / "phi3_endpoint.yml"))
    return run


@pytest.mark.slow
def test_a_pf_run_of_the_flow_equals_our_score(
    server: ServerProcess, pf: Callable[..., str], tmp_path: Path, own_home: Path
) -> None:
    data = tmp_path / "data.jsonl"
    rows = [{"context": "", **row} for row in ROWS]
    write_rows(data, rows)
    mapping = [f"{name}=${{data.{name}}}" for name in ("question", "ground_truth", "context")]
    pf("run", "create", "--name", "theirs", "--flow", str(FLOW), "--data", str(data), "--column-mapping", *mapping)
    record = own_home / ".promptflow" / ".runs" / "theirs"
    theirs = json.loads((record / "metrics.json").read_text(encoding="utf-8"))
    outputs = {row.pop("line_number"): row for _, row in read_rows(record / "flow_outputs" / "output.jsonl")}

    def connection(name: str) -> dict[str, Any]:
        value = {"endpoint": f"{server.base_url}/score", "key": KEY}
        return {"type": "CustomConnection", "value": value, "secret_keys": ["key"]}

    run = make_run(tmp_path / ".runs", "ours", rows, ["Bill", "Paris", "In China"])
    ours = score_run(run, flow=load_flow(FLOW), connections=connection).metrics
    assert theirs.keys() == {"log_likelihood", "tokens", "perplexity", "corpus_perplexity"}
    assert {name: one.mean for name, one in ours.items()} == pytest.approx(theirs, rel=1e-9)
    scores = [score.scores | {"absent": score.absent} for score in run.scores("ground_truth_likelihood")]
    assert scores == [outputs[place] for place in range(3)]
    assert KEY not in "".join(path.read_text("utf-8", "replace") for path in record.rglob("*") if path.is_file())


@pytest.mark.slow
def test_pf_validates_the_flow_and_finds_the_tools_that_are_committed(pf: Callable[..., str], tmp_path: Path) -> None:
    flow = tmp_path / FLOW.name
    shutil.copytree(FLOW, flow, ignore=shutil.ignore_patterns("__pycache__", ".promptflow"))
    assert '"Succeeded"' in pf("flow", "validate", "--source", str(flow))
    found = (flow / ".promptflow" / "flow.tools.json").read_text(encoding="utf-8")
    assert json.loads(found) == json.loads((FLOW / ".promptflow" / "flow.tools.json").read_text(encoding="utf-8"))
