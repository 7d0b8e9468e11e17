"""Whose scores lie where in a run folder: an evaluation flow is known by its fingerprint, not by its name alone."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from phi3flow.errors import ConfigError, ResumeMismatchError
from phi3flow.flows import Flow, load_flow
from phi3flow.records.scores import Estimate, RunMetrics
from phi3flow.runs.folder import RunFolder
from phi3flow.runs.promptflow_record import write_pf_metrics
from phi3flow.runs.writer import RunWriter
from phi3flow.scoring.ruler import describe_ruler
from tests.support.flows.foreign_flows import ECHO, write_flow
from tests.support.folders import run_records
from tests.support.folders.run_folders import line, write_run
from tests.support.folders.version_1_run import version_1_run


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    return write_run(tmp_path / ".runs" / "run", [line(0, "an answer")])


def _flow(folder: Path, comment: str = "") -> Flow:
    if not folder.exists():
        write_flow(folder, ECHO)
    (folder / "notes.md").write_text(comment)
    return load_flow(folder)


def _write(run: RunFolder, flow: Flow) -> str:
    """Write scores of the flow that can be told from others', and return the evaluation's name."""
    ruler = describe_ruler(flow, {"answer": "${run.outputs.answer}"}, ["answer"], None)
    name = run.evaluation_of(flow)
    run.write_scores(name, [], RunMetrics(metrics={}, evaluation=ruler))
    return name


def _fingerprints(run: RunFolder) -> dict[str, str]:
    rulers = {name: run.metrics(name).evaluation for name in run.evaluations()}
    return {name: ruler.flow_fingerprint for name, ruler in rulers.items() if ruler}


@pytest.mark.parametrize("name", ["judge", "my judge [2]", "urteil.v2", "Güte"])
def test_two_flows_of_one_folder_name_do_not_overwrite_each_other(run: RunFolder, tmp_path: Path, name: str) -> None:
    first, second = _flow(tmp_path / "a" / name, "first"), _flow(tmp_path / "b" / name, "second")
    assert _write(run, first) == name
    assert _write(run, second) == f"{name}-{second.fingerprint[:8]}"
    assert _write(run, first) == name
    assert _fingerprints(run) == {name: first.fingerprint, f"{name}-{second.fingerprint[:8]}": second.fingerprint}


def test_a_flow_in_another_place_is_the_same_one(run: RunFolder, tmp_path: Path) -> None:
    _write(run, _flow(tmp_path / "a" / "judge", "the same"))
    assert _write(run, _flow(tmp_path / "clone" / "judge", "the same")) == "judge"
    assert run.evaluations() == ["judge"]
    assert not (run.path / "scores" / "judge" / "before").exists()


def test_an_edited_flow_replaces_its_scores_and_the_old_ones_are_kept_aside(run: RunFolder, tmp_path: Path) -> None:
    before = _flow(tmp_path / "judge", "before").fingerprint
    _write(run, _flow(tmp_path / "judge", "before"))
    after = _flow(tmp_path / "judge", "after")
    assert _write(run, after) == "judge"
    assert _fingerprints(run) == {"judge": after.fingerprint}
    kept = json.loads((run.path / "scores" / "judge" / "before" / "metrics.json").read_bytes())
    assert kept["evaluation"]["flow_fingerprint"] == before
    assert (run.path / "scores" / "judge" / "before" / "scores.jsonl").is_file()


def test_an_edited_flow_that_has_its_fingerprint_in_its_name_gets_the_new_one(run: RunFolder, tmp_path: Path) -> None:
    _write(run, _flow(tmp_path / "a" / "judge", "first"))
    old = _write(run, _flow(tmp_path / "b" / "judge", "second"))
    edited = _flow(tmp_path / "b" / "judge", "third")
    new = _write(run, edited)
    assert run.evaluations() == ["judge", new]
    assert new == f"judge-{edited.fingerprint[:8]}" != old
    assert (run.path / "scores" / new / "before" / "metrics.json").is_file()


def test_scores_that_another_mapping_measured_are_kept_aside_too(run: RunFolder, tmp_path: Path) -> None:
    flow = _flow(tmp_path / "judge")
    _write(run, flow)
    other = describe_ruler(flow, {"answer": "a constant"}, ["answer"], None)
    run.write_scores("judge", [], RunMetrics(metrics={}, evaluation=other))
    kept = json.loads((run.path / "scores" / "judge" / "before" / "metrics.json").read_bytes())
    assert kept["evaluation"]["column_mapping"] == {"answer": "${run.outputs.answer}"}


def test_scores_of_version_1_are_read_and_replaced(tmp_path: Path) -> None:
    run = version_1_run(tmp_path / ".runs")
    assert run.manifest.schema_version == 1
    metrics = run.metrics("answer_match")
    assert (metrics.schema_version, metrics.failed_lines, metrics.evaluation) == (1, "least", None)
    assert metrics.metrics["f1"].mean == pytest.approx(0.5)
    assert [score.status for score in run.scores("answer_match")] == ["Completed", "Completed", "Failed"]
    assert _write(run, _flow(tmp_path / "answer_match")) == "answer_match"
    assert json.loads((run.path / "scores/answer_match/before/metrics.json").read_bytes())["schema_version"] == 1


def test_a_run_of_version_1_is_not_gone_on_with(tmp_path: Path) -> None:
    run = version_1_run(tmp_path / ".runs")
    before = (run.path / "manifest.json").read_bytes()
    with pytest.raises(ResumeMismatchError, match=r"run old is a run folder of version 1.*--name, or --fresh"):
        RunWriter.open(tmp_path / ".runs", run_records.manifest("old"))
    assert (run.path / "manifest.json").read_bytes() == before
    with RunWriter.open(tmp_path / ".runs", run_records.manifest("old"), fresh=True) as writer:
        assert writer.manifest.schema_version == 2


@pytest.mark.parametrize("file", ["manifest.json", "scores/answer_match/metrics.json"])
def test_what_a_later_version_wrote_is_refused(tmp_path: Path, file: str) -> None:
    run = version_1_run(tmp_path / ".runs")
    content = json.loads((run.path / file).read_bytes())
    (run.path / file).write_text(json.dumps({**content, "schema_version": 3}))
    with pytest.raises(ConfigError, match="schema_version: .* written by another version, or damaged"):
        _ = run.manifest, run.metrics("answer_match")


def test_unknown_keys_of_version_1_are_refused(tmp_path: Path) -> None:
    run = version_1_run(tmp_path / ".runs")
    file = run.path / "scores" / "answer_match" / "metrics.json"
    file.write_text(json.dumps({**json.loads(file.read_bytes()), "failed_as_ten": True}))
    with pytest.raises(ConfigError, match="failed_as_ten"):
        run.metrics("answer_match")


def test_what_an_edited_flow_measured_before_is_not_shown_by_pf_any_more(run: RunFolder) -> None:
    metrics = RunMetrics(metrics={"f1.macro": Estimate(mean=0.5, n=1, method="t")})
    run.write_scores("judge", [], metrics)
    logged = {"judge.f1.macro": 0.1, "judge-0123abcd.f1": 0.2, "judge_2.f1": 0.3, "own": 1.0}
    (run.path / "metrics.json").write_text(json.dumps(logged))
    write_pf_metrics(run)
    shown = json.loads((run.path / "metrics.json").read_bytes())
    assert shown == {"judge_2.f1": 0.3, "own": 1.0, "judge.f1.macro": 0.5}


def test_scores_of_version_1_that_say_nothing_left_failed_lines_out(tmp_path: Path) -> None:
    run = version_1_run(tmp_path / ".runs")
    path = run.path / "scores/answer_match/metrics.json"
    stored = json.loads(path.read_text())
    assert run.metrics("answer_match").failed_lines == "least"
    del stored["failed_as_zero"]
    path.write_text(json.dumps(stored))
    assert run.metrics("answer_match").failed_lines == "left out"
