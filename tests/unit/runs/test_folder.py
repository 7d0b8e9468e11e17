"""Run folders, read: found by name and age, refused where they are another version's."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from phi3flow.errors import ConfigError
from phi3flow.runs.folder import RunFolder, find_run, list_runs
from phi3flow.runs.results_file import read_last_results
from phi3flow.runs.writer import RunWriter
from tests.support.folders import run_records


def test_runs_are_found_by_name_path_and_age(tmp_path: Path) -> None:
    for number, name in enumerate(("zeta", "alpha", "mid")):
        started = datetime(2026, 1, 1, number, tzinfo=UTC)
        RunWriter.open(tmp_path, run_records.manifest(name, started_at=started)).__exit__()
    assert [run.name for run in list_runs(tmp_path)] == ["zeta", "alpha", "mid"]
    assert find_run("@latest", tmp_path).name == "mid"
    assert find_run("@previous", tmp_path).name == "alpha"
    assert find_run(str(tmp_path / "zeta"), tmp_path / "elsewhere").name == "zeta"
    with pytest.raises(ConfigError, match="there is no run 'nope' in .*: zeta, alpha, mid"):
        find_run("nope", tmp_path)


def test_a_manifest_of_another_version_is_refused(tmp_path: Path) -> None:
    RunWriter.open(tmp_path, run_records.manifest()).__exit__()
    file = tmp_path / "run" / "manifest.json"
    file.write_text(file.read_text().replace('"concurrency"', '"parallelism"'))
    with pytest.raises(ConfigError, match=r"manifest\.json: .*another version, or damaged"):
        _ = RunFolder(tmp_path / "run").manifest


def test_reading_leaves_out_a_line_still_being_written(tmp_path: Path) -> None:
    file = tmp_path / "results.jsonl"
    file.write_bytes(run_records.result(0).model_dump_json().encode() + b"\n" + b'{"line_number": 1')
    assert list(read_last_results(file, run_records.manifest())) == [0]
