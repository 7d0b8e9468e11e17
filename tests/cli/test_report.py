"""phi3flow report, as it is typed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from phi3flow.cli.main import main
from tests.run_folders import line, write_run
from tests.training_records import training_record


@pytest.fixture
def runs_dir(tmp_path: Path) -> Path:
    """Two scored runs and one without scores."""
    results = [line(0, "a"), line(1, "b")]
    for name, scores in (("base", [0.1, 0.2]), ("tuned", [0.8, 0.9])):
        write_run(tmp_path / "runs" / name, results, scores={"answer_match": {"f1": scores}})
    write_run(tmp_path / "runs" / "unscored", results)
    return tmp_path / "runs"


def report(runs_dir: Path, *arguments: str) -> int:
    """Run the verb over ``runs_dir``."""
    return main(["report", *arguments, "--runs-dir", str(runs_dir)])


def test_the_report_goes_where_output_says(runs_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "new folder" / "report.html"
    assert report(runs_dir, "base", "tuned", "--output", str(output), "--json") == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown == {"report": str(output), "runs": ["base", "tuned"], "size_bytes": output.stat().st_size}
    assert "tuned against base" in output.read_text(encoding="utf-8")


def test_without_output_the_report_lies_in_the_last_runs_folder(
    runs_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert report(runs_dir, "base", "tuned") == 0
    path = runs_dir / "tuned" / "report.html"
    assert capsys.readouterr().out.strip() == path.as_uri()
    assert path.is_file()


def test_baseline_names_the_run_to_compare_with(runs_dir: Path, tmp_path: Path) -> None:
    output = tmp_path / "report.html"
    assert report(runs_dir, "base", "tuned", "--baseline", "tuned", "--output", str(output)) == 0
    assert "base against tuned" in output.read_text(encoding="utf-8")


def test_training_curves_are_added(runs_dir: Path, tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "training.json").write_text(training_record().model_dump_json(), encoding="utf-8")
    output = tmp_path / "report.html"
    assert report(runs_dir, "tuned", "--training", str(tmp_path / "model"), "--output", str(output)) == 0
    assert 'id="training"' in output.read_text(encoding="utf-8")


def test_runs_that_cannot_be_compared_are_reported_with_a_note(
    runs_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert report(runs_dir, "base", "unscored") == 0
    assert "without a comparison: run unscored is not scored" in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["nowhere"], "there is no run 'nowhere'"),
        (["base", "--training", "nowhere"], "--training takes the output folder"),
        (["base", "--output", "/dev/null/report.html"], "choose another file with --output"),
    ],
)
def test_what_is_not_there_is_named(
    runs_dir: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], reason: str
) -> None:
    assert report(runs_dir, *arguments) == 2
    assert reason in capsys.readouterr().err


def test_two_runs_of_one_name_are_refused(runs_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = write_run(tmp_path / "elsewhere" / "base", [line(0, "a")])
    assert report(runs_dir, "base", str(other.path)) == 2
    assert "are both named base" in capsys.readouterr().err
