"""The same flow and evaluation through `pf` and through phi3flow give equal metrics, and each opens the other's run."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from phi3flow.cli.main import main
from phi3flow.runs.folder import RunFolder
from phi3flow.storage.jsonl import read_rows, write_rows
from tests.support.folders.pf_workspace import KEY, Workspace
from tests.support.paths import ROOT
from tests.support.servers.fault_endpoint import FaultEndpoint, Reply, Request

EVALUATION = ROOT / "flows" / "eval" / "answer_match"
MAPPING = ["answer=${run.outputs.answer}", "ground_truth=${data.ground_truth}", "values=${data.values}"]
TRUTHS = [("echo: Who founded Microsoft?", ["Microsoft"]), ("When?", ["1975"]), ("It is Paris: France", ["France"])]
REFUSED = {"question": "Too much?", "chat_history": [], "ground_truth": "Yes", "values": ["Yes"]}
ACCENTS = {"question": "Où? 在哪里?\n", "chat_history": [], "ground_truth": "echo: Où? 在哪里?", "values": ["Où"]}
LINES = ["Completed", "Completed", "Completed", "Failed", "Completed"]


def _answer(request: Request) -> Reply | None:
    return Reply(400, answer="too long") if request.question == REFUSED["question"] else None


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workspace]:
    """The chat flow with a ground truth for each line of its data; the endpoint refuses one of them."""
    folder = tmp_path_factory.mktemp("round_trip")
    with FaultEndpoint(_answer, key=KEY) as endpoint:
        workspace = Workspace(folder, endpoint)
        data = workspace.flow / "data.jsonl"
        rows = [row for _, row in read_rows(data)]
        truths = [{"ground_truth": truth, "values": values} for truth, values in TRUTHS]
        answered = [{**row, **truth} for row, truth in zip(rows, truths, strict=True)]
        write_rows(data, [*answered, REFUSED, ACCENTS])
        (folder / "connections").symlink_to(ROOT / "connections")
        workspace.pf("connection", "create", "--file", str(ROOT / "connections" / "phi3_endpoint.yml"))
        yield workspace


@pytest.fixture
def at_work(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let this process work where ``pf`` does: in the workspace's folder, with its HOME."""
    _enter(workspace, monkeypatch)


