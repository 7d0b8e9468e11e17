"""A ``deploy --backend local`` that is ended while its model loads leaves no server that the next one cannot end."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from phi3flow.project import state
from phi3flow.project.paths import STATE_FILE
from tests.support.folders.batch_project import wait_until
from tests.support.folders.tiny_phi3 import save_tiny_phi3
from tests.support.servers.serving import KEY

COMMAND = [sys.executable, "-m", "phi3flow"]
MOMENTS_S = (0.3, 0.6, 0.9, 1.2, 1.5, 2.0, 2.5, 3.5)
QUICK_S = (2.0,)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_phi3(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(autouse=True)
def _key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PHI3_KEY", KEY)


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path
    for server in _servers(tmp_path):
        server.kill()


def _servers(folder: Path) -> list[psutil.Process]:
    """Return the processes that work in a folder."""
    working = []
    for process in psutil.process_iter():
        try:
            if process.cwd() == str(folder) and process.status() != psutil.STATUS_ZOMBIE:
                working.append(process)
        except psutil.Error:
            continue
    return working


def _deploy(folder: Path, model: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*COMMAND, "deploy", "--backend", "local", str(model), "--name", "support"],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        process_group=0,
    )


def _run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*COMMAND, *arguments], cwd=folder, capture_output=True, text=True, timeout=120)


def _status(folder: Path) -> list[dict[str, Any]]:
    return list(json.loads(_run(folder, "status", "--json").stdout))


@pytest.mark.parametrize("number", [pytest.param(signal.SIGINT, marks=pytest.mark.slow), signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize(
    "moment_s", [pytest.param(s, marks=() if s in QUICK_S else pytest.mark.slow) for s in MOMENTS_S]
)
def test_a_deploy_that_is_told_to_end_takes_its_server_along(
    project: Path, model: Path, number: signal.Signals, moment_s: float
) -> None:
    deploy = _deploy(project, model)
    time.sleep(moment_s)
    os.killpg(deploy.pid, number)
    _, errors = deploy.communicate(timeout=60)
    if deploy.returncode == 0:  # it had come up
        assert [endpoint["state"] for endpoint in _status(project)] == ["running"]
        return
    assert deploy.returncode in (128 + number, -number), errors
    assert "Traceback" not in errors
    wait_until(lambda: not _servers(project))  # one that was just being started ends by itself
    assert state.load(project / STATE_FILE).endpoints == []


@pytest.mark.slow
@pytest.mark.parametrize("moment_s", MOMENTS_S)
def test_a_server_whose_deploy_was_killed_is_known_and_can_be_ended(
    project: Path, model: Path, moment_s: float
) -> None:
    deploy = _deploy(project, model)
    time.sleep(moment_s)
    os.killpg(deploy.pid, signal.SIGKILL)
    deploy.communicate(timeout=60)
    if not state.load(project / STATE_FILE).endpoints:
        wait_until(lambda: not _servers(project))  # one that nobody noted ends by itself
    again = _run(project, "undeploy", "--yes")
    assert again.returncode == 0, again.stderr
    assert (_servers(project), _status(project)) == ([], [])


def test_a_server_whose_deploy_was_killed_is_used_once_it_has_loaded(project: Path, model: Path) -> None:
    deploy = _deploy(project, model)
    wait_until(lambda: bool(state.load(project / STATE_FILE).endpoints))
    time.sleep(0.2)  # it is let begin at once
    os.killpg(deploy.pid, signal.SIGKILL)
    deploy.communicate(timeout=60)
    [server] = _servers(project)
    server.suspend()  # however long the next commands take
    [endpoint] = _status(project)
    assert (endpoint["endpoint"], endpoint["state"], endpoint["url"]) == ("support", "starting", None)
    refused = _run(project, "deploy", "--backend", "local", str(model), "--name", "support")
    assert (refused.returncode, "is loading its model: `phi3flow undeploy support`" in refused.stderr) == (2, True)
    early = _run(project, "connect", "support", "--from-deployment", "support", "--to", "file")
    assert (early.returncode, "has no URL yet" in early.stderr) == (2, True), early.stderr
    server.resume()
    wait_until(lambda: _status(project)[0]["state"] == "running", every_s=0.1)
    connected = _run(project, "connect", "support", "--from-deployment", "support", "--to", "file")
    assert connected.returncode == 0, connected.stderr
    assert _status(project)[0]["url"] in (project / "connections" / "support.yml").read_text()
