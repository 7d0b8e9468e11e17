"""A fine-tune's run in MLflow, where the tracking server is another's."""

from __future__ import annotations

from pathlib import Path

import pytest

from phi3flow.tracking.fine_tunes import tracked_run
from phi3flow.training.config import RECORD_FILE
from tests.support.folders.training_records import training_record
from tests.support.servers.tracking_server import TrackingServer


def test_a_server_that_takes_no_record_does_not_undo_a_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / RECORD_FILE).write_text("{}")
    with TrackingServer(tmp_path / "artifacts", run_id="run-1", refuses=True) as server:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", server.url)
        monkeypatch.setenv("MLFLOW_RUN_ID", "run-1")
        with tracked_run("job") as run:
            run.log_record(training_record(), tmp_path)
    assert run.run_id == "run-1"
    assert "MLflow did not take the record of this training: " in caplog.text
