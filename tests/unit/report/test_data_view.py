"""What the report takes of the data that runs share."""

from __future__ import annotations

from pathlib import Path

from phi3flow.report.data_view import DataViews
from tests.support.folders.run_folders import scored_run


def test_data_that_runs_share_are_read_once(tmp_path: Path) -> None:
    first = scored_run(tmp_path / "a", [1.0])
    manifest = first.manifest
    second = scored_run(tmp_path / "b", [1.0], data=manifest.data, data_sha256=manifest.data_sha256)
    data = DataViews()
    assert data.of(first) is data.of(second)
    assert data.of(first).facts == {}
    assert data.of(first).leaked == frozenset()
