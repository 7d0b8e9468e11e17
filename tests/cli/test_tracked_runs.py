"""phi3flow report --mlflow, against a real MLflow store and a real tracking server."""

from __future__ import annotations

import json
from pathlib import Path

import mlflow
import pytest
from mlflow import MlflowClient

from phi3flow.cli.main import main
from tests.support.folders.answered_runs import make_run

ROWS = [{"question": f"q{number}", "ground_truth": "Paris"} for number in range(4)]


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with one scored run, a line of which failed."""
    monkeypatch.chdir(tmp_path)
    scores = {"answer_match": {"f1": [1.0, 0.5, 0.25, None]}}
    make_run(tmp_path / ".runs", "tuned", ROWS, ["Paris", "Rome", "=1+1", None], scores=scores)
    return tmp_path


def _runs(uri: str) -> list[mlflow.entities.Run]:
    client = MlflowClient(tracking_uri=uri)
    return client.search_runs([client.get_experiment_by_name("phi3flow").experiment_id])


def test_a_run_is_logged_with_parameters_metrics_lines_and_report(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["report", "tuned", "--mlflow", "--json"]) == 0
    uri = f"sqlite:///{project / 'mlflow.db'}"
    (run,) = _runs(uri)
    assert json.loads(capsys.readouterr().out)["mlflow"] == {"tuned": run.info.run_id}
    assert (run.info.run_name, run.info.status) == ("tuned", "FINISHED")
    estimate = json.loads((project / ".runs/tuned/scores/answer_match/metrics.json").read_text())["metrics"]["f1"]
    for field, name in (("mean", ""), ("low", ".low"), ("high", ".high"), ("n", ".n")):
        assert run.data.metrics[f"answer_match.f1{name}"] == pytest.approx(estimate[field])
    assert (run.data.metrics["lines.failed"], run.data.metrics["lines.total"]) == (1, 4)
    assert run.data.params["data"].endswith("tuned.data.jsonl") or run.data.params["data"]
    mlflow.set_tracking_uri(uri)
    folder = Path(mlflow.artifacts.download_artifacts(run_id=run.info.run_id, dst_path=str(project / "down")))
    assert {path.name for path in folder.iterdir()} == {"report.html", "manifest.json", "lines.json"}
    table = json.loads((folder / "lines.json").read_text())
    lines = [dict(zip(table["columns"], row, strict=True)) for row in table["data"]]
    assert [line["answer_match.f1"] for line in lines] == [1.0, 0.5, 0.25, None]
    assert lines[3]["status"] == "Failed"


@pytest.mark.parametrize("name", ["tuned", "it's", 'a "good" one', "' OR '1'='1"])
def test_the_same_run_again_is_logged_in_the_same_place(project: Path, name: str) -> None:
    (project / ".runs" / "tuned").rename(project / ".runs" / name)
    assert main(["report", name, "--mlflow", "--quiet"]) == 0
    assert main(["report", name, "--mlflow", "--quiet"]) == 0
    assert len(_runs(f"sqlite:///{project / 'mlflow.db'}")) == 1


def test_a_server_that_is_not_there_is_named_without_its_password(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://user:secret@127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    assert main(["report", "tuned", "--mlflow"]) == 3
    printed = capsys.readouterr()
    assert "MLflow at http://" in printed.err
    assert "secret" not in printed.err + printed.out
    assert (project / ".runs/tuned/report.html").is_file(), "the report itself is written"
