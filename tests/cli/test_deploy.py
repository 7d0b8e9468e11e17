"""deploy, status and undeploy, with real servers in the background."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psutil
import pytest
import requests

from phi3flow.backends.backend import DeploymentRequest
from phi3flow.backends.local.backend import LocalBackend
from phi3flow.errors import ConfigError, DeploymentError
from phi3flow.project import state
from phi3flow.project.paths import STATE_FILE
from phi3flow.project.state import JobState, ModelState, ProjectState
from tests.support.folders.tiny_phi3 import save_tiny_phi3
from tests.support.servers.serving import KEY, body_of

LONG_AGO = datetime.now(UTC) - timedelta(days=1)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_phi3(tmp_path_factory.mktemp("models") / "tiny")


class Project:
    """A folder in which commands are typed; its servers end with the test."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def run(self, *arguments: str, key: str | None = KEY) -> subprocess.CompletedProcess[str]:
        """Run ``phi3flow`` here."""
        environment = os.environ | ({"PHI3_KEY": key} if key else {})
        command = [sys.executable, "-m", "phi3flow.cli.main", *arguments]
        return subprocess.run(command, cwd=self.folder, env=environment, capture_output=True, text=True, timeout=120)

    def result(self, *arguments: str) -> Any:
        """Run it with --json and return what it printed."""
        done = self.run(*arguments, "--json")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    @property
    def made(self) -> ProjectState:
        """What state.json says."""
        return state.load(self.folder / STATE_FILE)

    def process(self, endpoint: str) -> psutil.Process:
        """Return an endpoint's process."""
        [pid] = [each.pid for each in self.made.endpoints if each.endpoint == endpoint]
        return psutil.Process(pid)


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Project]:
    project = Project(tmp_path)
    yield project
    for endpoint in project.made.endpoints:
        try:
            psutil.Process(endpoint.pid).kill()
        except psutil.NoSuchProcess:
            continue


def _ask(url: str, key: str = KEY) -> requests.Response:
    headers = {"Authorization": f"Bearer {key}"}
    return requests.post(url, json=body_of("Hi", max_new_tokens=3), headers=headers, timeout=30)


def test_an_endpoint_from_deploy_to_undeploy(project: Project, model: Path) -> None:
    deployed = project.result("deploy", "--backend", "local", str(model), "--name", "support")
    url = deployed.pop("url")
    assert deployed == {"backend": "local", "endpoint": "support", "deployment": "support", "traffic": 100}
    assert _ask(url).json()["output"]
    process = project.process("support")
    assert os.getsid(process.pid) == process.pid  # the terminal's end does not reach it
    [status] = project.result("status")
    assert (status["endpoint"], status["state"], status["url"]) == ("support", "running", url)
    process.suspend()
    assert [each["state"] for each in project.result("status")] == ["unresponsive"]
    process.resume()
    unanswered = project.run("undeploy", "support")
    assert unanswered.returncode == 1
    assert "--yes" in unanswered.stderr
    assert project.result("undeploy", "--yes")["endpoint"] == "support"
    assert not process.is_running()
    assert project.result("status") == []
    assert project.made.endpoints == []


def test_the_key_stands_nowhere(project: Project, model: Path) -> None:
    (project.folder / ".env").write_text("PHI3_KEY=the-key-of-dotenv\n")
    url = json.loads(project.run("deploy", str(model), "--json", key=None).stdout)["url"]
    assert _ask(url, "the-key-of-dotenv").ok
    assert "the-key-of-dotenv" not in " ".join(project.process("tiny").cmdline())
    files = {file.name: file for file in project.folder.rglob("*") if file.is_file() and file.name != ".env"}
    assert files.keys() >= {"state.json", "tiny.log"}
    assert not [file for file in files.values() if b"the-key-of-dotenv" in file.read_bytes()]


@pytest.mark.slow
def test_a_killed_server_has_crashed_and_one_that_was_told_to_stop_has_stopped(project: Project, model: Path) -> None:
    project.result("deploy", str(model))
    process = project.process("tiny")
    process.kill()
    psutil.wait_procs([process], timeout=10)
    [status] = project.result("status")
    assert status["state"] == "crashed"
    assert f"process {process.pid} is gone" in status["detail"]
    assert "tiny.log" in status["detail"]
    assert "crashed" in project.run("status").stdout
    project.result("deploy", str(model))
    process = project.process("tiny")
    process.terminate()
    psutil.wait_procs([process], timeout=30)
    assert [each["state"] for each in project.result("status")] == ["stopped"]
    project.result("undeploy", "--yes")


