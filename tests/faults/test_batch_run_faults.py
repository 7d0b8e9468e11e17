"""What a batch run survives: kill -9, Ctrl-C, a full disk, a second writer; counted on the endpoint's side."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from phi3flow.run_store import RunFolder
from tests.fault_endpoint import FaultEndpoint, Reply, Request
from tests.foreign_flows import ASYNC_CLIENT, write_flow, write_lines

KEY = "key-of-the-test-0123456789"
TOTAL = 40
CONCURRENCY = 4


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A folder with a flow, its connection and 40 lines."""
    write_flow(tmp_path / "flow", ASYNC_CLIENT, connection="endpoint")
    write_lines(tmp_path / "lines.jsonl", ({"question": f"q{n}"} for n in range(TOTAL)))
    (tmp_path / "connections").mkdir()
    (tmp_path / "connections" / "endpoint.yml").write_text(
        "name: endpoint\ntype: custom\nconfigs:\n  endpoint: ${env:ENDPOINT}\nsecrets:\n  key: ${env:KEY}\n",
        encoding="utf-8",
    )
    return tmp_path


def _start(project: Path, url: str, *flags: str, **popen: Any) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "phi3flow.cli.main", "batch-run", "flow", "--data", "lines.jsonl", "--name", "run"]
    return subprocess.Popen(
        [*command, "--concurrency", str(CONCURRENCY), "--json", *flags],
        cwd=project,
        env={**os.environ, "ENDPOINT": url, "KEY": KEY} | popen.pop("environment", {}),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **popen,
    )


def _wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, "it never came so far"
        time.sleep(0.01)


def _answers(project: Path) -> list[Any]:
    return [result.outputs for result in RunFolder(project / ".runs" / "run").results()]


@pytest.mark.parametrize("after", [1, 13])
def test_after_kill_9_the_same_command_finishes_the_run(project: Path, after: int) -> None:
    with FaultEndpoint(lambda _: Reply(delay_s=0.05), key=KEY) as endpoint:
        process = _start(project, endpoint.url)
        _wait_until(lambda: len(endpoint.requests) >= after)
        process.kill()
        process.communicate()
        if (project / ".runs" / "run" / "results.jsonl").exists():
            with (project / ".runs" / "run" / "results.jsonl").open("a", encoding="utf-8") as file:
                file.write('{"line_number": 39, "status": "Compl')
        again = _start(project, endpoint.url)
        output, errors = again.communicate(timeout=120)
        assert again.returncode == 0, errors
        assert len(endpoint.requests) <= TOTAL + CONCURRENCY
    assert json.loads(output)["counts"] == {"total": TOTAL, "completed": TOTAL, "failed": 0, "retries": 0}
    assert _answers(project) == [{"answer": f"echo: q{n}"} for n in range(TOTAL)]
    numbers = [json.loads(line)["line_number"] for line in (project / ".runs/run/results.jsonl").open()]
    assert sorted(numbers) == list(range(TOTAL))


def test_ctrl_c_keeps_the_lines_in_flight_and_exits_130(project: Path) -> None:
    with FaultEndpoint(lambda _: Reply(delay_s=0.3), key=KEY) as endpoint:
        process = _start(project, endpoint.url)
        _wait_until(lambda: len(endpoint.requests) >= 6)
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)
        assert process.returncode == 130
        sent = len(endpoint.requests)
        run = RunFolder(project / ".runs" / "run")
        assert run.manifest.status == "Canceled"
        assert len(run.results()) == sent < TOTAL
        again = _start(project, endpoint.url)
        again.communicate(timeout=120)
        assert again.returncode == 0
        assert len(endpoint.requests) == TOTAL


def test_a_full_disk_stops_the_run_and_loses_nothing(project: Path) -> None:
    def small_files() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (4000, 4000))

    with FaultEndpoint(key=KEY) as endpoint:
        uncovered = {"COVERAGE_PROCESS_CONFIG": "", "COVERAGE_PROCESS_START": ""}  # its data would not fit either
        process = _start(project, endpoint.url, preexec_fn=small_files, environment=uncovered)
        _, errors = process.communicate(timeout=120)
        assert process.returncode == 2
        assert "results.jsonl cannot be written: File too large; what was done so far is kept" in errors
        assert "Traceback" not in errors
        content = (project / ".runs/run/results.jsonl").read_text()
        assert content.endswith("\n")
        kept = content.count("\n")
        assert 0 < kept < TOTAL
        sent = len(endpoint.requests)
        again = _start(project, endpoint.url)
        again.communicate(timeout=120)
        assert again.returncode == 0
        assert len(endpoint.requests) - sent == TOTAL - kept
    assert _answers(project) == [{"answer": f"echo: q{n}"} for n in range(TOTAL)]


def test_a_line_that_timed_out_does_not_end_the_process(project: Path) -> None:
    seen: list[str] = []

    def answer(request: Request) -> Reply:
        seen.append(request.question)
        return Reply(fault="hang") if seen.count("q0") == 1 and request.question == "q0" else Reply(delay_s=0.4)

    with FaultEndpoint(answer, key=KEY) as endpoint:
        process = _start(project, endpoint.url, "--timeout-s", "1")
        output, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    assert json.loads(output)["counts"] == {"total": TOTAL, "completed": TOTAL, "failed": 0, "retries": 1}


def test_a_second_writer_is_refused_and_the_first_is_undisturbed(project: Path) -> None:
    with FaultEndpoint(lambda _: Reply(delay_s=0.5), key=KEY) as endpoint:
        first = _start(project, endpoint.url)
        _wait_until(lambda: len(endpoint.requests) >= 1)
        second = _start(project, endpoint.url)
        _, errors = second.communicate(timeout=60)
        assert second.returncode == 2
        assert "is being written by another process" in errors
        first.communicate(timeout=120)
        assert first.returncode == 0
        assert len(endpoint.requests) == TOTAL


def test_an_endpoint_that_is_down_fails_lines_and_not_the_command(project: Path) -> None:
    command = [sys.executable, "-m", "phi3flow.cli.main", "batch-run", "flow", "--data", "lines.jsonl"]
    process = subprocess.run(
        [*command, "--limit", "2", "--max-retries", "1"],
        cwd=project,
        env={**os.environ, "ENDPOINT": "http://127.0.0.1:9/score", "KEY": KEY},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert process.returncode == 1
    assert "2 failed" in process.stdout
    assert "first failure: line 0: ClientConnectorError" in process.stdout
    assert KEY not in process.stdout + process.stderr
