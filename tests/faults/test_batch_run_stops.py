"""A batch run that stops early, by itself or by Ctrl-C: all that was answered is kept, and the same command goes on."""

from __future__ import annotations

import fcntl
import os
import pty
import signal
import subprocess
import termios
from collections.abc import Callable

import pytest

from tests.faults.conftest import MakeProject
from tests.support.folders.batch_project import KEY, wait_until
from tests.support.servers.fault_endpoint import Attempts, FaultEndpoint, Reply

LINES = 100
CONCURRENCY = 4
DRAIN_S = 10
"""What the lines in flight are given after the first Ctrl-C."""


@pytest.mark.parametrize(
    ("flags", "failures"),
    [pytest.param(("--fail-fast", 3), 3, marks=pytest.mark.slow), (("--max-failures", "5%"), 6)],
    ids=str,
)
def test_too_many_failures_stop_the_run_and_the_same_command_goes_on(
    make_project: MakeProject, flags: tuple[object, ...], failures: int
) -> None:
    project = make_project(lines=LINES)
    bad = {f"q{number}": [Reply(400)] for number in range(0, LINES, 5)}
    with FaultEndpoint(Attempts(bad, otherwise=Reply(delay_s=0.02)), key=KEY) as endpoint:
        ended = project.finish(endpoint, "--concurrency", CONCURRENCY, *flags)
        sent = {request.question for request in endpoint.requests}
    assert ended.returncode == 1, ended.stderr
    assert project.run.manifest.status == "Failed"
    assert {f"q{result.line_number}" for result in project.run.results()} == sent
    assert len(sent) < LINES / 2
    assert failures <= ended.counts["failed"] < failures + CONCURRENCY
    with FaultEndpoint(key=KEY, port=endpoint.port) as endpoint:
        again = project.finish(endpoint, "--concurrency", CONCURRENCY, *flags)
        assert len(endpoint.requests) == LINES - ended.counts["completed"]
    assert again.returncode == 0, again.stderr
    assert project.run.manifest.status == "Completed"
    assert project.unanswered == []


def test_as_many_failures_as_are_allowed_do_not_stop_the_run(make_project: MakeProject) -> None:
    project = make_project(lines=LINES)
    with FaultEndpoint(Attempts({f"q{number}": [400] for number in range(5)}), key=KEY) as endpoint:
        ended = project.finish(endpoint, "--fail-fast", 6, "--max-failures", 5)
    assert ended.returncode == 1
    assert ended.counts == {"total": LINES, "completed": LINES - 5, "failed": 5, "retries": 0}
    assert project.run.manifest.status == "Completed"


@pytest.mark.parametrize(
    "number",
    [signal.SIGINT, *(pytest.param(number, marks=pytest.mark.slow) for number in (signal.SIGTERM, signal.SIGHUP))],
    ids=lambda number: number.name,
)
def test_a_signal_keeps_the_lines_in_flight(make_project: MakeProject, number: signal.Signals) -> None:
    project = make_project(lines=40)
    with FaultEndpoint(lambda _: Reply(delay_s=0.3), key=KEY) as endpoint:
        process = project.start(endpoint, "--concurrency", CONCURRENCY)
        wait_until(lambda: len(endpoint.requests) >= 6)
        process.send_signal(number)
        _, errors = process.communicate(timeout=60)
        assert process.returncode == 128 + number
        sent = len(endpoint.requests)
        assert f"interrupted: {sent} of 40 lines are done; the same command goes on" in errors
        assert project.run.manifest.status == "Canceled"
        assert len(project.run.results()) == sent < 40
        assert project.finish(endpoint).returncode == 0
        assert len(endpoint.requests) == 40
    assert project.unanswered == []


def test_a_closed_terminal_keeps_the_lines_in_flight(make_project: MakeProject) -> None:
    """Its SIGHUP reaches the workers as well, and what is written to it from then on fails."""
    project = make_project(lines=40)
    ours, theirs = pty.openpty()
    with FaultEndpoint(lambda _: Reply(delay_s=0.3), key=KEY) as endpoint:
        process = project.start(
            endpoint,
            "--concurrency",
            CONCURRENCY,
            "--workers",
            2,
            start_new_session=True,
            preexec_fn=_take_terminal(theirs),
        )
        wait_until(lambda: len(endpoint.requests) >= 6)
        os.close(theirs)
        os.close(ours)
        process.communicate(timeout=60)
        assert process.returncode == 128 + signal.SIGHUP
        assert project.run.manifest.status == "Canceled"
        assert len(project.run.results()) == len(endpoint.requests) < 40
        assert project.finish(endpoint).returncode == 0
        assert len(endpoint.requests) == 40


def test_a_run_that_hangups_do_not_reach_goes_on(make_project: MakeProject) -> None:
    """As under nohup."""
    project = make_project(lines=12)
    with FaultEndpoint(lambda _: Reply(delay_s=0.3), key=KEY) as endpoint:
        ignore = lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN)  # noqa: E731
        process = project.start(endpoint, "--concurrency", CONCURRENCY, preexec_fn=ignore)
        wait_until(lambda: len(endpoint.requests) >= 6)
        process.send_signal(signal.SIGHUP)
        process.communicate(timeout=60)
        assert process.returncode == 0
    assert project.unanswered == []


def _take_terminal(file: int) -> Callable[[], None]:
    def take() -> None:
        fcntl.ioctl(file, termios.TIOCSCTTY, 0)
        os.dup2(file, 1)
        os.dup2(file, 2)

    return take


def test_ctrl_c_to_the_whole_terminal_drains_too(make_project: MakeProject) -> None:
    project = make_project(lines=40)
    with FaultEndpoint(lambda _: Reply(delay_s=0.3), key=KEY) as endpoint:
        process = project.start(endpoint, "--concurrency", CONCURRENCY, "--workers", 2, process_group=0)
        wait_until(lambda: len(endpoint.requests) >= 6)
        _interrupt_group(process)
        _, errors = process.communicate(timeout=60)
        assert process.returncode == 130
        assert "Traceback" not in errors
        assert len(project.run.results()) == len(endpoint.requests) < 40


def test_a_second_ctrl_c_stops_at_once(make_project: MakeProject) -> None:
    project = make_project(lines=40)
    script = Attempts({f"q{number}": [Reply(fault="hang")] for number in range(6, 40)})
    with FaultEndpoint(script, key=KEY) as endpoint:
        process = project.start(endpoint, "--concurrency", CONCURRENCY, process_group=0)
        wait_until(lambda: len(endpoint.requests) >= 6 + CONCURRENCY)
        _interrupt_group(process)
        with pytest.raises(subprocess.TimeoutExpired):  # it drains
            process.wait(timeout=1)
        _interrupt_group(process)
        _, errors = process.communicate(timeout=DRAIN_S / 2)
        assert process.returncode == 130
        assert "Traceback" not in errors
        assert project.run.manifest.status in ("Canceled", "Failed")
    assert len(project.run.results()) == 6
    with FaultEndpoint(key=KEY, port=endpoint.port) as endpoint:
        assert project.finish(endpoint).returncode == 0
        assert len(endpoint.requests) == 34


def _interrupt_group(process: subprocess.Popen[str]) -> None:
    """Do what a terminal does: its Ctrl-C reaches the workers as well."""
    os.killpg(process.pid, signal.SIGINT)
