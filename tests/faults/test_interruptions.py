"""Ctrl-C at any moment, and output that nobody reads any more: one line, and nothing is left behind."""

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

from tests.support.flows.foreign_flows import ECHO, write_flow, write_lines
from tests.support.folders.answered_runs import make_run
from tests.support.folders.batch_project import wait_until

LINES = 100
SLOW = ECHO.replace("    return", "    import time; time.sleep(0.2)\n    return")
CODE = "import sys; from phi3flow.__main__ import main; print(flush=True); sys.exit(main())"
"""The command, once Python itself has started: what interrupts that is Python's to tell."""
COMMAND = [sys.executable, "-c", CODE]
RUN = ("batch-run", "flow", "--data", "lines.jsonl", "--name", "run", "--concurrency", "4")
MOMENTS_S = (0.0, 0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8, 1.0, 1.5, 2.5)
QUICK_S = (0.02, 0.4)


def _start(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*COMMAND, *arguments],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        process_group=0,
    )


def _batch_run(folder: Path, code: str, *, definition: str = "") -> subprocess.Popen[str]:
    with (write_flow(folder / "flow", code) / "flow.dag.yaml").open("a") as file:
        file.write(definition)
    write_lines(folder / "lines.jsonl", ({"question": f"q{number}"} for number in range(LINES)))
    return _start(folder, *RUN)


@pytest.mark.parametrize(
    "moment_s", [pytest.param(s, marks=() if s in QUICK_S else pytest.mark.slow) for s in MOMENTS_S]
)
def test_ctrl_c_at_any_moment_is_one_line_and_the_run_goes_on(tmp_path: Path, moment_s: float) -> None:
    process = _batch_run(tmp_path, SLOW)
    assert process.stdout is not None
    process.stdout.readline()
    time.sleep(moment_s)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: all of the foreground group hear it
    _, errors = process.communicate(timeout=60)
    assert process.returncode in (130, -signal.SIGINT), errors
    assert "Traceback" not in errors
    assert errors.splitlines()[-1].startswith("phi3flow: error: interrupted"), errors
    manifest = tmp_path / ".runs" / "run" / "manifest.json"
    assert not manifest.exists() or json.loads(manifest.read_bytes())["status"] == "Canceled"


def test_ctrl_c_while_a_class_is_made_is_ctrl_c(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Python tells of it as "RuntimeError: Error calling __set_name__", for which importing enums is long enough."""
    from phi3flow import __main__

    class Named:
        def __set_name__(self, *_: object) -> None:
            raise KeyboardInterrupt

    def run(_: object) -> int:
        type("Made", (), {"name": Named()})
        return 0

    monkeypatch.setattr("phi3flow.cli.main.main", run)
    assert __main__.main() == 130
    assert capsys.readouterr().err == "phi3flow: error: interrupted\n"


@pytest.mark.parametrize(
    "number",
    [
        signal.SIGKILL,
        *(pytest.param(number, marks=pytest.mark.slow) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)),
    ],
)
def test_nothing_is_left_in_the_temporary_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setenv("TMPDIR", str(temporary))
    (tmp_path / "shared.py").write_text("")
    process = _batch_run(tmp_path, SLOW, definition="additional_includes: [../shared.py]")
    wait_until(lambda: bool(list(temporary.rglob("shared.py"))))
    workers = [worker.pid for worker in psutil.Process(process.pid).children()]
    os.killpg(process.pid, number)
    process.communicate(timeout=60)
    if number == signal.SIGKILL:
        wait_until(lambda: not any(map(_is_alive, workers)))
        again = _start(tmp_path, *RUN, "--json")
        _, errors = again.communicate(timeout=120)
        assert again.returncode == 0, errors
    assert list(temporary.iterdir()) == []


def test_what_a_tool_started_ends_with_the_run(tmp_path: Path) -> None:
    code = ECHO.replace(
        "    return",
        "    import subprocess; open('pids', 'a').write(f\"{subprocess.Popen(['sleep', '600']).pid}\\n\")\n    return",
    )
    process = _batch_run(tmp_path, code)
    process.communicate(timeout=120)
    pids = [int(pid) for pid in (tmp_path / "flow" / "pids").read_text().split()]
    assert len(pids) == LINES
    wait_until(lambda: not any(map(_is_alive, pids)))


@pytest.mark.parametrize(
    "wait",
    [
        pytest.param("await asyncio.sleep(600)", marks=pytest.mark.slow),
        pytest.param("time.sleep(600)", marks=pytest.mark.slow),
        "\n    while True: pass",
    ],
)
def test_a_killed_command_leaves_no_process(tmp_path: Path, wait: str) -> None:
    """Neither a worker, also where a tool blocks the loop that would see it, nor what a tool started."""
    code = (
        "import asyncio, subprocess, time\nfrom promptflow.core import tool\n\n@tool\n"
        "async def ask(question: str) -> str:\n"
        "    open('pids', 'a').write(f\"{subprocess.Popen(['sleep', '600']).pid}\\n\")\n"
        f"    {wait}\n"
    )
    process = _batch_run(tmp_path, code)
    wait_until((tmp_path / "flow" / "pids").exists, every_s=0.1)
    started = psutil.Process(process.pid).children(recursive=True)
    assert len(started) >= 2
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate(timeout=60)
    wait_until(lambda: not any(_is_alive(each.pid) for each in started), every_s=0.1)


def _is_alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@pytest.mark.parametrize("flags", [("--json",), ()])
def test_output_that_nobody_reads_ends_the_command(tmp_path: Path, flags: tuple[str, ...]) -> None:
    for number in range(30):
        make_run(tmp_path / ".runs", f"run-{number}", [{"question": "q"}], ["a"])
    process = _start(tmp_path, "runs", "list", *flags)
    assert process.stdout is not None
    process.stdout.readline()
    process.stdout.close()
    assert process.wait(timeout=60) == 141
    assert process.stderr is not None
    assert process.stderr.read() == ""
