"""phi3flow report, as it is typed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from phi3flow.cli.main import main
from phi3flow.comparison.compare import compare_runs, compare_with_baseline
from phi3flow.report.wording import p_value
from phi3flow.runs.folder import RunFolder
from tests.support.folders.run_folders import line, ruler, write_run
from tests.support.folders.training_records import training_record
from tests.support.folders.version_1_run import version_1_run


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


def test_by_shows_slices_and_an_unknown_column_is_named(
    runs_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "report.html"
    assert report(runs_dir, "base", "tuned", "--by", "ground_truth", "--output", str(output)) == 0
    assert "f1 by ground_truth" in output.read_text(encoding="utf-8")
    for runs in (["base"], ["base", "tuned"]):
        assert report(runs_dir, *runs, "--by", "colour", "--output", str(output)) == 2
        assert "--by colour: the data have no such column" in capsys.readouterr().err


def test_several_candidates_share_one_level(runs_dir: Path, tmp_path: Path) -> None:
    results = [line(0, "a"), line(1, "b")]
    write_run(runs_dir / "third", results, scores={"answer_match": {"f1": [0.9, 0.95]}})
    output = tmp_path / "report.html"
    assert report(runs_dir, "base", "tuned", "third", "--output", str(output)) == 0
    runs = [RunFolder(runs_dir / name) for name in ("base", "tuned", "third")]
    together = compare_with_baseline(runs[0], runs[1:])
    assert together[1].metrics["answer_match.f1"].p_holm != compare_runs(runs[0], runs[2]).metrics["answer_match.f1"].p
    html = output.read_text(encoding="utf-8")
    for comparison in together:
        assert f'data-label="p">{p_value(comparison.metrics["answer_match.f1"].p_holm)} <small>p_holm<' in html


def test_serve_writes_no_file(runs_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert report(runs_dir, "base", "--serve", "--output", str(tmp_path / "report.html")) == 2
    assert "not allowed with argument" in capsys.readouterr().err


def test_runs_that_were_measured_differently_are_refused(runs_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = RunFolder(runs_dir / "tuned")
    metrics = run.metrics("answer_match").model_copy(update={"evaluation": ruler("answer_match", "a" * 64)})
    run.write_scores("answer_match", run.scores("answer_match"), metrics)
    assert report(runs_dir, "base", "tuned") == 2
    message = " ".join(capsys.readouterr().err.split())
    assert "answer_match measured base and tuned differently" in message
    assert "phi3flow score " in message
    assert not (runs_dir / "tuned" / "report.html").exists()


def test_a_run_of_version_1_is_shown_and_not_compared(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run, output = version_1_run(tmp_path / ".runs"), tmp_path / "report.html"
    assert report(run.path.parent, "old", "--output", str(output)) == 0
    assert "phi3flow score old --flow " in output.read_text(encoding="utf-8")
    results = [line(number, "a") for number in range(3)]
    write_run(run.path.parent / "new", results, scores={"answer_match": {"f1": [0.1, 0.2, 0.3]}})
    assert report(run.path.parent, "old", "new", "--output", str(output)) == 2
    assert "phi3flow score old --flow " in " ".join(capsys.readouterr().err.split())
