"""The same flow and evaluation through `pf` and through phi3flow give equal metrics, and pf opens our run."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from phi3flow.cli.main import main
from phi3flow.jsonl import read_rows, write_rows
from phi3flow.run_store import RunFolder
from tests.fault_endpoint import FaultEndpoint
from tests.pf_workspace import KEY, ROOT, Workspace

EVALUATION = ROOT / "flows" / "eval" / "answer_match"
MAPPING = ["answer=${run.outputs.answer}", "ground_truth=${data.ground_truth}", "values=${data.values}"]
TRUTHS = [("echo: Who founded Microsoft?", ["Microsoft"]), ("When?", ["1975"]), ("It is Paris: France", ["France"])]


@pytest.fixture
def workspace(tmp_path: Path) -> Iterator[Workspace]:
    """The chat flow with a ground truth for each line of its data."""
    with FaultEndpoint(key=KEY) as endpoint:
        workspace = Workspace(tmp_path, endpoint)
        data = workspace.flow / "data.jsonl"
        rows = [row for _, row in read_rows(data)]
        truths = [{"ground_truth": truth, "values": values} for truth, values in TRUTHS]
        write_rows(data, [{**row, **truth} for row, truth in zip(rows, truths, strict=True)])
        (tmp_path / "connections").symlink_to(ROOT / "connections")
        workspace.pf("connection", "create", "--file", str(ROOT / "connections" / "phi3_endpoint.yml"))
        yield workspace


def test_pf_and_phi3flow_give_one_result(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = workspace.home.parent
    monkeypatch.chdir(folder)
    monkeypatch.setenv("PHI3_ENDPOINT", workspace.endpoint.url)
    monkeypatch.setenv("PHI3_KEY", KEY)
    run_file = str(workspace.flow / "run.yml")
    assert main(["batch-run", str(workspace.flow), "--run", run_file, "--name", "ours"]) == 0
    assert main(["score", "ours", "--flow", str(EVALUATION), "--column-mapping", *MAPPING]) == 0
    capsys.readouterr()
    ours = RunFolder(folder / ".runs" / "ours")
    expected = {name: one.mean for name, one in ours.metrics("answer_match").metrics.items()}
    assert expected["value_accuracy"] == pytest.approx(2 / 3)

    evaluate = ("run", "create", "--flow", str(EVALUATION), "--column-mapping", *MAPPING)
    workspace.pf("run", "create", "--file", run_file, "--name", "theirs")
    workspace.pf(*evaluate, "--run", "theirs", "--data", str(workspace.flow / "data.jsonl"), "--name", "theirs_scored")
    runs = workspace.home / ".promptflow" / ".runs"
    theirs = json.loads((runs / "theirs_scored" / "metrics.json").read_text(encoding="utf-8"))
    assert theirs == pytest.approx(expected, abs=1e-9)

    workspace.pf("run", "create", "--source", str(ours.path))
    assert workspace.pf("run", "show-details", "--name", "ours").count("echo: ") == 3
    workspace.pf(*evaluate, "--run", "ours", "--data", str(workspace.flow / "data.jsonl"), "--name", "ours_scored")
    scored = json.loads((runs / "ours_scored" / "metrics.json").read_text(encoding="utf-8"))
    assert scored == pytest.approx(expected, abs=1e-9)
