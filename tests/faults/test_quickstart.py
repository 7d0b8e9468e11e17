"""The quickstart with a smaller model: whole, again, interrupted; and no key in anything that it leaves."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from phi3flow.quickstart import STAGES
from phi3flow.runs.folder import RunFolder
from phi3flow.storage.files import held_alone
from tests.support.paths import FLOWS, ROOT

KEY = "quickstart-test-key-0123456789"
PROGRAM = """
import json
from pathlib import Path
from phi3flow.quickstart import Quickstart
small = {"dialogues": 120, "hidden_size": 32, "intermediate_size": 64, "layers": 2, "vocabulary_size": 1024}
job = Quickstart(
    out=Path(".quickstart"),
    runs_dir=Path(".runs"),
    seed=0,
    on_progress=lambda progress: print(progress.stage, progress.ended, progress.reused, flush=True),
    base={**small, "hyperparameters": {"learning_rate": 4e-3, "epochs": 1, "batch_size": 32, "max_seq_length": 256}},
    hyperparameters={"epochs": 1},
)
print(job.run().model_dump_json(), flush=True)
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A working folder with the project's flows, where the quickstart has run once."""
    folder = tmp_path_factory.mktemp("project")
    (folder / "flows").symlink_to(FLOWS)
    home = tmp_path_factory.mktemp("home")
    process = _start(folder, home)
    output, errors = process.communicate(timeout=600)
    assert process.returncode == 0, errors[-3000:]
    (folder / "first.json").write_text(output.splitlines()[-1], encoding="utf-8")
    return folder


def _start(folder: Path, home: Path | None = None) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM],
        cwd=folder,
        env={**os.environ, "PHI3_KEY": KEY, **({"HOME": str(home)} if home else {})},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def _servers_of(folder: Path) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter(["cmdline"]):
        words = process.info["cmdline"] or []
        if "serve" in words and any(word.startswith(str(folder)) for word in words):
            found.append(process)
    return found


def test_it_leaves_two_completed_runs_a_comparison_and_a_report(project: Path) -> None:
    result = json.loads((project / "first.json").read_text(encoding="utf-8"))
    for name in ("quickstart-base", "quickstart-fine-tuned"):
        run = RunFolder(project / ".runs" / name)
        assert run.manifest.status == "Completed"
        assert run.manifest.counts.completed == run.manifest.counts.total > 250
        assert run.evaluations() == ["answer_match"]
    assert result["comparison"]["metrics"]["answer_match.value_accuracy"]["p_holm"] is not None
    assert set(result["seconds"]) == set(STAGES)
    report = (project / result["report"]).read_text(encoding="utf-8")
    assert "quickstart-fine-tuned" in report
    assert "<svg" in report
    assert (project / "mlflow.db").is_file()
    [job] = json.loads((project / ".phi3flow" / "state.json").read_text())["jobs"]
    assert job["status"] == "Completed"


def test_it_leaves_no_server_running(project: Path) -> None:
    assert _servers_of(project) == []
    assert json.loads((project / ".phi3flow" / "state.json").read_text())["endpoints"] == []


def test_no_file_that_it_leaves_holds_the_key(project: Path) -> None:
    files = [path for path in project.rglob("*") if path.is_file() and ROOT not in path.resolve().parents]
    assert len(files) > 30
    assert [path for path in files if KEY.encode() in path.read_bytes()] == []


def test_a_second_call_reuses_every_step_that_is_kept(project: Path) -> None:
    process = _start(project)
    output, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors[-3000:]
    reused = {stage for stage in STAGES if f"{stage} True True" in output}
    assert reused == set(STAGES) - {"compare", "report"}


def test_two_at_once_in_one_folder_are_refused(project: Path) -> None:
    with held_alone(project / ".phi3flow" / "quickstart.lock", refusal="held", remedy=""):
        process = _start(project)
        _, errors = process.communicate(timeout=60)
    assert process.returncode != 0
    assert "another quickstart is at work in this folder" in errors


@pytest.mark.slow
def test_after_an_interruption_nothing_runs_and_the_next_call_goes_on(project: Path) -> None:
    (project / ".runs" / "quickstart-fine-tuned" / "results.jsonl").unlink()
    manifest = project / ".runs" / "quickstart-fine-tuned" / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"Completed"', '"Running"'))
    process = _start(project)
    deadline = time.monotonic() + 120
    while not _servers_of(project):
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=120)
    assert process.returncode != 0
    assert _servers_of(project) == []
    process = _start(project)
    output, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors[-3000:]
    assert "fine-tune True True" in output
    assert RunFolder(project / ".runs" / "quickstart-fine-tuned").manifest.status == "Completed"
