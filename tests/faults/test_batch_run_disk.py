"""A disk that is full at some point of a batch run: one clear error, nothing lost, and the same command goes on."""

from __future__ import annotations

import os
import random
import resource
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.conftest import MakeProject
from tests.support.folders.batch_project import KEY, BatchProject
from tests.support.servers.fault_endpoint import FaultEndpoint, Reply

LINES = 120
CONCURRENCY = 4
UNCOVERED = {"COVERAGE_PROCESS_CONFIG": "", "COVERAGE_PROCESS_START": "", "PYTHONDONTWRITEBYTECODE": "1"}
"""Coverage's data would not fit either."""


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 512 KiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if os.geteuid() != 0:
        pytest.skip("mounting a small file system needs root")
    command = ["mount", "-t", "tmpfs", "-o", "size=512k", "tmpfs", str(folder)]
    mounted = subprocess.run(command, capture_output=True, text=True, check=False)
    if mounted.returncode:
        pytest.skip(f"a small file system cannot be mounted here: {mounted.stderr.strip()}")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


# The lines take about 36 kB, promptflow's record of the run 130 kB more.
@pytest.mark.parametrize(("least", "most"), [(0, 28_000), (45_000, 140_000)], ids=["results", "record"])
def test_a_disk_that_fills_up_at_a_random_point_loses_nothing(
    make_project: MakeProject, small_disk: Path, least: int, most: int
) -> None:
    project = make_project(lines=LINES)
    project.runs_dir = small_disk / "runs"
    _fill_up_and_resume(project, small_disk, free=random.randint(least, most))


@pytest.mark.slow
@pytest.mark.parametrize("free", range(0, 140_000, 4096))
def test_a_disk_that_fills_up_at_any_page_loses_nothing(make_project: MakeProject, small_disk: Path, free: int) -> None:
    project = make_project(lines=LINES)
    project.runs_dir = small_disk / "runs"
    _fill_up_and_resume(project, small_disk, free=free)


def _fill_up_and_resume(project: BatchProject, disk: Path, *, free: int) -> None:
    """Run with so many bytes left, and again once there is room."""
    space = os.statvfs(disk)
    filler = disk / "filler"
    filler.write_bytes(bytes(max(0, space.f_bavail * space.f_frsize - free)))
    with FaultEndpoint(lambda _: Reply(delay_s=0.01), key=KEY) as endpoint:
        ended = project.finish(endpoint, "--concurrency", CONCURRENCY, environment=UNCOVERED)
        assert ended.returncode == 2, f"{free} bytes free: {ended.stderr}"
        assert "No space left on device" in ended.stderr
        assert "Traceback" not in ended.stderr
        sent = len(endpoint.requests)
        filler.unlink()
        kept = project.results_file.read_bytes() if project.results_file.exists() else b""
        assert kept == b"" or kept.endswith(b"\n")
        again = project.finish(endpoint, "--concurrency", CONCURRENCY, environment=UNCOVERED)
        assert again.returncode == 0, f"{free} bytes free: {again.stderr}"
        assert project.results_file.read_bytes().startswith(kept)
        assert sent - CONCURRENCY <= kept.count(b"\n")
        assert len(endpoint.requests) - sent == LINES - kept.count(b"\n")
    assert project.unanswered == []
    assert project.run.manifest.status == "Completed"


def test_a_quota_that_tears_a_line_loses_nothing(make_project: MakeProject) -> None:
    def small_files() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (4000, 4000))

    project = make_project(lines=40)
    with FaultEndpoint(key=KEY) as endpoint:
        ended = project.finish(endpoint, "--concurrency", CONCURRENCY, preexec_fn=small_files, environment=UNCOVERED)
        assert ended.returncode == 2
        assert "results.jsonl cannot be written: File too large; what was done so far is kept" in ended.stderr
        assert "Traceback" not in ended.stderr
        kept = project.results_file.read_text(encoding="utf-8")
        assert kept.endswith("\n")
        assert 0 < kept.count("\n") < 40
        sent = len(endpoint.requests)
        assert project.finish(endpoint).returncode == 0
        assert len(endpoint.requests) - sent == 40 - kept.count("\n")
    assert project.unanswered == []