def _enter(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(workspace.home.parent)
    for name in ("HOME", "USERPROFILE", "PHI3_ENDPOINT", "PHI3_KEY"):
        monkeypatch.setenv(name, workspace.environment[name])


@pytest.fixture(scope="module")
def ours(workspace: Workspace) -> RunFolder:
    """A run by phi3flow, scored, and registered with ``pf``."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        _enter(workspace, monkeypatch)
        run_file = str(workspace.flow / "run.yml")
        assert main(["batch-run", str(workspace.flow), "--run", run_file, "--name", "ours"]) == 1
        assert main(["score", "ours", "--flow", str(EVALUATION), "--column-mapping", *MAPPING]) == 1
    run = RunFolder(workspace.home.parent / ".runs" / "ours")
    created = json.loads(workspace.pf("run", "create", "--source", str(run.path)))
    assert (created["name"], created["status"]) == ("ours", "Completed")
    assert created["properties"]["output_path"] == str(run.path)
    return run


@pytest.fixture(scope="module")
def theirs(workspace: Workspace) -> Path:
    """A run by ``pf`` of the same flow over the same data: its folder."""
    workspace.pf("run", "create", "--file", str(workspace.flow / "run.yml"), "--name", "theirs")
    return workspace.home / ".promptflow" / ".runs" / "theirs"


def _means(run: RunFolder, *, answered_only: bool = False) -> dict[str, float | None]:
    metrics = run.metrics("answer_match")
    estimates = metrics.metrics | (metrics.answered_only if answered_only else {})
    return {name: estimate.mean for name, estimate in estimates.items()}


def _evaluate_with_pf(workspace: Workspace, run: str) -> dict[str, float]:
    """Score with pf what ``run`` answered, and return what pf shows as metrics."""
    sources = ("--run", run, "--data", str(workspace.flow / "data.jsonl"), "--column-mapping", *MAPPING)
    workspace.pf("run", "create", "--flow", str(EVALUATION), *sources, "--name", f"{run}_scored")
    return json.loads(workspace.pf("run", "show-metrics", "--name", f"{run}_scored"))


def _cells(table: str) -> list[list[str]]:
    """Return the rows of a table of pf's without any space: it folds a cell over several lines, amid words too."""
    rows: list[list[str]] = []
    for line in table.splitlines():
        if line.startswith("+"):
            rows.append([])
        elif line.startswith("|"):
            cells = [cell.replace(" ", "") for cell in line.strip("|").split("|")]
            rows[-1] = [before + cell for before, cell in zip(rows[-1] or [""] * len(cells), cells, strict=True)]
    return [row for row in rows if row]


def _visualized(workspace: Workspace, name: str) -> dict[str, Any]:
    """Let pf draw a run, and return the data in its page. --html-path opens no browser."""
    page = workspace.home / f"{name}.html"
    workspace.pf("run", "visualize", "--names", name, "--html-path", str(page))
    found = re.search(r'window\.bulk_test_details_data = (".*")', page.read_text(encoding="utf-8"))
    assert found, page
    return json.loads(json.loads(found.group(1)))


def test_pf_shows_every_line_of_our_run_and_which_one_failed(workspace: Workspace, ours: RunFolder) -> None:
    head, *rows = _cells(workspace.pf("run", "show-details", "--name", "ours"))
    answers = [row[head.index("outputs.answer")] for row in rows]
    questions = [row[head.index("inputs.question")] for row in rows]
    assert len(rows) == len(LINES)
    assert answers[0] == "echo:WhofoundedMicrosoft?"
    assert (questions[3], answers[3]) == ("Toomuch?", "(Failed)")
    assert answers[4] == "echo:Où?在哪里?"


@pytest.mark.slow
def test_pf_draws_our_run_with_its_graph_and_its_error(workspace: Workspace, ours: RunFolder) -> None:
    page = _visualized(workspace, "ours")
    lines = page["detail"][0]["flow_runs"]
    assert [line["status"] for line in lines] == LINES
    assert lines[0]["output"] == {"answer": "echo: Who founded Microsoft?"}
    assert "HTTP 400" in lines[3]["error"]["message"]
    assert page["metadata"][0]["name"] == "ours"
    assert "name: chat" in page["metadata"][0]["dag"]
    assert page["metadata"][0]["metrics"]["answer_match.value_accuracy"] == 0.6


def test_pf_shows_what_we_scored_as_the_runs_metrics(workspace: Workspace, ours: RunFolder) -> None:
    shown = json.loads(workspace.pf("run", "show-metrics", "--name", "ours"))
    assert shown["answer_match.value_accuracy"] == 0.6
    assert shown == {f"answer_match.{name}": mean for name, mean in _means(ours).items()}


@pytest.mark.slow
def test_pf_scores_our_run_as_we_do(workspace: Workspace, ours: RunFolder) -> None:
    assert _evaluate_with_pf(workspace, "ours") == pytest.approx(_means(ours, answered_only=True), abs=1e-9)


def test_pf_and_phi3flow_give_one_result(workspace: Workspace, ours: RunFolder, theirs: Path) -> None:
    assert _evaluate_with_pf(workspace, "theirs") == pytest.approx(_means(ours, answered_only=True), abs=1e-9)


@pytest.mark.usefixtures("at_work")
def test_a_run_of_pf_is_scored_compared_and_reported_like_our_own(
    ours: RunFolder, theirs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["score", "theirs", "--flow", str(EVALUATION), "--column-mapping", *MAPPING]) == 1
    assert (
        "1 of 5 lines failed in the run and count as the worst score; the first: line 3: EndpointError: "
        in capsys.readouterr().err
    )
    scored = RunFolder(theirs)
    assert _means(scored) == pytest.approx(_means(ours))
    assert [line.line_id for line in scored.results()] == [line.line_id for line in ours.results()]
    assert [line.outputs for line in scored.results()] == [line.outputs for line in ours.results()]
    assert [line.status for line in scored.results()] == LINES

    assert main(["compare", "ours", str(theirs), "--json"]) == 0
    comparison = json.loads(capsys.readouterr().out)
    assert (comparison["baseline"], comparison["candidate"], comparison["n_paired"]) == ("ours", "theirs", 5)
    assert comparison["unmatched"] == {"baseline": 0, "candidate": 0}
    accuracy = comparison["metrics"]["answer_match.value_accuracy"]
    assert (accuracy["n"], accuracy["ties"], accuracy["difference"]["mean"]) == (5, 5, 0.0)

    assert main(["report", "ours", "theirs", "--output", "report.html"]) == 0
    report = Path("report.html").read_text(encoding="utf-8")
    assert "theirs" in report
    assert "made_by = pf run create" in report


@pytest.mark.slow
@pytest.mark.usefixtures("at_work")
def test_a_column_that_pf_reads_as_a_date_is_no_change_of_the_data(
    workspace: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    """pf gives the flow another text than the file has."""
    data = workspace.flow / "dates.jsonl"
    write_rows(data, [{"datetime": "2024-01-31", "ground_truth": "echo: 2024-01-31"}])
    mapping = ("--column-mapping", "question=${data.datetime}")
    workspace.pf("run", "create", "--flow", str(workspace.flow), "--data", str(data), *mapping, "--name", "dated")
    assert main(["score", "dated", "--flow", str(EVALUATION), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["metrics"]["answer_match.f1"]["n"] == 1
    (result,) = RunFolder(workspace.home / ".promptflow" / ".runs" / "dated").results()
    assert result.inputs["question"] != "2024-01-31"


@pytest.mark.slow
@pytest.mark.usefixtures("at_work")
def test_pf_still_opens_and_deletes_a_run_of_its_own_that_we_scored(
    workspace: Workspace, theirs: Path, tmp_path: Path
) -> None:
    """The last test of the module: the run is gone after it."""
    assert main(["score", "theirs", "--runs-dir", str(tmp_path), "--flow", str(EVALUATION)]) == 1
    assert "answer_match.f1" in json.loads(workspace.pf("run", "show-metrics", "--name", "theirs"))
    assert len(_cells(workspace.pf("run", "show-details", "--name", "theirs"))) == 1 + len(LINES)
    assert [line["status"] for line in _visualized(workspace, "theirs")["detail"][0]["flow_runs"]] == LINES
    workspace.pf("run", "delete", "--name", "theirs", "--yes")
    assert not theirs.exists()
    assert main(["score", "theirs", "--flow", str(EVALUATION)]) == 2