@pytest.mark.slow
def test_the_model_may_be_found_in_the_state_and_a_second_one_needs_a_name_of_its_own(
    project: Project, model: Path
) -> None:
    job = JobState(backend="local", name="job", status="completed", output=str(model), created_at=datetime.now(UTC))
    registered = [
        ModelState(backend="local", name="support", version=version, source=source, created_at=LONG_AGO)
        for version, source in (("1", str(model)), ("2", "gone"))
    ]
    state.update(lambda _: ProjectState(jobs=[job], models=registered), project.folder / STATE_FILE)
    unknown = project.run("deploy", "support:3")
    assert unknown.returncode == 2
    assert "support:1, support:2" in unknown.stderr
    assert project.result("deploy")["endpoint"] == "tiny"
    taken = project.run("deploy")
    assert taken.returncode == 2
    assert "'tiny' is running at http://127.0.0.1:" in taken.stderr
    assert "--name" in taken.stderr
    assert project.result("deploy", "support:1", "--name", "registered")["endpoint"] == "registered"
    shown = project.result("status")
    assert [each["state"] for each in shown] == ["running", "running", "completed", "registered", "registered"]
    which = project.run("undeploy", "--yes")
    assert which.returncode == 2
    assert "there are tiny, registered" in which.stderr


def test_a_port_in_use_is_told(project: Project, model: Path) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        port = listener.getsockname()[1]
        refused = project.run("deploy", str(model), "--port", str(port))
    assert refused.returncode == 2
    assert f"cannot listen on 127.0.0.1 port {port}" in refused.stderr
    assert "--port" in refused.stderr
    assert project.made.endpoints == []


def test_a_folder_that_is_no_model_is_told(project: Project) -> None:
    nothing = project.run("deploy")
    assert nothing.returncode == 2
    assert "no model was fine-tuned or registered here yet" in nothing.stderr
    refused = project.run("deploy", ".", "--name", "nothing")
    assert refused.returncode == 2
    assert "is not a model folder" in refused.stderr
    assert refused.stderr.count("phi3flow: error:") == 1
    assert project.made.endpoints == []


def test_a_missing_key_is_told(project: Project, model: Path) -> None:
    for verb in ("deploy", "serve"):
        refused = project.run(verb, str(model), key=None)
        assert refused.returncode == 2
        assert "PHI3_KEY is not set: export it" in refused.stderr


def test_a_server_that_does_not_come_up_in_time_is_ended(project: Project, model: Path) -> None:
    refused = project.run("deploy", str(model), "--timeout-s", "0.2")
    assert refused.returncode == 3
    assert "did not answer within 0.2 s" in refused.stderr
    assert project.made.endpoints == []
    commands = [process.info["cmdline"] or [] for process in psutil.process_iter(["cmdline"])]
    assert not [command for command in commands if str(model) in command]


def _deploy(project: Path, model: Path, *, name: str) -> None:
    backend = LocalBackend(project)
    backend.deploy(backend.plan_deployment(DeploymentRequest(model=str(model), name=name)), on_note=lambda _: None)


def test_a_server_that_dies_of_something_unforeseen_is_told_with_its_last_words(
    tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PHI3_KEY", KEY)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    (tmp_path / "uvicorn.py").write_text("raise RuntimeError('no luck')")
    with pytest.raises(DeploymentError, match=r"(?s)exit code 1; its log .*broken\.log: .*RuntimeError: no luck"):
        _deploy(tmp_path, model, name="broken")


@pytest.mark.parametrize("name", ["", "-x", "a/b", "ü", "x" * 33])
def test_a_name_that_does_not_do_is_told(tmp_path: Path, model: Path, name: str) -> None:
    with pytest.raises(ConfigError, match="does not do"):
        _deploy(tmp_path, model, name=name)


def test_undeploy_names_what_there_is(project: Project) -> None:
    nothing = project.run("undeploy")
    assert (nothing.returncode, nothing.stdout) == (0, "there is no endpoint\n")
    unknown = project.run("undeploy", "support", "--yes")
    assert unknown.returncode == 2
    assert "there is no local endpoint 'support'" in unknown.stderr
